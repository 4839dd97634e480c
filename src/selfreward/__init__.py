"""A language model that improves itself by judging its own answers (Yuan et al. 2024, arXiv 2401.10020).

docs/python.md shows how these names are used. Each is loaded when it is first asked for, so `import selfreward` takes no time.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # nothing leaves the machine unasked
os.environ.setdefault("HF_UPDATE_DOWNLOAD_COUNTS", "0")  # a call for every data set that is opened, one's own files too

__version__ = "0.1.0"
__all__ = [
    "Alarm", "Anchor", "Completion", "Dropped", "Example", "Graded", "Judge", "Judgment", "Measured", "Pair", "Preference",
    "Prompt", "Ranking", "Reading", "Recipe", "Request", "Response", "Result", "RunView", "SelfRewardError", "Verdict",
    "check", "evaluate", "open", "run",
]  # fmt: skip
_ROOMS = {
    "check": "api", "evaluate": "api", "run": "api", "Alarm": "errors", "SelfRewardError": "errors", "Graded": "measure",
    "Judge": "measure", "Recipe": "recipe", "RunView": "rundir", "open": "rundir",
}  # fmt: skip
"""The room of each name; the others are records."""

# ruff: noqa: I001
if TYPE_CHECKING:
    from selfreward.api import check, evaluate, run
    from selfreward.errors import Alarm, SelfRewardError
    from selfreward.measure import Graded, Judge
    from selfreward.recipe import Recipe
    from selfreward.records import Anchor, Completion, Dropped, Example, Judgment, Measured, Pair, Preference, Prompt, Ranking
    from selfreward.records import Reading, Request, Response, Result, Verdict
    from selfreward.rundir import RunView, open_run as open
else:

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"{__name__}.{_ROOMS.get(name, 'records')}"), {"open": "open_run"}.get(name, name))

    def __dir__() -> list[str]:
        return [*globals(), *__all__]
