from .axes import (Judged as Judged, agreeing as agreeing, correlation as correlation, reward_modeling as reward_modeling)
from .evaluations.evaluate import (evaluate as evaluate, find_kind as find_kind)
from .evaluations.subjects import (COMPARED as COMPARED, HELD_OUT as HELD_OUT, find_subject as find_subject,
    name_servers as name_servers)
from .evaluations.length_control import (DIFFICULTY as DIFFICULTY, DRAW as DRAW, GAMED as GAMED,
    length_controlled as length_controlled, read_board as read_board, weighted_preference as weighted_preference,
    win_rate as win_rate)
from .evaluations.mt_bench import (Grade as Grade, Question as Question, Scores as Scores, read_rating as read_rating,
    scores as scores)
from .evaluations.published import (Row as Row, read_rows as read_rows)
from .judge import (Graded as Graded, Judge as Judge)
from .measurer import (Measurer as Measurer, Measurement as Measurement)
from .monitors.joint import (CAP as CAP, JOINT as JOINT, Joint as Joint, calibrate as calibrate, distance as distance, widened as widened,
    figures_of as figures_of,
    first_beyond as first_beyond, load_joint as load_joint, shared_baseline as shared_baseline)
from .monitors.own import (FIRST as FIRST, furthest_in_the_laboratory as furthest_in_the_laboratory, own_baseline as own_baseline,
    own_usual as own_usual, spreads_of as spreads_of)
from .monitors.verdicts import ALSO as ALSO, figure_names as figure_names
from .monitors.watch import (Watcher as Watcher, load_anchors as load_anchors)
from .truth import load_truth as load_truth
