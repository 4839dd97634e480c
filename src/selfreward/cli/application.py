"""Shared by all commands: the application, errors in one line, and how a process is asked to end."""

from __future__ import annotations

import json
import os
import re
import signal
import tomllib
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from threading import current_thread, main_thread
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from selfreward.cli.system import system_error
from selfreward.errors import Alarm, SelfRewardError, Stopped, holds_secret, shown, visible

UsageError: Any = typer.BadParameter.__base__
"""The base class of the errors of the click that typer uses, which may be a copy of its own."""


class Careful(TyperGroup):
    """The commands, none of which is given a secret: arguments stand in the shell's history and in `provenance.json`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse a secret before anything uses it or shows it."""
        if any(holds_secret(argument) for argument in args):
            what = "an argument holds a password, or an address with a query, which may hold a key"
            now = "Leave it out: a key is read from the variable that --key-env, or key_env in [servers], names"
            _end(f"error: {SelfRewardError(what, 'command line', now)}", FAILED)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; click's errors about arguments are shown like any text."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            setattr(error, "message", visible(error.message))  # noqa: B010
            raise


app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="A language model that improves itself by judging its own answers.",
    pretty_exceptions_enable=False, cls=Careful,
)  # fmt: skip
ALARMED, FAILED, SIGNALLED = 3, 1, 128
"""Exit codes: ended by a monitor; something for the user to put right; ended by a signal, whose number is added (143, 130)."""
ENDING = (signal.SIGTERM, signal.SIGINT)
GRACE = 5
"""Seconds from being asked to end to ending where the work is, if it came to no safe point by then."""
RunArgument = Annotated[Path, typer.Argument(help="A run folder.")]
ChangesOption = Annotated[
    list[str] | None, typer.Option("--set", help="A field of the recipe, such as dpo.beta=0.2; repeatable.")
]


def errors_in_a_line(command: Callable[..., None]) -> Callable[..., None]:
    """Show errors that users can put right, and Ctrl-C, as one line."""

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        _asked.clear()
        handlers = {number: signal.getsignal(number) for number in ENDING}
        try:
            command(*args, **kwargs)
        except SelfRewardError as error:
            _end(f"error: {error}", FAILED)
        except Stopped as stop:
            _end(f"stopped in {stop} at a safe point; the same command goes on from here", SIGNALLED + (_asked or ENDING)[0])
        except (KeyboardInterrupt, typer.Abort):
            _end(f"stopped{'; the same command goes on from here' if _asked else ''}", SIGNALLED + (_asked or [signal.SIGINT])[0])
        except Alarm as alarm:
            _end(f"alarm: {alarm}", ALARMED)
        except Exception as error:
            if (known := system_error(error, str(kwargs.get("folder") or "run folder"))) is None:
                raise
            _end(f"error: {known}", FAILED)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in handlers.items():
                signal.signal(number, handler)

    return wrapper


def say(text: str) -> None:
    """Print text for a person; its lines and columns stay, all else that would steer the terminal is made visible."""
    typer.echo(visible(text, keep="\n\t"))


def _end(text: str, code: int) -> None:
    typer.echo(shown(text), err=True)
    raise typer.Exit(code)


_asked: list[int] = []
"""Signals that asked the process to end."""


def stopping(grace: float = GRACE) -> Callable[[], bool]:
    """Return a function that tells whether the process was asked to end, by SIGTERM or by Ctrl-C.

    A second Ctrl-C, or `grace` seconds without a safe point, ends it at once, as a kill would: the work of a batch or a training
    since the last write to disk is lost.
    """

    def ask(number: int, frame: object) -> None:
        _asked.append(number)
        if _asked.count(signal.SIGINT) > 1:
            raise KeyboardInterrupt
        if len(_asked) == 1:
            says = f"ending at the next safe point, in {grace:g} s at the latest; Ctrl-C again ends it at once"
            os.write(2, f"\n{says}\n".encode())  # safe wherever the signal came in
            signal.setitimer(signal.ITIMER_REAL, grace)

    def noticed() -> bool:
        """True if the process was asked to end; the caller is then on the way to a safe point, and has the time that it takes."""
        if _asked and current_thread() is main_thread():
            signal.setitimer(signal.ITIMER_REAL, 0)
        return bool(_asked)

    for number in ENDING:
        signal.signal(number, ask)
    signal.signal(signal.SIGALRM, _end_here)
    return noticed


def _end_here(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def changed(changes: list[str] | None) -> dict[str, Any]:
    """Fields and their values, as `dpo.beta=0.2` says them: JSON, or a table or list as in a recipe, where it is, else text."""
    return dict(map(_change, changes or []))


def _change(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        lacks, form = ("value", f"{text}=VALUE") if not equals else ("name", f"FIELD{text}")
        raise SelfRewardError(f"--set {text} has no {lacks}", "command line", f"Write it as --set {form}")
    with suppress(ValueError):
        return name, json.loads(value)
    if value.startswith(("{", "[")):
        with suppress(ValueError):
            return name, tomllib.loads(f"value = {value}")["value"]
    if re.match(r"\{\s*[\w\"']+\s*[=:]", value):
        raise SelfRewardError(f"{value} is no table", f"--set {name}", 'Write it as a recipe does: {path = "rows.jsonl"}, quoted')
    return name, value


def named_first(*names: str) -> type[TyperGroup]:
    """A group of commands that asks for the name of a command where none is given."""

    class Named(TyperGroup):
        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            if args and args[0] not in self.commands and not args[0].startswith("-"):
                ways = ", or ".join(f"{ctx.command_path} {name} …" for name in names)
                _end(f"error: {ctx.command_path}: {args[0]} is not one of its commands. Write {ways}", FAILED)
            return super().resolve_command(ctx, args)

    return Named
