"""Costs of a run on the devices at hand: time by stage, memory by device, disk; and findings where the run exceeds them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from selfreward.checks import memory
from selfreward.checks.amounts import Material
from selfreward.checks.costs import AskingStage, Stage, TrainingStage, operations
from selfreward.checks.finding import Finding
from selfreward.checks.look import NamedModel
from selfreward.checks.memory import Precision
from selfreward.checks.planning import plan
from selfreward.checks.shapes import Shape
from selfreward.engines import Device, matmul_rate
from selfreward.recipe import Recipe, SFTConfig

ROWS = {"cpu": 256}
MANY_ROWS = 1024
"""Rows of the matrices that measure the speed of training and of reading prompts: enough for a device's full speed."""
BESIDE = {"sampling": 0.3, "training": 0.8}
"""Time on a CPU beside the products of matrices, in parts of the time that they take in float32, with 135 million parameters.

It goes to attention, norms, the optimizer and drawn words; in bfloat16, which speeds products up, it is no shorter.
"""
WRITTEN = 10
"""Bytes on disk for each token that is written: in the journal, and in the record that is made of it."""
GB = 1e9
WORTH = 600.0
"""Seconds of sampling from which another type of number is looked at, and that it has to save."""
QUICKER = 1.5
"""Times as fast that it has to be."""


class StageTime(NamedTuple):
    """A stage, and the seconds that it is likely to take; None where somebody else's machine decides."""

    stage: Stage
    seconds: float | None


class Need(NamedTuple):
    """Memory that one part of a run takes on its device, in bytes."""

    what: str
    device: Device
    parts: dict[str, float]

    @property
    def total(self) -> float:
        """All of it, at the peak."""
        return sum(self.parts.values())

    @property
    def surely(self) -> float:
        """Bytes that no smaller batch saves."""
        return sum(size for name, size in self.parts.items() if name in memory.SURE)


class Bill(NamedTuple):
    """The costs of a run."""

    lines: list[StageTime]
    needs: list[Need]
    disk: dict[str, float]
    """Peak bytes by purpose."""
    halved: tuple[float, float] | None = None
    """Seconds of all sampling on this processor, as the recipe has it and in bfloat16; None where bfloat16 is not looked at."""


class Placement(NamedTuple):
    """The devices for sampling and training."""

    sampling: Device
    training: Device
    precision: Precision


def draw_up(recipe: Recipe, models: Sequence[NamedModel], seed: Material, place: Placement, adapters: int = 0) -> Bill:
    """The bill of `recipe`; `models` are those it names, the base first, whose `adapters` have so many parameters."""
    base = models[0]
    if base.shape is None:
        return Bill([], [], {})
    shapes = {model.name: model.shape for model in models}
    stages = plan(recipe, seed)
    seconds = _clock(recipe, place)
    lines = [
        StageTime(stage, seconds(stage, shapes.get(stage.by if isinstance(stage, AskingStage) else base.name)))
        for stage in stages
    ]
    needs = [*_training(stages, base.shape, adapters, recipe, place), *_sampling(stages, shapes, recipe, place)]
    return Bill(lines, needs, _disk(stages, models, adapters, recipe), _halved(lines, shapes, recipe, place))


def _halved(
    lines: Sequence[StageTime], shapes: Mapping[str, Shape | None], recipe: Recipe, place: Placement
) -> tuple[float, float] | None:
    asked = [line.stage for line in lines if isinstance(line.stage, AskingStage) and line.stage.by not in recipe.servers]
    now = sum(line.seconds or 0.0 for line in lines if line.stage in asked)
    if place.sampling.type != "cpu" or memory.samples_in_bfloat16(recipe.backend, cuda=False) or now < WORTH:
        return None
    backend = recipe.backend.model_copy(update={"dtype": "bfloat16"})
    seconds = _clock(recipe.model_copy(update={"backend": backend}), place)
    return now, sum(seconds(stage, shapes.get(stage.by)) or 0.0 for stage in asked)


