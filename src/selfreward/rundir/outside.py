"""The models from outside a run, known by all that decides what they say, so that a run goes on with those that it began with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from selfreward.errors import Outdated

MODELS = "models"
"""The part of `provenance.json` in which they are kept."""
Known = Mapping[str, Mapping[str, str]]
"""Name → its `fingerprint`, and the hash of every file of its settings."""


def same_models(now: Known, before: Known, run: Path) -> dict[str, Mapping[str, str]]:
    """The models of a run: those of `before`, of which an older build kept none, and those that are new.

    Raises `Outdated` where one has other settings than before; one with other weights is told of by what was made from it.
    """
    for name, files in now.items():
        then = before.get(name, {})
        changed = sorted(file for file in files.keys() | then.keys() if files.get(file) != then.get(file))
        if changed and then.get("fingerprint") == files.get("fingerprint"):
            what = f"is another model than when this was begun: {', '.join(changed)} changed, in its folder"
            raise Outdated(what, name, f"Undo the change, or give this another folder than {run}")
    return {**before, **now}
