"""The three forms of a stage: ask a model, decide, train. Each resumes by computing its missing part."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

from selfreward.engines import Advance, Model, Trainer, Unshared
from selfreward.errors import SelfRewardError, amount
from selfreward.recipe import NO_MATTER, ClusterConfig, DPOConfig, SFTConfig, TrainerConfig
from selfreward.records import (
    Asked,
    Checkpoint,
    Completion,
    Contrast,
    Dropped,
    Record,
    Records,
    Request,
    Sampled,
    content_id,
    digest,
    file_hash,
    fingerprint,
    iter_jsonl,
    sync_files,
    sync_folder,
)
from selfreward.rundir.folder import RunDir, Stage, versions
from selfreward.rundir.journal import Asker, Item, completed, counted, reasons, usage
from selfreward.rundir.layout import MEASUREMENT, MODEL, Part
from selfreward.rundir.measurement import sign
from selfreward.rundir.progress import Progress
from selfreward.rundir.trainings import (
    Chooser,
    Training,
    asked_which_fit,
    assert_unchanged,
    at_step,
    decisive,
    encoded_anew,
    fitting_pairs,
    hand_on,
    keep_optimizer,
    model_in,
    on_the_way,
    optimizer_of,
    settled,
)

R = TypeVar("R", bound=Record)
S = TypeVar("S", bound=Sampled)
Opener = Callable[[Checkpoint], Model]


class Runner:
    """The working environment of one run: its folder, its engines, its progress.

    Engines are opened by `open_model` and `open_trainer`, which a study may wrap.
    """

    def __init__(
        self, folder: RunDir, open_model: Opener, open_trainer: Callable[[], Trainer], progress: Progress,
        trainer: TrainerConfig | None = None, cluster: ClusterConfig | None = None,
    ) -> None:  # fmt: skip
        self.dir, self.open_trainer, self.progress = folder, open_trainer, progress
        self.open_model, self.training = open_model, decisive(trainer or TrainerConfig(), cluster)
        self.seed = int(folder.recipe.get("seed", 0))
        self._loaded: tuple[str, Model | None] = ("", None)

    def __getitem__(self, name: str) -> ModelFolder:
        return ModelFolder(self, name)

    @cached_property
    def trainer(self) -> Trainer:
        """The trainer, opened when it is first needed, for it takes seconds to import."""
        return self.open_trainer()

    def load(self, model: Checkpoint) -> Model:
        """The engine for `model`; one is held at a time."""
        key, engine = self._loaded
        if engine is None or key != model.fingerprint:
            self.unload()
            with self.progress.meanwhile(f"{model.name}: loading"):
                engine = self.open_model(model)
            if isinstance(engine, Unshared) and engine.unshared:
                self.progress.say(f"{model.name}: {engine.unshared}")
            self._loaded = (model.fingerprint, engine)
        return engine

    def unload(self) -> None:
        """Free the engine's memory, for instance before training."""
        if self._loaded[1] is not None:
            self._loaded[1].close()
        self._loaded = ("", None)