def quicker(bill: Bill) -> Iterator[Finding]:
    """A finding where this processor would sample much faster in bfloat16."""
    if not bill.halved:
        return
    now, then = bill.halved
    if now - then >= WORTH and now >= QUICKER * then:
        what = f"sampling in float32 may take {now / 60:,.0f} minutes, and {then / 60:,.0f} in bfloat16 on this processor"
        yield Finding(
            "warning", "backend.dtype", what, 'Set it to "bfloat16" where the rounding of weights to 8 bits is no matter'
        )


def _clock(recipe: Recipe, place: Placement) -> Callable[[Stage, Shape | None], float | None]:
    """The time of a stage for a model of a shape: its operations at the speed at which the device multiplies matrices.

    On a CPU what is done beside comes on top.
    """
    cuda = place.sampling.type == "cuda"
    half = memory.samples_in_bfloat16(recipe.backend, cuda)
    training, sampling = (ROWS.get(device.type, MANY_ROWS) for device in (place.training, place.sampling))

    def seconds(stage: Stage, shape: Shape | None) -> float | None:
        if isinstance(stage, AskingStage) and stage.by in recipe.servers:
            pace = recipe.servers[stage.by].requests_per_minute
            return 60 * stage.requests / pace if pace else None
        if shape is None:
            return None
        tokens = memory.in_flight(shape, recipe.backend, cuda, place.sampling.memory)
        needed = operations(stage, shape, recipe, place.precision.checkpointing, tokens, place.training.type == "cuda")
        if isinstance(stage, TrainingStage):
            return takes("training", place.training, place.precision.bfloat16, training, needed.at_once)
        reading = takes("sampling", place.sampling, half, sampling, needed.at_once)
        rows = min(1 << (needed.rows - 1).bit_length(), sampling)  # near ones are as fast, and more are no faster
        return reading + takes("sampling", place.sampling, half, rows, needed.by_word)

    def takes(work: str, device: Device, bfloat16: bool, rows: int, needed: float) -> float:
        beside = BESIDE[work] * needed / matmul_rate(device, False, rows) if device.type == "cpu" else 0.0
        return needed / matmul_rate(device, bfloat16, rows) + beside

    return seconds


def _training(stages: Sequence[Stage], shape: Shape, adapters: int, recipe: Recipe, place: Placement) -> Iterator[Need]:
    """Memory that the largest SFT needs, and the largest DPO."""
    for kind, config in (("SFT", recipe.sft), ("DPO", recipe.dpo)):
        of_kind = [stage for stage in stages if isinstance(stage, TrainingStage) and stage.config == config]
        longest = max((stage.sequence.most for stage in of_kind), default=0)
        if longest:
            example = longest * (2 if kind == "DPO" else 1)
            cuda = place.training.type == "cuda"
            size, passes = config.split(tokens=None if cuda else example)
            tokens = example * size + max(stage.rehearsed.most for stage in of_kind) / passes
            parts = memory.training(
                shape, recipe.trainer, adapters, place.precision, tokens, longest, kind == "DPO", config.dropout, cuda
            )
            yield Need(kind, place.training, parts)


def _sampling(stages: Sequence[Stage], shapes: Mapping[str, Shape | None], recipe: Recipe, place: Placement) -> Iterator[Need]:
    """Memory that each model needs which is asked on this device."""
    for name, shape in shapes.items():
        longest = max((s.longest for s in stages if isinstance(s, AskingStage) and s.by == name), default=0)
        if shape and longest:
            within = min(longest, shape.context or longest)
            parts = memory.sampling(shape, recipe.backend, place.sampling.type == "cuda", within, place.sampling.memory)
            yield Need(f"sampling {called(name)}", place.sampling, parts)


