"""The study of the checkable world as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

INTRODUCTION = """# A real language model, against a truth that a program can check

`python -m selfreward.lab.checkable.study BASE`: SmolLM2-135M-Instruct (Q4_1, dequantised) by the recipe `smollm2-checkable`,
seeds {seeds}. `self` is the recipe; `shuffled` deals each prompt's scores out anew among its candidates; `checkers` has
the checkers for a judge, which is the ceiling; `sft` reads the seed examples once more in place of both rounds. Checks are
strict, on held-out prompts: instructions of kinds that the seeds ask for (seen), and of kinds that they do not (unseen). Each
prompt is answered once in the run, and four times more where it says five `answers`, for one hangs much on chance.
Intervals are 95 %, by 10,000 bootstrap resamples of runs and then of prompts or rankings{few}. A model's figures are of the runs
that have made it.
"""
FEW = "; with fewer than five runs they are too narrow, for so few cannot tell how much seeds differ, and one not at all"
FOLLOWED = (
    "arm", "model", "runs", "answers", "instructions followed, %", "seen kinds", "unseen kinds", "prompts followed whole, %",
)  # fmt: skip
JUDGED = (
    "arm", "model", "self-score, of 6", "truth, of 6", "ρ of both", "judgments with a score, %", "pairwise accuracy, %",
    "by length alone, %",
)  # fmt: skip
MADE = ("arm", "model", "pairs", "chosen truly better, %", "truly worse, %", "answer, characters", "cut off, %")
IFEVAL = ("arm", "model", "runs", "tokens at most", "instructions followed, %", "prompts followed whole, %")
PRICE = ("arm", "model", "tokens read", "written", "trained on", "hours")
WATCHED = (
    "flukes.rate", "flattery.gap", "flattery.cut_drop", "consistency.kendall", "people.informedness", "health.unscored",
    "health.ties", "health.yield", "health.spread", "traits.score_length", "policy.kl_first", "policy.chosen_logp",
    "policy.rejected_logp", "policy.distinct_2",
)  # fmt: skip
"""Figures of monitors that the page shows; all are in the records."""


def as_markdown(figures: Mapping[str, Any]) -> str:
    """The figures as a page; arms, seeds and models that were not run are named."""
    changes = ", ".join(f"`{name} = {value}`" for name, value in figures["changes"].items())
    seeds, arms = ", ".join(map(str, figures["seeds"])), figures["arms"]
    few = FEW if len(figures["seeds"]) < 5 else ""
    lines = [INTRODUCTION.format(seeds=seeds, few=few), *([f"Changed in the recipe: {changes}.\n"] if changes else [])]
    lines += [*_missing(figures), *_table(FOLLOWED, _followed(arms)), "Over M1 of the same run, in points:", ""]
    lines += [*_table(FOLLOWED, _over(arms)), *_ceiling(figures), *_table(JUDGED, _judged(arms)), *_table(MADE, _made(arms))]
    lines += ["The prompts of IFEval as a whole, strictly:", "", *_table(IFEVAL, _ifeval(arms))]
    lines += _watched(arms.get("self", {}).get("models", {}))
    return "\n".join([*lines, "Hours are by the clock, whatever else the machine did.", "", *_table(PRICE, _price(arms))])


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> list[str]:
    return [_line(head), "|" + "---|" * len(head), *map(_line, rows), ""]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _missing(figures: Mapping[str, Any]) -> Iterator[str]:
    if missing := figures["not run"]:
        yield f"**Not run:** {_arms_and_seeds(missing)}.\n"
    if under_way := figures["not finished"]:
        yield f"**Not finished:** {_arms_and_seeds(under_way)}; the models that are missing below were not made.\n"


def _arms_and_seeds(of_arm: Mapping[str, Sequence[int]]) -> str:
    return "; ".join(f"{arm}, seed {' and '.join(map(str, seeds))}" for arm, seeds in of_arm.items())


def _models(arms: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Arm, model and its figures; models that arms share once."""
    for arm, found in arms.items():
        for name, model in found["models"].items():
            if arm == "self" or "self" not in arms or name not in ("M0", "SFT", "M1"):
                yield arm, name, model


def _followed(arms: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    for arm, name, model in _models(arms):
        yield arm, name, str(model["runs"]), str(model["answers"]), *_kinds(model["followed"])


def _over(arms: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    for arm, found in arms.items():
        for name, differences in found["over M1"].items():
            runs, answers = found["models"][name]["runs"], differences["answers"]
            yield arm, name, str(runs), str(answers), *_kinds(differences)


def _kinds(followed: Mapping[str, Any]) -> list[str]:
    cells = [_spread(followed.get(kind, {}).get("instructions")) for kind in ("all", "seen", "unseen")]
    return [*cells, _spread(followed["all"]["prompts"])]


def _ceiling(figures: Mapping[str, Any]) -> list[str]:
    part = figures["share of the ceiling"]
    return [] if part is None else [f"`self` gains {100 * part:.0f} % of what `checkers` gains in instructions followed.", ""]


def _judged(arms: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    for arm, name, model in _models(arms):
        scores = (_number(model[score], 2) for score in ("self_score", "true_score", "correlation"))
        yield arm, name, *scores, _percent(model["scored"]), *(_spread(model[of]) for of in ("pairwise_accuracy", "length_alone"))


def _made(arms: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    for arm, name, model in _models(arms):
        pairs = (_number(model["pairs"], 0), _percent(model["pairs_right"]), _percent(model["pairs_wrong"]))
        yield arm, name, *pairs, _number(model["answer_length"], 0), _percent(model["ran_out_of_length"])


def _ifeval(arms: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    for arm, found in arms.items():
        for name, model in found["ifeval"].items():
            tokens = ", ".join(map(str, model["max_tokens"]))
            yield arm, name, str(model["runs"]), tokens, _spread(model["instructions"]), _spread(model["prompts"])


def _watched(models: Mapping[str, Any]) -> list[str]:
    """Figures of the monitors, model by model; what each means is on a run's page."""
    seen = {name: model["readings"] for name, model in models.items() if model["readings"]}
    rows = ((f"`{figure}`", *(_number(read.get(figure), 3) for read in seen.values())) for figure in WATCHED)
    return ["Some figures of the monitors, of `self`:", "", *_table(("figure", *seen), rows)] if seen else []


def _price(arms: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    for arm, name, model in _models(arms):
        yield arm, name, *(f"{count:,}" for count in model["tokens"].values()), _number(model["hours"], 2)


def _spread(figure: Mapping[str, float] | None) -> str:
    """A share and its interval, in percent."""
    if figure is None:
        return "–"
    return f"{100 * figure['value']:.1f} ({100 * figure['low']:.1f} to {100 * figure['high']:.1f})"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
