"""Processes of another library's that must not outlive this one: what they hold of a device would be missing from then on.

vLLM's engine goes on when the process that started it is killed, with most of a GPU's memory in its hands.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import Any
from uuid import uuid4

MARK = "SELFREWARD_LEASH"
WATCH = """
import os, select, sys
import psutil

seen = set()

def look(processes):
    for process in processes:
        try:
            if process in seen or process.environ().get(sys.argv[1]) == sys.argv[2]:
                seen.update([process, *process.children(recursive=True)])
        except psutil.Error:
            pass

def say():
    try:
        os.write(1, b"\\n")
    except OSError:  # nobody is left to hear it
        pass

say()
while not select.select([sys.stdin], [], [], 0.5)[0]:
    look(psutil.process_iter())
sys.stdin.readline()
look(psutil.process_iter())
say()
sys.stdin.read()
look(list(seen))
look(psutil.process_iter())
for process in seen:
    try:
        process.kill()
    except psutil.Error:
        pass
"""
"""Learns who carries the mark until a line comes, for one that gives itself a title loses its mark by that; then waits for the
end of its input, which comes when this process ends, however it does; then ends all of them and what they have started. It says
when it has begun and when it has seen all there was at the line: once its parent has ended, nothing tells whose a process is."""


class Leash:
    """Ends what was started while it was `on`, and what that started: when told to, or when this process ends or is killed."""

    def __init__(self) -> None:
        self._mark = uuid4().hex
        # In a session of its own, it is there still when Ctrl-C has ended everything in this one.
        watch = [sys.executable, "-c", WATCH, MARK, self._mark]
        self._watch: Any = subprocess.Popen(watch, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)

    @contextmanager
    def on(self) -> Iterator[None]:
        """Processes that are started inside are on the leash, and so are the processes that those have started."""
        resource_tracker.ensure_running()  # one of this process's own, which is to stay
        self._watch.stdout.readline()  # it watches
        os.environ[MARK] = self._mark
        try:
            yield
        finally:
            del os.environ[MARK]
            with suppress(BrokenPipeError):
                self._watch.stdin.write(b"\n")
                self._watch.stdin.flush()
                self._watch.stdout.readline()  # it has seen all

    def end(self) -> None:
        """End it all now."""
        self._watch.communicate()
