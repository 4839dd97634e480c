from .base import (REPLY as REPLY, Identified as Identified, Record as Record, catches as catches, compiles as compiles,
    content_id as content_id)
from .evaluated import (FOLDER as FOLDER, RESULT as RESULT, Figure as Figure, Findings as Findings, Result as Result,
    read_results as read_results, write_result as write_result)
from .files import (CHANGED as CHANGED, INDEX as INDEX, Known as Known, WEIGHTS as WEIGHTS, differing as differing, file_hash as file_hash,
    fingerprint as fingerprint, listed_weights as listed_weights, readable as readable, signed as signed, NoFile as NoFile, read_signed as read_signed, same_models as same_models, settings_of as settings_of,
    sync_files as sync_files, sync_folder as sync_folder, write_whole as write_whole)
from .jsonl import (HALF as HALF, HALVES as HALVES, Records as Records, digest as digest, even as even, first_undecodable as first_undecodable, half_in as half_in, iter_about as iter_about, iter_jsonl as iter_jsonl, only as only,
    read_jsonl as read_jsonl, read_line as read_line, read_record as read_record, to_line as to_line, whole_json as whole_json,
    wrong_field as wrong_field)
from .locks import (LOCK as LOCK, Held as Held, alone as alone, is_held as is_held, lock_folder as lock_folder,
    made_beside as made_beside, undisturbed as undisturbed)
from .made import (Answer as Answer, Contrast as Contrast, Dropped as Dropped, Example as Example,
    Iteration as Iteration, JudgePair as JudgePair, Judgment as Judgment, MetaJudgment as MetaJudgment, Outcome as Outcome,
    Pair as Pair, Prompt as Prompt, Proposal as Proposal, Ranking as Ranking, Reasoned as Reasoned, Response as Response,
    Vote as Vote, is_blank as is_blank, is_encoded_anew as is_encoded_anew)
from .measured import (Comparison as Comparison, Place as Place, Preference as Preference, Side as Side, Verdict as Verdict,
    Compared as Compared, Estimate as Estimate, Followed as Followed, HeadToHead as HeadToHead, LoopStats as LoopStats,
    Measured as Measured, RewardModeling as RewardModeling, TrueScore as TrueScore, number as number)
from .paired import (contrasts as contrasts, in_pairs as in_pairs, preference_texts as preference_texts, sides as sides,
    texts_in as texts_in)
from .narrow import Scored as Scored, ScoreOnly as ScoreOnly, TextOnly as TextOnly
from .requests import (Checkpoint as Checkpoint, Completion as Completion, Finish as Finish, Message as Message,
    Posed as Posed, Request as Request, Sampled as Sampled, Sampling as Sampling, Watched as Watched)
from .requests import (NO_FRAME as NO_FRAME, Asked as Asked, Conversed as Conversed, Frame as Frame, last_turn as last_turn,
    quoted as quoted, turns_of as turns_of)
from .watched import (Anchor as Anchor, Baseline as Baseline, Check as Check, Checks as Checks, How as How, Instruction as Instruction,
    holds as holds, share as share, Likelihood as Likelihood, Reading as Reading, Severity as Severity, alarms as alarms,
    describe as describe, ending as ending, left_behind as left_behind, phrase as phrase, unread as unread, worst as worst)
