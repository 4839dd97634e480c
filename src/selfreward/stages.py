"""The three forms of a stage, written once: ask a model, decide, train. Each resumes by working out what is owed."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from selfreward.backends import Model, Trainer
from selfreward.config import DPOConfig, SFTConfig
from selfreward.errors import SelfRewardError
from selfreward.progress import Progress
from selfreward.records import (
    Checkpoint,
    Completion,
    Dropped,
    Identified,
    Pair,
    Record,
    Request,
    Sampled,
    content_id,
    digest,
    read_jsonl,
    read_line,
    to_line,
)
from selfreward.rundir import RunDir, Stage, fingerprint, sync_files, sync_folder, versions

R = TypeVar("R", bound=Record)
S = TypeVar("S", bound=Sampled)
Opener = Callable[[Checkpoint], Model]
NO_MATTER = {"on", "baseline", "checkpoint_every"}
"""Fields of a training's section that decide when it is done, and not what it gives."""


class Batch(Identified):
    """One line of a journal: the completions of one planned batch."""

    identity = ("number", "completions")
    number: int
    completions: tuple[Completion, ...]


class Run:
    """Where the work of one run is done: its folder, its engines, its progress."""

    def __init__(self, folder: RunDir, open_model: Opener, open_trainer: Callable[[], Trainer], progress: Progress) -> None:
        self.dir, self._open_trainer, self.progress = folder, open_trainer, progress
        self._open = open_model
        self._loaded: tuple[str, Model | None] = ("", None)

    def __getitem__(self, name: str) -> Folder:
        return Folder(self, name)

    @cached_property
    def trainer(self) -> Trainer:
        """The engine that trains; opened when it is first needed, for it takes seconds to import."""
        return self._open_trainer()

    def load(self, model: Checkpoint) -> Model:
        """The engine for `model`; one is held at a time."""
        key, engine = self._loaded
        if engine is None or key != model.fingerprint:
            self.unload()
            engine = self._open(model)
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
        self, name: str, kind: type[S], requests: Sequence[Request], model: Checkpoint, read: Callable[[Request, Completion], S]
    ) -> list[S]:
        """Ask `model` every request; returns `read` of each, in their order, and nothing twice that was answered."""
        stage, key = self.run.dir.stage(self.name, name), digest(requests)
        receipt = stage.finished(key)
        if receipt is None:
            completions = self._ask(stage, key, requests, model)
            records = [read(request, completions[request.id]) for request in requests]
            stage.write(stage.records, records)
            facts = {"records": len(records), "outcomes": _outcomes(records), **_usage(completions.values())}
            stage.finish(key, [stage.records], **facts)
            return records
        return stage.read(kind)

    def _ask(self, stage: Stage, key: str, requests: Sequence[Request], model: Checkpoint) -> dict[str, Completion]:
        plan = stage.begun(key)
        if plan is None:
            batches = self.run.load(model).batches(requests) if requests else []
            stage.begin(key, batches=batches)
        else:
            batches = plan["batches"]
        done = _read_journal(stage, [{requests[at].id for at in batch} for batch in batches])
        owed = [number for number in range(len(batches)) if number not in done]
        answered = sum(len(batches[number]) for number in done)
        with (
            self.run.progress.stage(str(stage), len(requests), "requests", answered) as advance,
            stage.journal.open("a", encoding="utf-8") as journal,
        ):
            for number in owed:
                asked = [requests[at] for at in batches[number]]
                batch = Batch(number=number, completions=tuple(self.run.load(model).generate(asked)))
                journal.write(to_line(batch) + "\n")
                journal.flush()
                os.fsync(journal.fileno())
                done[number] = batch
                advance(len(asked))
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

    def dropped(self, name: str) -> dict[str, int]:
        """What the finished pure stage `name` dropped, by reason."""
        return Counter(
            drop.reason for drop in read_jsonl(Stage(self.run.dir, self.run.dir.path / self.name, name).dropped, Dropped)
        )

    def require(self, pairs: Sequence[Pair]) -> None:
        """Raises `SelfRewardError` where there is nothing to train on."""
        if not pairs:
            reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(self.dropped("pairs").items())) or "no prompts"
            now = "Look at judgments.jsonl beside it: train the judge better, raise judge.samples, or ask for more prompts"
            raise SelfRewardError(f"no usable pair ({reasons})", str(self.run.dir.path / self.name / "pairs.jsonl"), now)

    def train_sft(self, examples: Sequence[tuple[str, str]], start: Checkpoint, config: SFTConfig, seed: int) -> Checkpoint:
        """Fine-tune `start` on (prompt, response) into this folder's model."""
        made_from = ["sft", examples, start.fingerprint, config.model_dump(mode="json", exclude=NO_MATTER), seed]

        def run(work: Path, advance: Callable[[int], None]) -> Path:
            return self.run.trainer.sft(examples, start.path, config, seed, work, advance)

        return self._train(made_from, start, config.steps(len(examples)), run)

    def train_dpo(
        self, pairs: Sequence[tuple[str, str, str]], start: Checkpoint, reference: Checkpoint, config: DPOConfig, seed: int
    ) -> Checkpoint:
        """Train `start` on (prompt, chosen, rejected) against a frozen `reference` into this folder's model."""
        settings = config.model_dump(mode="json", exclude=NO_MATTER)
        made_from = ["dpo", pairs, start.fingerprint, reference.fingerprint, settings, seed]

        def run(work: Path, advance: Callable[[int], None]) -> Path:
            for model in (start, reference):
                _assert_unchanged(model)
            return self.run.trainer.dpo(pairs, start.path, reference.path, config, seed, work, advance)

        return self._train(made_from, start, config.steps(len(pairs)), run)

    def _train(
        self, made_from: list[Any], start: Checkpoint, steps: int, run: Callable[[Path, Callable[[int], None]], Path]
    ) -> Checkpoint:
        stage, key = self.run.dir.stage(self.name, "model"), content_id(*made_from, versions())
        receipt = stage.finished(key)
        if receipt is None:
            if stage.begun(key) is None:
                stage.begin(key)
            if not stage.model.exists():  # else killed between the rename and the receipt: the model is whole
                self.run.unload()
                with self.run.progress.stage(str(stage), steps, "steps") as advance:
                    made = run(stage.work, advance)
                sync_files(made)
                made.rename(stage.model)
                sync_folder(stage.folder)
            weights = sorted(file for file in stage.model.iterdir() if file.is_file())
            receipt = {"fingerprint": fingerprint(stage.model), "start": start.fingerprint}
            stage.finish(key, weights, steps=steps, **receipt)
        return Checkpoint(name=self.name, path=stage.model, fingerprint=receipt["fingerprint"], parent=start.fingerprint)


