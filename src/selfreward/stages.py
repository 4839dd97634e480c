"""The three forms of a stage, written once: ask a model, decide, train. Each resumes by working out what is owed."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from selfreward.backends import Advance, Model, Trainer
from selfreward.cluster import ClusterConfig
from selfreward.errors import OutOfMemory, SelfRewardError
from selfreward.fingerprints import fingerprint
from selfreward.identified import Record, content_id
from selfreward.journal import answers, halved, read_journal, usage
from selfreward.jsonl import Records, digest, iter_jsonl, to_line
from selfreward.progress import Progress
from selfreward.records import Checkpoint, Completion, Dropped, Pair, Request, Sampled
from selfreward.rundir import RunDir, Stage, sync_files, sync_folder, versions
from selfreward.sections import DPOConfig, SFTConfig, TrainerConfig
from selfreward.trainings import (
    TOO_LONG,
    Chooser,
    Training,
    assert_unchanged,
    at_step,
    decisive,
    fitting_pairs,
    on_the_way,
    settled,
)

R = TypeVar("R", bound=Record)
S = TypeVar("S", bound=Sampled)
Opener = Callable[[Checkpoint], Model]
NO_MATTER = {"on", "baseline", "checkpoint_every"}
"""Fields of a training's section that decide when it is done, and not what it gives."""


class Run:
    """Where the work of one run is done: its folder, its engines, its progress.

    Engines are opened by `open_model` and `open_trainer`, which a study may wrap.
    """

    def __init__(
        self, folder: RunDir, open_model: Opener, open_trainer: Callable[[], Trainer], progress: Progress,
        trainer: TrainerConfig | None = None, cluster: ClusterConfig | None = None,
    ) -> None:  # fmt: skip
        self.dir, self.open_trainer, self.progress = folder, open_trainer, progress
        self.open_model, self.training = open_model, decisive(trainer or TrainerConfig(), cluster)
        self._loaded: tuple[str, Model | None] = ("", None)

    def __getitem__(self, name: str) -> Folder:
        return Folder(self, name)

    @cached_property
    def trainer(self) -> Trainer:
        """The engine that trains; opened when it is first needed, for it takes seconds to import."""
        return self.open_trainer()

    def load(self, model: Checkpoint) -> Model:
        """The engine for `model`; one is held at a time."""
        key, engine = self._loaded
        if engine is None or key != model.fingerprint:
            self.unload()
            engine = self.open_model(model)
            if line := getattr(engine, "unshared", ""):
                self.progress.say(f"{model.name}: {line}")
            self._loaded = (model.fingerprint, engine)
        return engine

    def unload(self) -> None:
        """Give the engine's memory back, before training say."""
        if self._loaded[1] is not None:
            self._loaded[1].close()
        self._loaded = ("", None)


