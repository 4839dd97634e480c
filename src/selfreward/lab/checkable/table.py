"""The study of the checkable world as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

INTRODUCTION = """# A real language model, against a truth that a program can check

`python -m selfreward.lab.checkable.study BASE`: SmolLM2-135M-Instruct (Q4_1, dequantised) by the recipe `smollm2-checkable`,
seeds {seeds}. `self` is the recipe; `shuffled` deals each prompt's scores out anew among its candidates; `checkers` has
the checkers for a judge, which is the ceiling; `sft` reads the seed examples once more in place of each round of DPO. Checks are
strict, on held-out prompts: instructions of kinds that the seeds ask for (seen), and of kinds that they do not (unseen).
Intervals are 95 %, by 10,000 bootstrap resamples of runs and then of prompts.
"""
FOLLOWED = "| arm | model | instructions followed, % | seen kinds | unseen kinds | prompts followed whole, % |"
TOLD = (
    "| arm | model | self-score, of 6 | truth, of 6 | judgments with a score, % | pairwise accuracy, % | by length alone, % "
    "| pairs | chosen truly better, % | truly worse, % | answer, characters | cut off, % |"
)


def as_markdown(figures: Mapping[str, Any]) -> str:
    """The figures as a page; arms and models that were not run are named."""
    changes = ", ".join(f"`{name} = {value}`" for name, value in figures["changes"].items())
    seeds = ", ".join(map(str, figures["seeds"]))
    lines = [INTRODUCTION.format(seeds=seeds), *([f"Changed in the recipe: {changes}.\n"] if changes else []), *_not_run(figures)]
    lines += [FOLLOWED, "|---|---|---|---|---|---|", *_followed(figures["arms"]), "", "Over M1 of the same run, in points:", ""]
    lines += [FOLLOWED, "|---|---|---|---|---|---|", *_over(figures["arms"]), "", TOLD, "|" + "---|" * 12]
    return "\n".join([*lines, *_told(figures["arms"]), "", *_tokens(figures["arms"])]) + "\n"


def _not_run(figures: Mapping[str, Any]) -> Iterator[str]:
    if missing := figures["not run"]:
        yield f"**Not run:** {', '.join(missing)}.\n"
    if under_way := [arm for arm, found in figures["arms"].items() if not found["finished"]]:
        yield f"**Not finished:** {', '.join(under_way)}; the models that are missing below were not made.\n"


def _followed(arms: Mapping[str, Any]) -> Iterator[str]:
    for arm, found in arms.items():
        for name, model in found["models"].items():
            yield _row(arm, name, model["followed"])


def _over(arms: Mapping[str, Any]) -> Iterator[str]:
    for arm, found in arms.items():
        for name, differences in found["over M1"].items():
            yield _row(arm, name, differences)


def _row(arm: str, name: str, followed: Mapping[str, Any]) -> str:
    cells = [_spread(followed.get(kind, {}).get("instructions")) for kind in ("all", "seen", "unseen")]
    return f"| {arm} | {name} | {' | '.join(cells)} | {_spread(followed['all']['prompts'])} |"


def _told(arms: Mapping[str, Any]) -> Iterator[str]:
    shares = ("scored", "pairwise_accuracy", "length_alone")
    for arm, found in arms.items():
        for name, model in found["models"].items():
            cells = [
                _number(model["self_score"], 2),
                _number(model["true_score"], 2),
                *(_percent(model[part]) for part in shares),
            ]
            cells += [_number(model["pairs"], 0), _percent(model["pairs_right"]), _percent(model["pairs_wrong"])]
            cells += [_number(model["answer_length"], 0), _percent(model["ran_out_of_length"])]
            yield f"| {arm} | {name} | {' | '.join(cells)} |"


def _tokens(arms: Mapping[str, Any]) -> Iterator[str]:
    for arm, found in arms.items():
        yield f"Tokens of `{arm}`: {', '.join(f'{count:,} {name}' for name, count in found['tokens'].items())}."


def _spread(figure: Mapping[str, float] | None) -> str:
    """A share and its interval, in percent."""
    if figure is None:
        return "–"
    return f"{100 * figure['value']:.1f} ({100 * figure['low']:.1f} to {100 * figure['high']:.1f})"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
