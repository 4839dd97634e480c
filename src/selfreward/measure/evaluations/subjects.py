"""Subjects of evaluations: models as users name them, with the data that their runs held out; and servers by address."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from selfreward.errors import SelfRewardError
from selfreward.recipe import in_package, load_recipe
from selfreward.records import FOLDER
from selfreward.rundir import BASE, GOES_ON, SEED, FolderReader, check_model, is_run, no_run

COMPARED = "head-to-head"
HELD_OUT = {"reward-modeling": "heldout_rankings", COMPARED: "heldout_prompts"}
"""A run's held-out data, which an evaluation of one of its models uses where no data is given."""
SERVER = re.compile(r"(https?://[^#]+)#(.+)")
"""`URL#MODEL`."""


class Subject(NamedTuple):
    """A model as a user names it: its name, its source, the folder for its evaluations, the recipe of the run that made it."""

    name: str
    source: str
    home: Path
    recipe: Path | None = None

    @property
    def label(self) -> str:
        """The name as one component of a path."""
        return re.sub(r"[/:#]+", "--", self.name)


def find_subject(name: str) -> Subject:
    """The model of a run (RUN/M3), a folder with a transformers model, a server, or an outside model in a recipe's notation.

    Raises `SelfRewardError` for a run, and for a model of one that is not there.
    """
    path = Path(name)
    if (inside := in_package(name)) != name:
        return _elsewhere(Subject(path.name, inside, Path(FOLDER)))
    if is_run(path):
        raise SelfRewardError("is a run, and no model", name, f"Name a model of it: {path / 'M1'}; or `selfreward compare runs`")
    made = path.parent if path.name == "model" and (path.parent / "model.receipt.json").exists() else path
    recipe = made.parent / "config.json"
    if any(made.glob("*.receipt.json")) and recipe.is_file():
        check_model(made)
        converted = made.parent / SEED / BASE  # of a base that was a GGUF file
        weights = made / "model" if (made / "model").is_dir() else converted if converted.is_dir() else load_recipe(recipe).base
        return Subject(made.name, str(weights), made / FOLDER, recipe)
    if re.fullmatch(rf"SFT|M0|{GOES_ON}", path.name) and not path.is_dir() and "://" not in name:
        raise no_run(path, "Give a model of a run that is there, as runs/demo/M3")
    if path.is_dir():
        return Subject(path.resolve().name, name, path / FOLDER)
    return _elsewhere(Subject(name, name, Path(FOLDER)))


def _elsewhere(subject: Subject) -> Subject:
    """A model beside which nothing can be written, with a folder of its own in the current one."""
    return subject._replace(home=subject.home / subject.label)


def held_out(subject: Subject, kind: str) -> dict[str, Any]:
    """The held-out data of the subject's run, as a setting; empty where there is none."""
    if not subject.recipe or kind not in HELD_OUT:
        return {}
    seed = FolderReader(subject.recipe.parent / SEED)
    seed.whole(HELD_OUT[kind])
    file = seed.path / f"{HELD_OUT[kind]}.jsonl"
    return {"data": {"path": str(file)}} if file.is_file() else {}


def name_servers(models: Sequence[str], key_env: str | None) -> dict[str, dict[str, str | None]]:
    """The servers among `models`, by the whole of URL#MODEL. Raises `SelfRewardError` where one is misnamed.

    The key in the variable `key_env` is for the first server, and for others at the same address; no other host is sent it.
    """
    for model in models:
        if "@" in (host := urlsplit(model).netloc):
            raise SelfRewardError(
                "its address holds a password", host.split("@")[-1], "Leave it out; --key-env names its variable"
            )
    matches = {model: server for model in models if (server := SERVER.fullmatch(model))}
    misnamed = [model for model in models if model.startswith(("http://", "https://")) and model not in matches]
    if misnamed or (key_env and not matches):
        now = "Name a server as URL#MODEL, such as http://localhost:8000/v1#qwen"
        raise SelfRewardError("is no server", (misnamed or [*models])[0], now)
    key_url = next((server[1] for server in matches.values()), None)
    return {
        name: {"url": server[1], "model": server[2], "key_env": key_env if server[1] == key_url else None}
        for name, server in matches.items()
    }