def _disk(stages: Sequence[Stage], models: Sequence[NamedModel], adapters: int, recipe: Recipe) -> dict[str, float]:
    base, trainings = models[0], [stage for stage in stages if isinstance(stage, TrainingStage)]
    assert base.shape
    size = base.shape.parameters * (base.stored if recipe.trainer.lora else 4) + 4.0 * adapters
    state = 12.0 * (adapters or base.shape.parameters)
    checkpoints = [stage.steps // stage.config.checkpoint_every + 1 for stage in trainings] if recipe.keep_checkpoints else []
    return {
        "models": size * len(trainings),
        "candidates": size * max(stage.candidates(recipe) - 1 for stage in trainings),
        "checkpoints": state * (sum(checkpoints) + 1 if checkpoints else 2),  # the older goes when the newer is whole
        "downloads": float(sum(model.download for model in models)),
        "records": WRITTEN * sum(stage.writes.likely for stage in stages if isinstance(stage, AskingStage)),
    }


def overdrawn(bill: Bill, free: int) -> Iterator[Finding]:
    """Findings where the bill exceeds the devices or the disk (`free` bytes)."""
    for need in bill.needs:
        room = need.device.memory
        if room is None or need.total <= room:
            continue
        where = f"{need.what} on {need.device.name}"
        if need.surely > room:
            parts = ", ".join(f"{name} {gigabytes(size)}" for name, size in need.parts.items() if name in memory.SURE and size)
            what = f"needs {gigabytes(need.surely)} before any text is in it ({parts}), and there are {gigabytes(room)}"
            yield Finding("error", where, what, _way_out(need, sure=True))
        else:
            what = f"may need {gigabytes(need.total)}, and there are {gigabytes(room)}"
            yield Finding("warning", where, what, _way_out(need, sure=False))
    needed = sum(bill.disk.values())
    if needed > free:
        what = f"needs {gigabytes(needed)}, and {gigabytes(free)} are free"
        yield Finding("error", "disk", what, "Make room, or give --folder")


def gigabytes(size: float) -> str:
    """Bytes in GB, those of small models in MB."""
    return f"{size / GB:,.1f} GB" if size >= GB / 10 else f"{size / 1e6:,.1f} MB"


def called(name: str) -> str:
    """A model's name; for a path, its last part."""
    return f"…/{Path(name).name}" if Path(name).is_absolute() else name


def _way_out(need: Need, sure: bool) -> str:
    if need.what.startswith("sampling"):
        return "Take a smaller model or a larger device" if sure else "Lower backend.max_tokens_in_flight"
    if sure:
        return 'Train adapters ([trainer] lora, with quantize = "4bit"), or take a smaller model or a larger device'
    return f"Lower {need.what.lower()}.device_batch_size, or set trainer.gradient_checkpointing = true"


def out_of_context(bill: Bill, models: Sequence[NamedModel], exact: bool) -> Iterator[Finding]:
    """Findings where a model is asked, or trained on, more than its context. `exact`: SFT's lengths are known."""
    for model in models:
        stages = [line.stage for line in bill.lines if isinstance(line.stage, AskingStage) and line.stage.by == model.name]
        if stages and (context := model.context or (model.shape.context if model.shape else None)):
            yield from _too_long_to_ask(model.name, stages, context, "are cut shorter" if model.context else "fail")
    context = models[0].shape.context if models[0].shape else None
    for stage in [line.stage for line in bill.lines]:
        if (
            isinstance(stage, TrainingStage)
            and isinstance(stage.config, SFTConfig)
            and stage.sequence.most > (context or math.inf)
        ):
            what = f"examples have up to {stage.sequence.most:,.0f} tokens, and the base reads {context:,}: training refuses them"
            yield Finding("error" if exact else "warning", stage.stage, what, "Leave the long ones out of the seed")


def _too_long_to_ask(name: str, stages: Sequence[AskingStage], context: int, otherwise: str) -> Iterator[Finding]:
    never, longest = max(stages, key=lambda stage: stage.prompt.likely), max(stages, key=lambda stage: stage.longest)
    if never.prompt.likely >= context:
        what = f"prompts of {never.stage} have some {never.prompt.likely:,.0f} tokens, and it reads {context:,}"
        yield Finding("error", name, what, "Take a model that reads more, or a shorter rubric, or fewer shots")
    elif longest.longest > context:
        what = f"{longest.stage} may come to {longest.longest:,.0f} tokens, and it reads {context:,}: longer ones {otherwise}"
        yield Finding("warning", name, what, "Lower max_tokens, or leave long texts out of the seed")
