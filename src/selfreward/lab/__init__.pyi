from .defects.study import run_lab as run_lab
from .speed.compare import (Sitting as Sitting, bench as bench)
