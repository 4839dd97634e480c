"""The one error a user is meant to read, how it counts, and how text is shown. All else is a bug and keeps its traceback."""

from __future__ import annotations

import re
import unicodedata
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories that steer a terminal or show nothing: controls, formats (bidirectional, zero-width), lone surrogates, line
and paragraph separators."""
NOT_PLAIN = re.compile("[^ -~]")
STARS = "********"
PASSWORD = r"""[^\s"/?#@:\[]*:(?!\d*(?:[/?#\s"]|$))"""
"""A user and a colon in a URL, where what follows is no port: up to the last @ it is a password, whatever is in it."""
NAMED_SECRET = r"[\w.-]{0,20}(?i:key|token|secret|passw|auth)[\w.-]{0,20}"
SECRET = re.compile(
    rf'(?<=:/)(?P<kept>/*)(?:{PASSWORD}[^\s"]*@|[^\s"/?#]*@)'  # of a URL, with one slash where it was taken for a path
    r"""|(?<![^\s"'=(\[,])(?://)?[^\s"'/@:=]+:[^\s"/]+@(?=[\w\[])"""  # of an address without its scheme
    rf"""|(?P<address>(?<=:/)(?:[^\s"?#]*\?|[^\s"]*?[?#;&](?={NAMED_SECRET}=))"""
    rf"""|(?<![^\s"'=(\[,])[\w.-]+(?::\d+|/)[^\s"?#]*\?(?={NAMED_SECRET}=))"""
    r"""(?:[^\s"#]*=|[\w.%-]{6})[^\s"#]*"""
)
"""User and password of an address, or its query, where keys may stand, or a key by its name behind any of ?#;&."""


def without_preface(message: str) -> str:
    """A message of pydantic's, without the two words that it puts before an error of ours."""
    return message.removeprefix("Value error, ")


def visible(text: str, keep: str = "") -> str:
    """`text` with the escape of each control, format and separator character and lone surrogate in its place (x1b, u202e).

    `keep`: characters to leave in place, such as newlines, where the text may have lines of its own.
    """

    def shown(match: re.Match[str]) -> str:
        character = match[0]
        return repr(character)[1:-1] if unicodedata.category(character) in UNSEEN and character not in keep else character

    return NOT_PLAIN.sub(shown, text)


def starred(text: str) -> str:
    """`text` with stars for the user, the password and the query of every address in it."""
    return SECRET.sub(lambda match: f"{match['address']}{STARS}" if match["address"] else f"{match['kept'] or ''}{STARS}@", text)


def holds_secret(value: str) -> bool:
    """True if a single value, such as an address, holds a query, or a password, which may have spaces."""
    return bool(SECRET.search(value) or re.search(rf':/+{PASSWORD}[^"]*@', value))


def shown(text: str) -> str:
    """`text` in one line as it may be shown and kept: nothing in it steers a terminal, and addresses tell no secret."""
    return visible(starred(text))


def terminal(**settings: Any) -> Console:
    """A console of rich that shows texts as they are: `:star:` in a user's or a model's words is no picture."""
    from rich.console import Console

    return Console(highlight=False, emoji=False, **settings)


class SelfRewardError(Exception):
    """Something the user can put right: what is wrong, where, and what to do now."""

    def __init__(self, what: str, where: str, now: str) -> None:
        super().__init__(what, where, now)
        self.what, self.where, self.now = what, where, now

    def __str__(self) -> str:
        return shown(f"{self.where}: {self.what}. {self.now}")


class Outdated(SelfRewardError):
    """Records here were made, or begun, from something else than they would be made from now."""


class BadRows(SelfRewardError):
    """Rows of a source cannot be read; all of them were counted."""


class NoPairs(SelfRewardError):
    """An iteration ended with no pair to train on."""


DISTRIBUTION = "selfreward-lm"
"""The name of this package where packages are installed from; `selfreward` is another project's there."""


def pip_install(extra: str) -> str:
    """The command that installs what the optional parts under `extra` need."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


SHORT = 120
"""Characters of a text that an error quotes."""


def cut_short(text: str) -> str:
    """A text in quotes on one line, its middle left out where it is long, as an error quotes it: where a verdict stands stays."""
    whole = " ".join(visible(text, keep="\n\t").split())
    return f"“{whole}”" if len(whole) <= SHORT else f"“{whole[: SHORT // 3].rstrip()} … {whole[-SHORT * 2 // 3 :].lstrip()}”"


def first_line(error: BaseException) -> str:
    """The first line of another library's error, and the next where it announces one; the error's name where it says nothing."""
    first, *others = str(error).strip().splitlines() or [type(error).__name__]
    return f"{first} {others[0].strip()}" if others and first.endswith(":") else first


OTHERS = re.compile(r"^<(?!stdin|ipython)|/lib/python3|/site-packages/")
OURS = re.compile(rf"^{re.escape(str(Path(__file__).parent))}/")
NOT_THEIRS = re.compile(rf"<|/lib/python3|/site-packages/|{OURS.pattern}")
"""Files whose lines do not help whoever wrote a function of their own: Python's, libraries', and this package's."""


def theirs(error: BaseException) -> bool:
    """True if an error was raised by a line of whoever uses this package, and not in it or in what it calls."""
    files = [frame.f_code.co_filename for frame, _ in walk_tb(error.__traceback__)]
    return not OURS.search(next((file for file in reversed(files) if OURS.search(file) or not OTHERS.search(file)), __file__))


def raised(error: BaseException) -> str:
    """The error that another's code raised, and where in it: `KeyError ('x') at mine.py:12`."""
    frames = [(frame.f_code.co_filename, line) for frame, line in walk_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno or 1))
    theirs = [(file, line) for file, line in frames if not NOT_THEIRS.search(file)]
    place = f" at {Path(theirs[-1][0]).name}:{theirs[-1][1]}" if theirs else ""
    return f"{type(error).__name__} ({_invalid(error) or first_line(error)}){place}"


def _invalid(error: BaseException) -> str:
    """The record that one of pydantic's errors is about, its first wrong field, what is wrong and what came; else empty."""
    if type(error).__name__ != "ValidationError" or not callable(getattr(error, "errors", None)):
        return ""
    first = error.errors(include_url=False)[0]  # type: ignore[attr-defined]
    kind, field = getattr(error, "title", ""), ".".join(map(str, first["loc"]))
    said, came = without_preface(first["msg"]), first["input"]
    return f"{kind}{field and f'.{field}'}: {said}" + (f"; it is {came!r:.80}" if field and first["type"] != "missing" else "")


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