class ModelFolder:
    """One folder of a run ("M2") and the work that is done in it."""

    def __init__(self, run: Runner, name: str) -> None:
        self.run, self.name, self.path = run, name, run.dir.path / name

    def ask(self, part: Part[S], asker: Asker[Item, S], items: Iterable[Item], by: Checkpoint) -> Records[S]:
        """The records that `asker` reads from the answers of model `by` about `items`; no request is made twice."""
        return self.complete(part, asker.plan(items, by, self.run.seed), by, asker.read, asker.reading)

    def complete(
        self, part: Part[S], requests: Sequence[Request], model: Checkpoint, read: Callable[[Request, Completion], S],
        reading: Sequence[object] = (),
    ) -> Records[S]:  # fmt: skip
        """The records that `read` makes from the completions of `model`, in the order of `requests`; no request is made twice.

        `reading`: everything in the recipe that `read` depends on (a pattern, a scale), as JSON values.
        """
        stage, key = self._stage(part), content_id(digest(requests), *reading)
        if stage.finished(key) is None:
            completions = completed(stage, key, requests, partial(self.run.load, model), self.run.progress)
            outcomes = Counter[str]()
            stage.write(stage.records, counted((read(request, completions[request.id]) for request in requests), outcomes))
            facts = {"records": len(requests), "outcomes": dict(sorted(outcomes.items())), **usage(completions.values())}
            if failed := reasons(completions.values()):
                facts["failed"] = failed
                number = amount(sum(failed.values()), "request")
                self.run.progress.say(f"{stage}: {number} failed, most of them with: {next(iter(failed))}")
            stage.finish(key, [stage.records], **facts)
        return Records([stage.records], part.record, len(requests))

    def _stage(self, part: Part[Any]) -> Stage:
        return self.run.dir.stage(self.name, part.name)

    def keep(self, part: Part[R], decided: tuple[Iterable[R], Iterable[Dropped]]) -> list[R]:
        """Write the kept and dropped records of a pure stage; once finished, the stage must give the same records again."""
        stage, (kept, dropped) = self._stage(part), (list(decided[0]), list(decided[1]))
        key = content_id(digest(kept), digest(dropped))
        if stage.finished(key) is None:
            files = [stage.write(stage.records, kept), stage.write(stage.dropped, dropped)]
            reasons = Counter(drop.reason for drop in dropped)
            stage.finish(key, files, records=len(kept), dropped=dict(sorted(reasons.items())))
        return kept

    def restate(self, part: Part[R], records: Sequence[R]) -> None:
        """Write records that are derived from others and from which nothing is made; rewrite them where the recipe changes them.

        Finished files are changed only when this attempt's recipe is the run's: a refused recipe changes nothing.
        """
        stage, key = self._stage(part), content_id(digest(records))

        def write() -> None:
            stage.reopen()
            stage.finish(key, [stage.write(stage.records, records)], records=len(records))

        if stage.outdated(key):
            self.run.dir.once_settled(write)
        elif stage.finished(key) is None:
            write()

    def sum_up(self, measured: Record, before: Mapping[str, str]) -> str:
        """Write this model's measurement, and a receipt over it; returns its id. `before`: those of earlier models, by folder."""
        signed = {f"{folder}/{MEASUREMENT}": receipt for folder, receipt in before.items()}
        return sign(self.run.dir.stage(self.name, MEASUREMENT), measured.model_dump_json(indent=1), signed)

    def dropped(self, part: Part[Any]) -> dict[str, int]:
        """Counts of the records that a finished pure stage dropped, by reason."""
        stage = Stage(self.run.dir, self.path, part.name)
        return Counter(drop.reason for drop in iter_jsonl(stage.dropped, Dropped))

    def train_sft(self, examples: Sequence[tuple[Asked, str]], start: Checkpoint, config: SFTConfig, seed: int) -> Checkpoint:
        """Fine-tune `start` on (prompt, response) into this folder's model. Raises `SelfRewardError` for sampled ids."""
        if ids := sum(not isinstance(answer, str) for _, answer in examples):
            what = f"{ids:,} of {amount(len(examples), 'answer')} came as sampled ids, and fine-tuning learns from texts"
            raise SelfRewardError(what, f"{self.name}, train_sft", "selfreward.records.preference_texts gives them as texts")
        made_from = ["sft", examples, start.fingerprint, config.model_dump(mode="json", exclude=NO_MATTER), seed]

        def prepare(stage: Stage) -> Training:
            def train(advance: Advance) -> Path:
                return self.run.trainer.sft(examples, start.path, config, seed, stage.work, advance)

            return Training(config.steps(len(examples)), train, {})

        return self._train(made_from, start, prepare)

    def train_dpo(
        self, pairs: Sequence[Contrast], start: Checkpoint, reference: Checkpoint, config: DPOConfig, seed: int,
        chooser: Chooser | None = None, part: Part[Dropped] = MODEL, rehearsed: Sequence[tuple[Asked, str]] = (),
    ) -> Checkpoint:  # fmt: skip
        """Train `start` on (prompt, chosen, rejected) against a frozen `reference` into this folder's model.

        Pairs that `start` cannot read whole, or its chat template not write, are dropped and counted. With a `chooser` the
        model is the checkpoint it chooses. `rehearsed`: (prompt, response) for `config.rehearse`.
        """
        before = optimizer_of(self.run.dir, start, config)
        made_from = ["dpo", pairs, start.fingerprint, reference.fingerprint, config.decisive, seed, *map(file_hash, before)]
        beside: dict[str, Any] = {"rehearsed": rehearsed} if rehearsed else {}
        made_from += beside.values()

        def prepare(stage: Stage) -> Training:
            fitting, dropped = fitting_pairs(pairs, asked_which_fit(self.run.trainer, pairs, start), start)
            if dropped:
                stage.write(stage.dropped, dropped)

            def train(advance: Advance) -> Path:
                for model in (start,) if reference == start else (start, reference):
                    assert_unchanged(model)
                hand_on(before, stage.work)
                given = fitting, start.path, reference.path, config, seed, stage.work, advance
                return self.run.trainer.dpo(*given, chooser.every if chooser else None, **beside)

            if line := encoded_anew(fitting):
                self.run.progress.say(f"{stage}: {line}")
            left_out = dict(sorted(Counter(drop.reason for drop in dropped).items()))
            settings = config.model_dump(include={"confidence", "loss"})
            if config.average > 1:
                settings["averaged"] = config.averaged(len(fitting))
            if rehearsed:
                settings["rehearsed"] = config.steps(len(fitting)) * config.rehearse
            return Training(
                config.steps(len(fitting)), train, left_out, settings, config.optimizer == "carried" and part is MODEL
            )

        return self._train(made_from, start, prepare, chooser, part)

    def _train(
        self, made_from: list[Any], start: Checkpoint, prepare: Callable[[Stage], Training], chooser: Chooser | None = None,
        part: Part[Dropped] = MODEL,
    ) -> Checkpoint:  # fmt: skip
        stage = self._stage(part)
        key = content_id(*made_from, self.run.training, chooser.identity if chooser else None, versions())
        receipt = stage.finished(key)
        if receipt is None:
            if (plan := stage.begun(key)) is None:
                stage.begin(key)
            with self.run.progress.meanwhile(f"{stage}: preparing"):
                training = prepare(stage)
            facts: dict[str, Any] = {"steps": training.steps, "dropped": training.dropped, **training.told}
            if processes := self.run.training.get("processes"):
                facts["processes"] = processes
            if chooser is None:
                if not stage.model.exists():  # else killed between the rename and the receipt: the model is whole
                    self._become(stage, self._trained(stage, training))
            else:
                facts |= self._selected(stage, key, plan or {}, training, start, chooser)
            weights = sorted(file for file in (*stage.model.rglob("*"), stage.optimizer) if file.is_file())
            with self.run.progress.meanwhile(f"{stage}: reading its weights"):
                hashes = {file: file_hash(file) for file in weights}
                receipt = {"fingerprint": fingerprint(stage.model, hashes), "start": start.fingerprint, **facts}
                stage.finish(key, hashes, **receipt)
        elif chooser:
            chooser.choose(self, on_the_way(stage, receipt["candidates"], start))  # its records are looked over too
        name = self.name if part is MODEL else f"{self.name} {part.name}"
        return Checkpoint(name=name, path=stage.model, fingerprint=receipt["fingerprint"], parent=start.fingerprint)

    def _trained(self, stage: Stage, training: Training) -> Path:
        """The trainer's folder, durable."""
        self.run.unload()
        with self.run.progress.stage(str(stage), training.steps, "steps") as advance:
            trained = model_in(training.train(advance), self.run.trainer)
        if training.carries:
            keep_optimizer(stage, self.run.trainer)
        sync_files(trained)
        return trained

    def _become(self, stage: Stage, trained: Path) -> None:
        """Make the trained files this folder's model."""
        trained.rename(stage.model)
        sync_folder(stage.folder)

    def _selected(
        self, stage: Stage, key: str, plan: dict[str, Any], training: Training, start: Checkpoint, chooser: Chooser
    ) -> dict[str, Any]:
        """Train, have a checkpoint chosen, and let it be the model; returns the facts about the choice for the receipt.

        Once all checkpoints are durable, their fingerprints go into the stage's plan, and nothing is trained again.
        """
        candidates: dict[str, str] = plan.get("candidates", {})
        if not candidates:
            trained, last = self._trained(stage, training), at_step(stage, training.steps)
            shutil.rmtree(last, ignore_errors=True)
            trained.rename(last)
            candidates = settled(stage)
            stage.begin(key, candidates=candidates)
        chosen = chooser.choose(self, on_the_way(stage, candidates, start))
        if not stage.model.exists():
            self._become(stage, at_step(stage, chosen))
        return {"candidates": candidates, "selected": {"step": chosen, "of": training.steps, "judge": chooser.judge.name}}

    def receipt(self, part: Part[Any]) -> dict[str, Any]:
        """The facts in the receipt of a finished stage; none where there is no receipt."""
        return self.facts(part.name)

    def facts(self, name: str) -> dict[str, Any]:
        """The facts of the receipt of the stage with this name."""
        stage = Stage(self.run.dir, self.path, name)
        return stage.load(stage.receipt) if stage.receipt.exists() else {}
