from .branch import (CONFIG as CONFIG, branch_off as branch_off, find_model as find_model, is_run as is_run,
    read_branch as read_branch,
    recipes as recipes)
from .folder import (RunDir as RunDir, versions as versions)
from .progress import (Progress as Progress, Status as Status, duration as duration)
from .stages import (ModelFolder as ModelFolder, Runner as Runner)
from .view import (ANSWERING as ANSWERING, ModelStanding as ModelStanding, RunView as RunView, open_run as open_run)
