from .cast import Cast as Cast
from .checkers import (NO_DATA as NO_DATA, assert_checkable as assert_checkable, check as check, check_all as check_all, fault_of as fault_of, known_checkers as known_checkers)
from .containers import rows_of as rows_of
from .dialogues import in_cell as in_cell
from .eft import make_eft as make_eft
from .judge_pairs import teach_judge as teach_judge
from .judging import (Judged as Judged, judge_candidates as judge_candidates, without_doubt as without_doubt)
from .judgments import (Grader as Grader, ask_candidates as ask_candidates, read_judgment as read_judgment)
from .likelihoods import Likely as Likely
from .made_rankings import load_change_rubric as load_change_rubric
from .meta_judgments import load_meta_rubric as load_meta_rubric
from .nothing import (require_pairs as require_pairs)
from .reasons import (Reason as Reason, of_judgments as of_judgments, of_preferences as of_preferences)
from .pairs import (Scored as Scored, best_against_worst as best_against_worst, choose_pairs as choose_pairs,
    pair_policy as pair_policy, trusted as trusted, without_flukes as without_flukes)
from .pairwise import (PairwiseJudge as PairwiseJudge, combine as combine, flip_rate as flip_rate)
from .parsing import read_score as read_score
from .prompts import (HEADER as HEADER, choose_prompts as choose_prompts, plan_prompts as plan_prompts,
    read_proposal as read_proposal, take_prompts as take_prompts)
from .responses import Answering as Answering
from .rubrics import (Rubric as Rubric, own_words as own_words)
from .seed import (Seed as Seed, load_seed as load_seed, ranked_responses as ranked_responses, refuse_known as refuse_known)
from .selection import (load_selector as load_selector, load_validation as load_validation)
from .temporal import pick_pairs as pick_pairs
from .gaps import why_none as why_none
from .turns import own_turn as own_turn
from .sources import (PUT_RIGHT as PUT_RIGHT, KeptAndDropped as KeptAndDropped, load_prompts as load_prompts, load_rankings as load_rankings)
