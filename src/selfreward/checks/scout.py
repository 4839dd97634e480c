"""A process of its own that looks at models, for the command line: transformers loads there while the data is read here.

Loading what is needed for a look takes most of the time of a small recipe's check. Nothing else is done there, so that packages
which transformers loads wherever they are installed, and no look needs, can be left out.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, Pipe
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selfreward.checks.look import Looker

UNNEEDED = ("scipy", "sklearn", "trio")
"""Packages that only losses of detectors, assisted generation and asynchronous requests use."""
START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from selfreward.checks.scout import serve; serve(sys.argv[2])"


@contextmanager
def looker() -> Iterator[Looker]:
    """Give something that looks at models: another process, where there is a core and transformers is not loaded here already."""
    if "transformers" in sys.modules or _cores() < 2:
        from selfreward.checks.look import Looker

        yield Looker()
        return
    ours, theirs = Pipe()
    command = [sys.executable, "-c", START, json.dumps(sys.path), str(theirs.fileno())]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    theirs.close()
    try:
        from selfreward.checks.look import Scout  # later: the other is loading already

        yield Scout(ours)
    finally:
        ours.close()
        process.kill()
        process.wait()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def serve(channel: str) -> None:
    """Answer the questions of a `Scout` that come by the pipe with this file descriptor, until it is closed.

    An error that no user can put right ends the process: the other then asks itself, and meets it too.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the other, which ends this one
    gc.disable()
    for package in UNNEEDED:
        sys.modules[package] = None  # type: ignore[assignment]  # not to be found
    from transformers import AutoModelForCausalLM  # noqa: F401  loads nearly all that a look will need

    from selfreward.checks.look import GONE, Looker
    from selfreward.errors import SelfRewardError

    pipe, seer = Connection(int(channel)), Looker()
    with suppress(*GONE):
        while True:
            question, given = pipe.recv()
            try:
                answer = getattr(seer, question)(*given)
            except SelfRewardError as error:
                answer = error
            pipe.send(answer)
