from .card import write_cards as write_cards
from .charts import (Scale as Scale, tag as tag)
from .compare import (compare_runs as compare_runs, show_comparison as show_comparison,
    write_comparison as write_comparison)
from .evaluations import describe_result as describe_result
from .export import (KINDS as KINDS, export_run as export_run)
from .page import write_report as write_report
from .push import push_folder as push_folder
from .status import describe_end as describe_end, describe_status as describe_status
from .trackers import (require_trackers as require_trackers, tracking as tracking)
