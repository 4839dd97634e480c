"""Shared by all commands: the application, errors in one line, and how a process is asked to end."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from selfreward.cli.system import system_error
from selfreward.errors import Alarm, SelfRewardError, Stopped, holds_secret, shown, visible

UsageError: Any = typer.BadParameter.__base__
"""Of the click that typer uses, which may be one of its own."""


class Careful(TyperGroup):
    """The commands, none of which is given a secret: arguments stand in the shell's history and in `provenance.json`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse a secret before anything is done with it, or shown."""
        if any(holds_secret(argument) for argument in args):
            what = "an argument holds a password, or an address with a query, where keys stand"
            now = "Leave it out: a key is read from the variable that --key-env, or key_env in [servers], names"
            _end(f"error: {SelfRewardError(what, 'command line', now)}", FAILED)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command; what click says of a wrong argument is shown like any text."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            setattr(error, "message", visible(error.message))  # noqa: B010
            raise


app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="A language model that improves itself by judging its own answers.",
    pretty_exceptions_enable=False, cls=Careful,
)  # fmt: skip
STOPPED, ALARMED, FAILED = 143, 3, 1
"""Exit codes: asked to end and can go on; ended by a monitor; something for the user to put right."""
RunArgument = Annotated[Path, typer.Argument(help="A run folder.")]


def told(command: Callable[..., None]) -> Callable[..., None]:
    """Show the errors that users can put right as one line."""

    @wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except SelfRewardError as error:
            _end(f"error: {error}", FAILED)
        except Stopped as stop:
            _end(f"stopped in {stop} at a safe point; the same command goes on from here", STOPPED)
        except Alarm as alarm:
            _end(f"alarm: {alarm}", ALARMED)
        except Exception as error:
            if (known := system_error(error, str(kwargs.get("folder") or "run folder"))) is None:
                raise
            _end(f"error: {known}", FAILED)

    return wrapper


def say(text: str) -> None:
    """Print text for a person; its lines and columns stay, all else that would steer the terminal is made visible."""
    typer.echo(visible(text, keep="\n\t"))


def _end(text: str, code: int) -> None:
    typer.echo(shown(text), err=True)
    raise typer.Exit(code)


def stopping() -> Callable[[], bool]:
    """Tells, from now on, whether the process was asked to end (SIGTERM)."""
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    return lambda: bool(asked)


def change(text: str) -> tuple[str, Any]:
    """A field and its value, as `dpo.beta=0.2` says them: JSON where it is, else text."""
    name, found, value = text.partition("=")
    if not found:
        raise SelfRewardError(f"--set {text} has no value", "command line", "Write it as --set dpo.beta=0.2")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value
