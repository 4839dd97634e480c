from .defects.study import run_lab as run_lab
from .defects.worlds import WORLDS as WORLDS
from .speed.compare import bench as bench
from .speed.sitting import plan_sitting as plan_sitting
