"""Makes runs.tar.xz and packaged.json, with the build before the rooms: PYTHONPATH=<checkout of e5f1fa4>/src python make.py.

`whole` is a run that nobody disturbed. `begun` is the same run killed (SIGKILL) while M3's candidates were judged. `branch` went
on from whole/M2 by another recipe. Folders of the machine that made them are written as /nowhere: nothing may depend on them.
"""

import hashlib
import json
import os
import shutil
import signal
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from selfreward.backends import fake
from selfreward.branch import branch_off
from selfreward.config import load_recipe
from selfreward.jsonl import to_line
from selfreward.run import execute

import selfreward
from selfreward.records import Prompt

HERE = Path(__file__).parent
BRANCHED = {
    "judge.by": "selfreward.micro.controls:Oracle",
    "dpo.confidence": 1.0,
    "judge.rubric": "selfreward:micro/judge.txt",
    "prompts.from": "tasks.jsonl",
    "prompts.per_iteration": 4,
    "responses.n": 4,
}
TASKS = [
    f"sort these {words}"
    for words in (
        *("three words from a to z: cat dog egg", "three words from z to a: park river beach", "two words from a to z: rice jam"),
        *(
            "two words from z to a: anvil knife",
            "three words from a to z: nurse tailor actor",
            "two words from a to z: wrench soup",
        ),
        *("three words from z to a: otter eagle cat", "two words from z to a: harbor forest"),
    )
]
NAMED = ("text/judge_*.txt", "micro/judge.txt", "micro/seed/*.jsonl", "micro/base_model/*")
"""Files of the package that recipes name; packaged.json has the hash of each."""


def make_world():
    """What the recipe names beside itself."""
    (HERE / "world" / "base").mkdir(parents=True, exist_ok=True)
    save_file({"weight": np.zeros(3, dtype=np.uint8)}, HERE / "world" / "base" / "model.safetensors")
    files = {"validation": [f"choose a harbor number {n}" for n in range(2)], "tasks": TASKS}
    for name, texts in files.items():
        lines = (to_line(Prompt(text=text, source="seed")) + "\n" for text in texts)
        (HERE / "world" / f"{name}.jsonl").write_text("".join(lines))


def killed_in(recipe, folder, stage):
    """Run in a process of its own that dies in the second batch of `stage`."""
    if (child := os.fork()) == 0:
        generate = fake.FakeModel.generate

        def dying(model, batch):
            journal = folder / f"{stage}.journal.jsonl"
            if journal.exists() and journal.stat().st_size:
                os.kill(os.getpid(), signal.SIGKILL)
            return generate(model, batch)

        fake.FakeModel.generate = dying
        execute(recipe, folder)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def keep(run, kept, at_home):
    """Copy a run to `kept`, without its logs and pages, and the folders of this machine."""
    for file in sorted(path for path in run.rglob("*") if path.is_file()):
        relative, data = file.relative_to(run), file.read_bytes()
        if relative.parts[0] in ("logs", "report") or file.name in (".lock", "README.md"):
            continue
        for here, there in at_home.items() if file.suffix == ".json" else ():
            data = data.replace(str(here).encode(), there.encode())
        (kept / relative).parent.mkdir(parents=True, exist_ok=True)
        (kept / relative).write_bytes(data)


def main():
    """Make them all."""
    make_world()
    place = Path(tempfile.mkdtemp())
    shutil.copytree(HERE / "world", place / "world")
    recipe = load_recipe(place / "world" / "recipe.toml")
    execute(recipe, place / "whole")
    killed_in(recipe, place / "begun", "M3/judgments")
    changed = load_recipe(place / "world" / "recipe.toml", BRANCHED)
    branch_off(changed, place / "whole" / "M2", place / "branch")
    execute(changed, place / "branch")
    at_home = {Path(selfreward.__file__).parent: "/nowhere/site-packages/selfreward", place: "/nowhere"}
    with tarfile.open(HERE / "runs.tar.xz", "w:xz") as archive:
        for name in ("whole", "begun", "branch"):
            keep(place / name, place / "kept" / name, at_home)
            archive.add(place / "kept" / name, name)
    shutil.rmtree(place)
    package = Path(selfreward.__file__).parent
    named = sorted(path for name in NAMED for path in package.glob(name))
    hashes = {str(path.relative_to(package)): hashlib.sha256(path.read_bytes()).hexdigest() for path in named}
    (HERE / "packaged.json").write_text(json.dumps(hashes, indent=1) + "\n")


if __name__ == "__main__":
    main()
