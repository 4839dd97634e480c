"""The laboratory's figures as a page of Markdown, and its curves as a drawing beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from selfreward.errors import amount
from selfreward.lab.defects.arms import FITTING, KINDS, PLANTED, TESTING, TURN, TURNED, Kind
from selfreward.lab.defects.calibration import SURE
from selfreward.lab.defects.defects import DEFECTS
from selfreward.lab.defects.fit import ALLOWED, HARM
from selfreward.lab.defects.together import joint_lines
from selfreward.lab.defects.worlds import EASY, World

INTRODUCTION = """# Does an alarm come before the harm?

Made by `selfreward lab{option}`: {runs:,} runs of the world `{world}` from M1 to M{last}, {hours:.1f} hours of one processor
core, {seconds:.0f} s for a clean run; recipe `lab/defects/{recipe}`. Clean runs are seeds {clean},
{kinds} {planted}. Every row that was run is shown.

A figure raises an alarm where it lies further from the median of {fitted} clean runs than {times:.2f} times as far as it did in
any of them, at any model. That one number, for all {figures} figures of M1 to M{last} together, is the smallest for which no more
than {allowed} of those runs raises an alarm by the limits of the others. No limit was fitted on the runs that are reported. What
hardly ever moved in clean runs has no limits. Harm is the first model whose true score lies {harm:g} standard deviations below
the clean runs'. Bounds are one-sided, 95 %, after Clopper and Pearson.
"""
COURSES: dict[Kind, str] = {
    "turned": f"""*From M{TURN} on*: the run is the clean one of its seed ({TURNED[0]}–{TURNED[-1]}) up to M{TURN - 1}. From the
iteration that makes M{TURN} on, every judge has the defect but M1, which also stays the monitors' frozen judge. Alarms and harm
count from M{TURN} on.""",
    "growing": """*Growing by g*: the strength in M_t is that in M1 plus g times what the pairs behind it have bred, chosen less
rejected, summed over M_2 … M_t, and never below M1's.""",
}
"""Kind of defects → the course of such a defect."""
MISSING = "Not run yet: {arms}. The same command goes on with them."


def as_markdown(table: dict[str, Any], world: World = EASY) -> str:
    """The page in Markdown."""
    models = list(table["clean"]["true"])
    intro = INTRODUCTION.format(
        runs=table["runs"], last=models[-1][1:], hours=table["hours"], seconds=table["seconds_a_run"], times=table["times"],
        clean=_seeds(FITTING) + (f" and {_seeds(TESTING)}" if world == EASY else ""), planted=_seeds(PLANTED),
        kinds="planted ones and cures" if world == EASY else "planted ones",
        world=world.name, option="" if world == EASY else f" --world {world.name}", recipe=world.recipe.name,
        fitted=table["clean"]["fitting"],
        figures=len(table["limits"]), harm=HARM, allowed=int(ALLOWED * table["clean"]["fitting"]),
    )  # fmt: skip
    parts = [
        intro, *_clean(table, models, world), *_fresh(table["fresh"], models),
        *_defects(table["defects"], table["clean"], models), *_detection(table["detection"]), "",
        *joint_lines(table.get("joint"), world),
        *_cures(table["cures"]), "", *_calibration(table["calibration"]),
    ]  # fmt: skip
    if table.get("missing"):
        parts += ["", MISSING.format(arms=", ".join(table["missing"]))]
    return "\n".join(parts) + "\n"


def _seeds(seeds: range) -> str:
    return f"{seeds[0]}–{seeds[-1]}"


def _clean(table: dict[str, Any], models: Sequence[str], world: World) -> Iterator[str]:
    yield "## Clean runs"
    yield ""
    yield f"![True score and what the model says of itself, by defect and strength]({world.stem}.svg)"
    yield ""
    yield f"| | {' | '.join(models)} |"
    yield f"|---|{'---|' * len(models)}"
    for part, title in (("true", "true score of 5, mean ± SD over seeds"), ("said", "says of itself")):
        yield f"| {title} | {' | '.join(_spread(table['clean'][part].get(model)) for model in models)} |"
    yield ""
    if alarms := table["false_alarms"]:
        overall, by_monitor = alarms["any"], {name: share for name, share in alarms["each"].items() if share["found"]}
        yield (
            f"**False alarms**: {overall['found']} of {overall['of']} clean runs raised one, by any figure at any model; so with "
            f"95 % confidence fewer than {overall['bound']:.1%} do."
        )
        yield "By figure: " + (", ".join(f"{name} {share['found']}" for name, share in by_monitor.items()) or "none") + "."
        yield f"By chance alone, {alarms['harmed']} of them count as harmed."
        yield ""


