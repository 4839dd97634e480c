from .defects.study import run_lab as run_lab
from .defects.worlds import WORLDS as WORLDS
from .speed.compare import (bench as bench, plan_sitting as plan_sitting)
