from .branch import (CONFIG as CONFIG, branch_off as branch_off, find_model as find_model, is_run as is_run, no_run as no_run, GOES_ON as GOES_ON,
    of_branch as of_branch, read_branch as read_branch,
    recipes as recipes)
from .conversion import convert_base as convert_base
from .folder import (RunDir as RunDir, versions as versions)
from .layout import (ANCHOR_JUDGMENTS as ANCHOR_JUDGMENTS, ANCHOR_RESPONSES as ANCHOR_RESPONSES, BASE as BASE, DRIFT as DRIFT,
    DRIFT_CANDIDATES as DRIFT_CANDIDATES, DRIFT_CUT as DRIFT_CUT, DRIFT_FROZEN as DRIFT_FROZEN, DRIFT_POOL as DRIFT_POOL,
    CHECKS as CHECKS, HELDOUT_CHECKS as HELDOUT_CHECKS, EFT as EFT, CHANGED_PROMPTS as CHANGED_PROMPTS, WORSE_RESPONSES as WORSE_RESPONSES, EFT_JUDGMENTS as EFT_JUDGMENTS, HELDOUT_JUDGMENTS as HELDOUT_JUDGMENTS,
    HELDOUT_PREFERENCES as HELDOUT_PREFERENCES, HELDOUT_PROMPTS as HELDOUT_PROMPTS,
    HELDOUT_RESPONSES as HELDOUT_RESPONSES, IFT as IFT, JUDGMENTS as JUDGMENTS, JUDGMENTS_BEFORE as JUDGMENTS_BEFORE,
    LIKELIHOOD_BEFORE as LIKELIHOOD_BEFORE, LIKELIHOOD_FIRST as LIKELIHOOD_FIRST, LIKELIHOOD_OWN as LIKELIHOOD_OWN,
    LIKELIHOODS as LIKELIHOODS, LIKELIHOODS_BEFORE as LIKELIHOODS_BEFORE, LIKELIHOODS_M1 as LIKELIHOODS_M1, M0 as M0,
    M1 as M1, MEASURED as MEASURED, MODEL as MODEL, PAIRS as PAIRS, AHEAD as AHEAD, PAIRS_AHEAD as PAIRS_AHEAD, of_model as of_model, PARTS as PARTS, PROMPTS as PROMPTS, PROPOSED as PROPOSED,
    RANKINGS as RANKINGS, RANKING_JUDGMENTS as RANKING_JUDGMENTS, RESPONSES as RESPONSES, SEED as SEED, SELECTION as SELECTION,
    PREFERENCES as PREFERENCES, EFT_REPLAYED as EFT_REPLAYED, JUDGE_PAIRS as JUDGE_PAIRS, JUDGMENTS_ADDED as JUDGMENTS_ADDED,
    META_JUDGMENTS as META_JUDGMENTS, SELECTION_PREFERENCES as SELECTION_PREFERENCES, SELECTION_RESPONSES as SELECTION_RESPONSES, SFT as SFT, TRUTH as TRUTH,
    VOTES as VOTES,
    VALIDATION as VALIDATION, PlannedPart as PlannedPart, Part as Part, expected as expected, making as making, teaching as teaching, models as models,
    WATCHING as WATCHING, part_of as part_of)
from .progress import (Progress as Progress, duration as duration)
from .seen import Status as Status
from .reading import FolderReader as FolderReader, check_model as check_model
from .stages import (ModelFolder as ModelFolder, Runner as Runner)
from .view import (ModelView as ModelView, RunView as RunView, open_run as open_run)
