"""The smallest whole run on the fake backend, and ways to break it. For the tests of resuming."""

import hashlib
import os
import shutil
import stat
from collections import Counter
from pathlib import Path

import numpy as np
from rich.console import Console
from safetensors.numpy import save_file

import selfreward
from selfreward.api import execute
from selfreward.engines import fake
from selfreward.recipe import load_recipe
from selfreward.records import Example, Prompt, Ranking, content_id, to_line

PYTHONPATH = os.pathsep.join(
    str(folder)
    for folder in (Path(selfreward.__path__[0]).parent, *sorted(Path(__file__).parents[1].iterdir()))
    if folder.is_dir()
)
"""Where processes of their own find these modules and the package under test, which need not be the installed one."""
RECIPE = """
base = "base"
iterations = 1
[data]
ift = "ift.jsonl"
eft = "eft.jsonl"
heldout_prompts = "prompts.jsonl"
heldout_rankings = "rankings.jsonl"
[sft]
baseline = false
epochs = 1
batch_size = 4
[prompts]
by = "current"
per_iteration = 6
min_words = 6
[responses]
n = 2
[judge]
samples = 3
min_valid = 1
[dpo]
batch_size = 1
[measure]
truth = "tinyrun:truth"
bootstrap = 100
[backend]
type = "fake"
"""


class Killed(BaseException):
    """Where a process would have died."""


def truth(prompt, response):
    """Longer is better, as far as this world goes."""
    return "task", {"words": min(5.0, float(len(response.split())))}


def make_world(folder):
    """Seed files, a base and a recipe in `folder`; returns the recipe's path."""
    folder.mkdir(parents=True, exist_ok=True)
    seeds = [Example(prompt=f"describe amber number {n}", response=f"amber {n}", kind="ift", source="test") for n in range(6)]
    graded = [Example(prompt=f"grade number {n}", response=f"fine. Score: {n}", kind="eft", source="test") for n in range(3)]
    prompts = [Prompt(text=f"name the birch number {n}", source="seed") for n in range(3)]
    rankings = [Ranking(prompt=f"name cedar {n}", responses=("cedar", "a cedar tree"), ranks=(1, 0)) for n in range(2)]
    for name, records in {"ift": seeds, "eft": graded, "prompts": prompts, "rankings": rankings}.items():
        (folder / f"{name}.jsonl").write_text("".join(to_line(record) + "\n" for record in records))
    (folder / "base").mkdir(exist_ok=True)
    save_file({"weight": np.zeros(3)}, folder / "base" / "model.safetensors")
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE)
    return recipe


def go(recipe, folder, stopping=lambda: False, **changes):
    """One attempt at the run in `folder`; `changes` as dpo__beta=0.2."""
    dotted = {name.replace("__", "."): value for name, value in changes.items()}
    return execute(load_recipe(recipe, dotted), folder, stopping)


def tree(folder, logs=False):
    """Path → hash of every file; without the logs, which differ from attempt to attempt, and the page."""
    found = (path for path in Path(folder).rglob("*") if path.name != ".lock")
    named = {str(path.relative_to(folder)): _digest(path) for path in found}
    return {name: digest for name, digest in named.items() if logs or name.split("/")[0] not in ("logs", "report")}


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"


def write_by(monkeypatch, write):
    """Have every stand-in model answer by `write`: a request → text and finish."""
    monkeypatch.setattr(fake.FakeModel, "__init__", lambda self: setattr(self, "_write", write))


def write_apart(monkeypatch):
    """Have each stand-in model answer in words of its own; by themselves all of them answer alike."""

    def write(request):
        seed = int(content_id(request.seed, request.model), 16)
        return fake.write_like_a_model(request.model_copy(update={"seed": seed}))

    write_by(monkeypatch, write)


def count_requests(monkeypatch):
    """Count how often every request is asked, in all attempts from now on."""
    asked, generate = Counter(), fake.FakeModel.generate

    def counting(self, batch):
        asked.update(request.id for request in batch)
        return generate(self, batch)

    monkeypatch.setattr(fake.FakeModel, "generate", counting)
    return asked


def quiet(monkeypatch):
    """Neither progress lines nor a page nor waiting for a disk: for tests of many runs."""
    monkeypatch.setattr("selfreward.api.write_report", lambda folder: folder)
    monkeypatch.setattr("selfreward.rundir.progress._stderr", lambda: Console(file=open(os.devnull, "w")))  # noqa: SIM115
    monkeypatch.setattr(os, "fsync", lambda handle: None)


def kill_at(monkeypatch, count, places):
    """Die at the `count`-th call from now on of the functions at `places`, (owner, name) each."""
    calls = 0

    def wrap(real):
        def wrapped(*arguments, **named):
            nonlocal calls
            calls += 1
            if calls == count:
                raise Killed
            return real(*arguments, **named)

        return wrapped

    for owner, name in places:
        monkeypatch.setattr(owner, name, wrap(getattr(owner, name)))


class Moments:
    """Copies of a run folder as a SIGKILL would leave it, at every change of its files and every question asked.

    Each is kept twice: as the disk showed it, and as a power cut leaves it, when all that was not fsynced is lost.
    """

    def __init__(self, monkeypatch, run, copies):
        self.run, self.copies = run, copies
        self.seen, self.durable, self.kept = set(), {}, []
        self.asked = Counter()
        for owner, name in [(Path, "replace"), (Path, "rename"), (Path, "unlink"), (shutil, "rmtree")]:
            self._around(monkeypatch, owner, name)
        monkeypatch.setattr(os, "fsync", self._fsync)
        self._asking(monkeypatch)
        train = fake.FakeTrainer._train
        monkeypatch.setattr(fake.FakeTrainer, "_train", lambda *given: self.keep("training") or train(*given))
        save = [lambda *given: self.keep("training"), save_file, lambda *given: self.keep("training")]
        monkeypatch.setattr(fake, "save_file", lambda *given: [step(*given) for step in save])

    def keep(self, what):
        """Copy the folder as it is now, unless it was like this before."""
        there = {file.stat().st_ino for file in self.run.rglob("*")}  # a file that is gone leaves its number to another
        self.durable = {number: content for number, content in self.durable.items() if number in there}
        state = tuple(sorted(tree(self.run).items()))
        if state in self.seen:
            return
        self.seen.add(state)
        at = self.copies / str(len(self.kept))
        for name in ("killed", "cut"):
            shutil.copytree(self.run, at / name)
        for file in self.run.rglob("*"):
            if file.is_file() and file.name != ".lock":
                (at / "cut" / file.relative_to(self.run)).write_bytes(self.durable.get(file.stat().st_ino, b""))
        self.kept.append((what, at, self.asked.copy()))

    def _around(self, monkeypatch, owner, name):
        real = getattr(owner, name)

        def wrapped(*given, **named):
            self.keep(f"before {name}")
            result = real(*given, **named)
            self.keep(f"after {name}")
            return result

        monkeypatch.setattr(owner, name, wrapped)

    def _fsync(self, handle):
        if stat.S_ISREG(os.fstat(handle).st_mode):
            self.keep("before fsync")
            self.durable[os.fstat(handle).st_ino] = Path(f"/proc/self/fd/{handle}").read_bytes()
            self.keep("after fsync")

    def _asking(self, monkeypatch):
        generate = fake.FakeModel.generate

        def asking(model, batch):
            self.asked.update(request.id for request in batch)
            for completion in generate(model, batch):
                self.keep("asking")
                yield completion

        monkeypatch.setattr(fake.FakeModel, "generate", asking)
