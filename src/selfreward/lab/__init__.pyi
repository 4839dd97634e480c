from .defects.study import run_lab as run_lab
from .reproduce.figures import reproduce as reproduce
from .speed.compare import (Sitting as Sitting, bench as bench)