def _fresh(fresh: dict[str, Any] | None, models: Sequence[str]) -> Iterator[str]:
    """Clean runs that were made after everything was chosen."""
    if not fresh:
        return
    overall, (first, last) = fresh["any"], fresh["seeds"]
    yield "## Fresh clean runs"
    yield ""
    yield f"Seeds {first}–{last}, made when all limits stood, by a later build; the same limits."
    yield ""
    yield f"| | {' | '.join(models)} |"
    yield f"|---|{'---|' * len(models)}"
    yield f"| true score of 5, mean ± SD over seeds | {' | '.join(_spread(fresh['true'].get(model)) for model in models)} |"
    yield ""
    yield (
        f"**False alarms on fresh seeds, single limits**: {overall['found']} of {overall['of']} clean runs, fewer than "
        f"{overall['bound']:.1%} with 95 % confidence."
    )
    yield f"By chance alone, {fresh['harmed']} of them count as harmed."
    yield ""


def _defects(rows: Sequence[dict[str, Any]], clean: dict[str, Any], models: Sequence[str]) -> Iterator[str]:
    yield "## Planted defects"
    yield ""
    yield from (f"- *{defect.name}*: the judge {defect.meaning}." for defect in DEFECTS)
    yield ""
    yield from (f"{told}\n" for kind, told in COURSES.items() if any(row["kind"] == kind for row in rows))
    last = models[-1]
    yield (
        f"| defect | strength | runs | trait M1 → {last} | true {last} | says of itself {last} | harmed, first at "
        "| alarm, first at | alarm by the harm | lead, models | seen by (runs) |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    names = [defect.name for defect in DEFECTS]
    rows = sorted(rows, key=lambda row: (KINDS.index(row["kind"]), names.index(row["defect"]), row["strength"]))
    for row in rows:
        yield f"| {' | '.join(_defect(row, models[0], last))} |"
    yield ""
    yield "The same in words:"
    yield ""
    yield from (in_words(row, clean, models[0], last) for row in rows)
    yield ""


def _defect(row: dict[str, Any], first: str, last: str) -> list[str]:
    trait = row.get("trait", {})
    return [
        f"{row['defect']}{row['how']}", f"{row['strength']:g}", _runs(row),
        f"{_mean(trait.get(first))} → {_mean(trait.get(last))}" if trait else "–",
        _spread(row["true"].get(last)), _spread(row["said"].get(last)),
        _when(row["harmed"], row["harm_at"]), _when(row["alarmed"], row["alarm_at"]),
        f"{row['in_time']} of {row['harmed']}" if row["harmed"] else "–",
        "–" if row["lead"] is None else f"{row['lead']:.1f}",
        ", ".join(f"`{name}` {count}" for name, count in row["seen_by"].items()) or "nobody",
    ]  # fmt: skip


def in_words(row: dict[str, Any], clean: dict[str, Any], first: str, last: str) -> str:
    """One row of a defect as an item of a list."""
    true, own, trait = row["true"], row["said"], row.get("trait", {})
    bred = f"what it breeds went from {_mean(trait.get(first))} to {_mean(trait.get(last))}, " if trait else ""
    at = {part: f", first at {min(row[f'{part}_at'])}" if row[f"{part}_at"] else "" for part in ("harm", "alarm")}
    monitors = ", ".join(f"`{name}` ({count})" for name, count in list(row["seen_by"].items())[:3]) or "no figure"
    moved = ", ".join(f"`{name}` {far:+.1f} at {model}" for name, model, far in row["moved"][:4])
    return (
        f"- *{row['defect']}*{row['how']}, strength {row['strength']:g}, {amount(row['runs'], 'run')}, {first} to {last}: {bred}"
        f"the true score from {_mean(true.get(first))} to {_mean(true.get(last))} "
        f"(clean runs: {_mean(clean['true'].get(last))}), what the model says of itself from "
        f"{_mean(own.get(first))} to {_mean(own.get(last))}. Harmed: {row['harmed']}{at['harm']}. "
        f"Alarmed: {row['alarmed']}{at['alarm']}, in time for {row['in_time']} of the harmed. Seen by {monitors}. "
        f"Moved most, in standard deviations of clean runs: {moved}."
    )


SAID: dict[Kind, str] = {
    "first": "at the strengths that do harm, to half their runs at least",
    "later": "of defects thought of later, from M1 on, at such strengths",
    "turned": f"of defects that begin at M{TURN}",
    "growing": "of defects that grow",
}
"""Kind of defects → which of its runs are counted."""


def _detection(shares: dict[Kind, dict[str, Any] | None]) -> Iterator[str]:
    for kind, share in shares.items():
        if share:
            yield (
                f"**Detection**: {SAID[kind]}, {share['of']} runs were harmed and {share['found']} of them had raised an alarm "
                f"by the model in which the harm showed; so with 95 % confidence more than {share['bound']:.1%} do."
            )
            yield ""


def _cures(rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield "## Cures"
    yield ""
    yield "The last model with the cure less that of the same seed without it, mean and 95 % interval over seeds."
    yield "A run that runs out of pairs ends with the model that it has by then."
    yield ""
    yield "| cure | planted | seeds | true score without | with it | trait | harmed without → with |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        cells = [
            row["cure"], _planted(row), _runs(row), f"{row['without']:.2f}", _interval(row["true"]), _interval(row.get("trait")),
            f"{row['harmed_without']} → {row['harmed']}",
        ]  # fmt: skip
        yield f"| {' | '.join(cells)} |"
    yield ""
    for cure in dict.fromkeys(row["cure"] for row in rows):
        yield cure_in_words([row for row in rows if row["cure"] == cure])


def cure_in_words(rows: Sequence[dict[str, Any]]) -> str:
    """The rows of one cure as an item of a list."""
    parts = []
    for row in rows:
        where = f"against *{row['defect']}* {row['strength']:g}{row['how']}" if row["strength"] else "in clean runs"
        bred = f", what it breeds by {_interval(row['trait'])}" if row.get("trait") else ""
        harmed = f"harmed {row['harmed_without']} of {row['runs']} without it and {row['harmed']} with it"
        ended = f", {row['ended']} with it ran out of pairs" if row["ended"] else ""
        parts.append(f"{where} from {row['without']:.2f} by {_interval(row['true'])}{bred}, {harmed}{ended}")
    return f"- *{rows[0]['cure']}* moves the true score {'; '.join(parts)}."


def _calibration(bins: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not bins:
        return
    yield "## Flukes, predicted and seen"
    yield ""
    yield "Pairs of M1's candidates, judged again with fresh seeds, by judges of whose grades none, ¼, and ½ are any grade."
    yield ""
    yield "| pairs | predicted to come out the other way | did | apart, points |"
    yield "|---|---|---|---|"
    for cell in bins:
        apart = 100 * (cell["observed"] - cell["predicted"])
        few = "" if cell["n"] >= SURE else ", few"
        yield f"| {cell['n']:,}{few} | {cell['predicted']:.1%} | {cell['observed']:.1%} | {apart:+.1f} |"


def _planted(row: dict[str, Any]) -> str:
    return f"{row['defect']} {row['strength']:g}{row['how']}" if row["strength"] else "none"


def _runs(row: dict[str, Any]) -> str:
    return f"{row['runs']} ({row['ended']} ran out of pairs)" if row["ended"] else str(row["runs"])


def _when(count: int, at: dict[str, int]) -> str:
    return f"{count}: {', '.join(f'{model} {times}' for model, times in at.items())}" if count else "0"


def _mean(figure: dict[str, float] | None) -> str:
    return f"{figure['mean']:.2f}" if figure else "–"


def _spread(figure: dict[str, float] | None) -> str:
    return f"{figure['mean']:.2f} ± {figure['sd']:.2f}" if figure else "–"


def _interval(figure: dict[str, float] | None) -> str:
    if figure and "low" not in figure:
        return f"{figure['value']:+.2f} (one seed)"
    return f"{figure['value']:+.2f} ({figure['low']:+.2f} to {figure['high']:+.2f})" if figure else "–"
