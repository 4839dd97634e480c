"""The command lines of studies: what users can put right, and Ctrl-C, end one in a line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable

from selfreward.errors import SelfRewardError, shown


def obeyed(main: Callable[[], None]) -> None:
    """Run a command; what it wrote stays, and its kind go on from there. Exit code 1 after an error, 130 after Ctrl-C."""
    try:
        main()
    except SelfRewardError as error:
        sys.exit(f"error: {shown(str(error))}")
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)


def die_of_ctrl_c() -> None:
    """Make Ctrl-C end this worker at once, without a word; its parent has one."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