class Folder:
    """One folder of a run ("M2") and what can be done in it."""

    def __init__(self, run: Run, name: str) -> None:
        self.run, self.name = run, name

    def sample(
        self,
        name: str,
        kind: type[S],
        requests: Sequence[Request],
        model: Checkpoint,
        read: Callable[[Request, Completion], S],
        reading: Sequence[object] = (),
    ) -> list[S]:
        """As `stream`, all records in memory."""
        return list(self.stream(name, kind, requests, model, read, reading))

    def stream(
        self,
        name: str,
        kind: type[S],
        requests: Sequence[Request],
        model: Checkpoint,
        read: Callable[[Request, Completion], S],
        reading: Sequence[object] = (),
    ) -> Records[S]:
        """Ask `model` every request; returns `read` of each, in their order, and nothing twice that was answered.

        `reading`: what of the recipe `read` depends on (a pattern, a scale), as JSON values.
        """
        stage, key = self.run.dir.stage(self.name, name), content_id(digest(requests), *reading)
        receipt = stage.finished(key)
        if receipt is None:
            completions = self._ask(stage, key, requests, model)
            outcomes = Counter[str]()
            stage.write(stage.records, _counted((read(request, completions[request.id]) for request in requests), outcomes))
            facts = {"records": len(requests), "outcomes": dict(sorted(outcomes.items())), **usage(completions.values())}
            stage.finish(key, [stage.records], **facts)
        return Records(stage.records, kind, len(requests))

    def _ask(self, stage: Stage, key: str, requests: Sequence[Request], model: Checkpoint) -> dict[str, Completion]:
        plan = stage.begun(key)
        if plan is None:
            plan = {"batches": self.run.load(model).batches(requests) if requests else []}
            stage.begin(key, **plan)
        batches: list[list[int]] = plan["batches"]
        done = read_journal(stage, [{requests[at].id for at in batch} for batch in batches])
        answered = sum(len(batches[number]) for number in done)
        with (
            self.run.progress.stage(str(stage), len(requests), "requests", answered) as advance,
            stage.journal.open("a", encoding="utf-8") as journal,
        ):
            if len(done) < len(batches):
                self.run.load(model).prepare(requests)
            while len(done) < len(batches):
                owed = {number: [requests[at] for at in batch] for number, batch in enumerate(batches) if number not in done}
                try:
                    for batch in answers(self.run.load(model), owed):
                        journal.write(to_line(batch) + "\n")
                        journal.flush()
                        os.fsync(journal.fileno())
                        done[batch.number] = batch
                        advance(len(batch.completions))
                except OutOfMemory as error:
                    batches = halved(batches, error.batch)
                    stage.begin(key, batches=batches)
        return {completion.request_id: completion for batch in done.values() for completion in batch.completions}

    def keep(self, name: str, decided: tuple[Iterable[R], Iterable[Dropped]]) -> list[R]:
        """Write what a pure stage kept and what it dropped, and why; a finished one must come out the same again."""
        stage, (kept, dropped) = self.run.dir.stage(self.name, name), (list(decided[0]), list(decided[1]))
        key = content_id(digest(kept), digest(dropped))
        if stage.finished(key) is None:
            files = [stage.write(stage.records, kept), stage.write(stage.dropped, dropped)]
            reasons = Counter(drop.reason for drop in dropped)
            stage.finish(key, files, records=len(kept), dropped=dict(sorted(reasons.items())))
        return kept

    def restate(self, name: str, records: Sequence[Record]) -> None:
        """Write what follows from other records, and from which nothing is made; anew where the recipe has it otherwise now.

        What is there is changed only when this attempt's recipe is the run's: one that is refused changes nothing.
        """
        stage, key = self.run.dir.stage(self.name, name), content_id(digest(records))

        def write() -> None:
            stage.reopen()
            stage.finish(key, [stage.write(stage.records, records)], records=len(records))

        if stage.outdated(key):
            self.run.dir.once_settled(write)
        elif stage.finished(key) is None:
            write()

    def dropped(self, name: str) -> dict[str, int]:
        """What the finished pure stage `name` dropped, by reason."""
        stage = Stage(self.run.dir, self.run.dir.path / self.name, name)
        return Counter(drop.reason for drop in iter_jsonl(stage.dropped, Dropped))

    def require(self, pairs: Sequence[Pair]) -> None:
        """Raises `SelfRewardError` where there is nothing to train on."""
        if not pairs:
            reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(self.dropped("pairs").items())) or "no prompts"
            now = "Look at judgments.jsonl beside it: train the judge better, raise judge.samples, or ask for more prompts"
            raise SelfRewardError(f"no usable pair ({reasons})", str(self.run.dir.path / self.name / "pairs.jsonl"), now)

    def train_sft(self, examples: Sequence[tuple[str, str]], start: Checkpoint, config: SFTConfig, seed: int) -> Checkpoint:
        """Fine-tune `start` on (prompt, response) into this folder's model."""
        made_from = ["sft", examples, start.fingerprint, config.model_dump(mode="json", exclude=NO_MATTER), seed]

        def prepare(stage: Stage) -> Training:
            def train(advance: Advance) -> Path:
                return self.run.trainer.sft(examples, start.path, config, seed, stage.work, advance)

            return Training(config.steps(len(examples)), train, {})

        return self._train(made_from, start, prepare)

    def train_dpo(
        self, pairs: Sequence[tuple[str, str, str]], start: Checkpoint, reference: Checkpoint, config: DPOConfig, seed: int,
        chooser: Chooser | None = None,
    ) -> Checkpoint:  # fmt: skip
        """Train `start` on (prompt, chosen, rejected) against a frozen `reference` into this folder's model.

        Pairs that `start` cannot read whole are dropped and counted. With a `chooser` the model is the checkpoint it chooses.
        """
        settings = config.model_dump(mode="json", exclude=NO_MATTER)
        made_from = ["dpo", pairs, start.fingerprint, reference.fingerprint, settings, seed]

        def prepare(stage: Stage) -> Training:
            fitting, dropped = fitting_pairs(pairs, self.run.trainer.fits(pairs, start.path), start)
            if dropped:
                stage.write(stage.dropped, dropped)

            def train(advance: Advance) -> Path:
                for model in (start, reference):
                    assert_unchanged(model)
                every = chooser.every if chooser else None
                return self.run.trainer.dpo(fitting, start.path, reference.path, config, seed, stage.work, advance, every)

            left_out, trust = {TOO_LONG: len(dropped)} if dropped else {}, config.model_dump(include={"confidence"})
            return Training(config.steps(len(fitting)), train, left_out, trust)

        return self._train(made_from, start, prepare, chooser)

    def _train(
        self, made_from: list[Any], start: Checkpoint, prepare: Callable[[Stage], Training], chooser: Chooser | None = None
    ) -> Checkpoint:
        stage = self.run.dir.stage(self.name, "model")
        key = content_id(*made_from, self.run.training, chooser.identity if chooser else None, versions())
        receipt = stage.finished(key)
        if receipt is None:
            if (plan := stage.begun(key)) is None:
                stage.begin(key)
            training = prepare(stage)
            facts: dict[str, Any] = {"steps": training.steps, "dropped": training.dropped, **training.told}
            if processes := self.run.training.get("processes"):
                facts["processes"] = processes
            if chooser is None:
                if not stage.model.exists():  # else killed between the rename and the receipt: the model is whole
                    self._become(stage, self._trained(stage, training))
            else:
                facts |= self._selected(stage, key, plan or {}, training, start, chooser)
            weights = sorted(file for file in stage.model.rglob("*") if file.is_file())
            receipt = {"fingerprint": fingerprint(stage.model), "start": start.fingerprint, **facts}
            stage.finish(key, weights, **receipt)
        elif chooser:
            chooser.choose(self, on_the_way(stage, receipt["candidates"], start))  # its records are looked over too
        return Checkpoint(name=self.name, path=stage.model, fingerprint=receipt["fingerprint"], parent=start.fingerprint)

    def _trained(self, stage: Stage, training: Training) -> Path:
        """The folder that the trainer made, safely on disk."""
        self.run.unload()
        with self.run.progress.stage(str(stage), training.steps, "steps") as advance:
            made = training.train(advance)
        sync_files(made)
        return made

    def _become(self, stage: Stage, made: Path) -> None:
        """Let what was made be this folder's model."""
        made.rename(stage.model)
        sync_folder(stage.folder)

    def _selected(
        self, stage: Stage, key: str, plan: dict[str, Any], training: Training, start: Checkpoint, chooser: Chooser
    ) -> dict[str, Any]:
        """Train, have one of the checkpoints chosen, and let it be the model; returns what is to be known of the choice.

        Once all are on disk their fingerprints go into the stage's plan, and from then on nothing is trained again.
        """
        candidates: dict[str, str] = plan.get("candidates", {})
        if not candidates:
            made, last = self._trained(stage, training), at_step(stage, training.steps)
            shutil.rmtree(last, ignore_errors=True)
            made.rename(last)
            candidates = settled(stage)
            stage.begin(key, candidates=candidates)
        chosen = chooser.choose(self, on_the_way(stage, candidates, start))
        if not stage.model.exists():
            self._become(stage, at_step(stage, chosen))
        return {"candidates": candidates, "selected": {"step": chosen, "of": training.steps, "judge": chooser.judge.name}}

    def receipt(self, name: str) -> dict[str, Any]:
        """What the receipt of the finished stage `name` says; nothing where there is none."""
        file = Stage(self.run.dir, self.run.dir.path / self.name, name).receipt
        found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
        return found


def _counted(records: Iterable[S], outcomes: Counter[str]) -> Iterator[S]:
    """The records, none of them held; `outcomes` has counted their labels when all have gone by."""
    for record in records:
        outcomes[record.label] += 1
        yield record