def _assert_unchanged(model: Checkpoint) -> None:
    """The weights on disk are the ones that this run means by this name."""
    if (found := fingerprint(model.path)) != model.fingerprint:
        now = "Something wrote to it while the run was open; restore it or start a new run"
        raise SelfRewardError(f"is {found}, not {model.fingerprint}, which {model.name} was", str(model.path), now)


def _read_journal(stage: Stage, planned: Sequence[set[str]]) -> dict[int, Batch]:
    """The answered batches; a torn last line is cut off and owed again, any other bad line is an error.

    `planned`: the ids of each batch's requests.
    """
    if not stage.journal.exists():
        return {}
    content = stage.journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        with stage.journal.open("r+b") as journal:
            journal.truncate(whole)
    done = {}
    for at, line in enumerate(content[:whole].split(b"\n")[:-1], start=1):
        try:
            batch = read_line(line.decode(errors="replace"), Batch, f"{stage.journal}:{at}")
        except SelfRewardError as error:
            raise stage.damaged(stage.journal, f"line {at} is not what this program wrote ({error.what})") from error
        answered = {completion.request_id for completion in batch.completions}
        if batch.number >= len(planned) or answered != planned[batch.number]:
            raise stage.damaged(stage.journal, f"holds answers to other requests than these (line {at})")
        done[batch.number] = batch
    return done


def _outcomes(records: Sequence[Sampled]) -> dict[str, int]:
    return dict(sorted(Counter(record.label for record in records).items()))


def _usage(completions: Iterable[Completion]) -> dict[str, int]:
    read, written = zip(*((c.prompt_tokens, c.completion_tokens) for c in completions), strict=True) if completions else ((), ())
    return {"prompt_tokens": sum(read), "completion_tokens": sum(written)}
