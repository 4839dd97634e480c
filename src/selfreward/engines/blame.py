"""Errors of engines that are the user's own: which engine, which of its methods, and where in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from selfreward.errors import OutOfMemory, SelfRewardError, Stopped, raised


def name_of(engine: object) -> str:
    """An engine as its errors name it: `mine:Terse`."""
    return f"{type(engine).__module__}:{type(engine).__qualname__}"


@contextmanager
def answering_for(engine: object, method: str) -> Iterator[None]:
    """Name the engine and its `method` in an error of the user's code; in ours it is a bug, which keeps its traceback.

    Errors of the disk stay what they are.
    """
    try:
        yield
    except (SelfRewardError, OutOfMemory, MemoryError, Stopped):
        raise
    except Exception as error:  # the user's code may raise anything
        of_disk = isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError | TimeoutError)
        if of_disk or type(engine).__module__.startswith("selfreward."):
            raise
        now = "Correct it, then run the same command"
        raise SelfRewardError(f"{method} raised {raised(error)}", name_of(engine), now) from error
