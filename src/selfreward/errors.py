"""The one error a user is meant to read, and how it counts. Everything else is a bug and keeps its traceback."""

from __future__ import annotations


class SelfRewardError(Exception):
    """Something the user can put right: what is wrong, where, and what to do now."""

    def __init__(self, what: str, where: str, now: str) -> None:
        super().__init__(what, where, now)
        self.what, self.where, self.now = what, where, now

    def __str__(self) -> str:
        return f"{self.where}: {self.what}. {self.now}"


def first_line(error: Exception) -> str:
    """What another library's error says, without the rest of its story; its name where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def amount(number: int, noun: str, plural: str = "") -> str:
    """A count with its noun: `1 try`, `2 tries`, `no requests`."""
    return f"{f'{number:,}' if number else 'no'} {noun if number == 1 else plural or noun + 's'}"


class Stopped(Exception):
    """The run was asked to end (SIGTERM or Ctrl-C) and stands at a safe point; the same command goes on from here."""


class Alarm(Exception):
    """A monitor said `stop`, and the run ended after its iteration: which figures, and how to go on from the last good model."""


class OutOfMemory(Exception):
    """A batch of several requests is more than a device can hold; it is to be asked again in parts."""

    batch = 0
    """Its number in the plan."""
