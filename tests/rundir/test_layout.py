"""What a run consists of: everything that a whole run leaves is in the layout, and everything in the layout is left."""

import pytest

from selfreward.checks.planning import MAKING
from selfreward.engines.fake import FakeModel
from selfreward.records import Anchor, Prompt, Ranking, iter_jsonl, to_line
from selfreward.reports import export_run
from selfreward.rundir import (
    JUDGMENTS,
    JUDGMENTS_BEFORE,
    PARTS,
    SELECTION_RESPONSES,
    expected,
    open_run,
    part_of,
)  # fmt: skip
from selfreward.rundir.layout import BESIDE, FILES, MEASURED, MEASUREMENT
from tinyrun import go, make_world, quiet


def outsider():
    """A judge from outside the loop, which prefers the second answer."""
    return FakeModel(lambda request: ("Verdict: second", "stop"))


EVERYTHING = {
    "iterations": 2, "sft__baseline": True, "responses__n": 4, "prompts__per_iteration": 12, "judge__samples": "adaptive",
    "judge__by": "current", "dpo__confidence": "consistency", "measure__judge": "test_layout:outsider",
    "select": {"judge": "test_layout:elsewhere", "prompts": "validation.jsonl", "every": 2}, "drift__sample": 2,
    "drift__pool": 2, "drift__anchors": "anchors.jsonl",
    "eft__tries": 4,
}  # fmt: skip


def elsewhere():
    """Another one: who measures must not choose."""
    return outsider()


WIDE = {"responses__n": 4, "prompts__per_iteration": 12}
OTHERWISE = [
    {"sft__baseline": True, "eft__by": "self"},
    {"sft__baseline": True, "iterations": 2, "pairs": {"rejected_from": "M1", "chosen_from": "ahead"}, **WIDE},
    {"sft__baseline": True, "judge__method": "votes", "judge__majority": 0, "judge__answer": r"^(\w+)", **WIDE},
    {"sft__baseline": True, "iterations": 3, "judge__method": "cream", "dpo__confidence": "consistency", **WIDE},
    {"sft__baseline": True, "judge__method": "pairwise", "judge_pairs": {"by": "none", "replay": 1}, **WIDE},
    {"sft__baseline": True, "judge_pairs": {"by": "meta", "samples": 4, "share": 0.5, "commonest": 1}, **WIDE},
    {"sft__baseline": True, "iterations": 4, "dpo__optimizer": "carried", "dpo__schedule": "run", "measure__every": 3, **WIDE},
    {"sft__baseline": True, "judge__checks": "score", **WIDE},
]
"""Fields that do not go with all others."""


@pytest.fixture(
    scope="module",
    params=[EVERYTHING, *OTHERWISE],
    ids=["everything", "made", "temporal", "votes", "likely", "compared", "meta", "small", "checked"],
)
def run(request, tmp_path_factory):
    """A whole run with everything on, and others with what does not go with it."""
    return make_run(tmp_path_factory.mktemp("layout"), request.param)


def make_run(folder, changes):
    recipe = make_world(folder)
    given = "" if "eft__by" in changes else 'rankings = "ranked.jsonl"'
    recipe.write_text(recipe.read_text().replace('eft = "eft.jsonl"', given))
    files = {
        "anchors": [Anchor(prompt=f"sort birch and amber {n}", answers=("amber birch",)) for n in range(2)],
        "validation": [Prompt(text=f"name the willow number {n}", source="seed") for n in range(2)],
        "ranked": [Ranking(prompt=f"list rowan {n}", responses=("rowan", "a rowan"), ranks=(0, 1)) for n in range(16)],
    }
    for name, records in files.items():
        (folder / f"{name}.jsonl").write_text("".join(to_line(record) + "\n" for record in records))
    with pytest.MonkeyPatch.context() as patch:
        quiet(patch)
        go(recipe, folder / "run", **changes)
    return folder / "run"


def left(run):
    """(folder, stage) of every receipt of a run but those over measurements."""
    receipts = [receipt for receipt in run.glob("*/*.receipt.json") if receipt.name != f"{MEASUREMENT}.receipt.json"]
    return {(receipt.parent.name, receipt.name.removesuffix(".receipt.json")) for receipt in receipts}


def test_every_stage_that_a_run_leaves_is_in_the_layout_and_the_other_way_round(run):
    planned = expected(open_run(run).recipe)
    once = {(folder, part.name) for folder, part in planned if not part.several or part is JUDGMENTS}
    several = {(folder, part) for folder, part in planned if part.several and part is not JUDGMENTS}
    steps = {(folder, stage) for folder, stage in left(run) if any(f == folder and p.covers(stage) for f, p in several)}
    assert left(run) - steps == once and {(folder, part_of(stage)) for folder, stage in steps} == several


def test_every_file_of_a_run_belongs_to_a_part_or_is_named_in_the_layout(run):
    stages = left(run)
    for path in run.rglob("*"):
        top, *rest = path.relative_to(run).parts
        if path.is_dir() or top in BESIDE or (not rest and top in FILES) or rest in ([MEASURED], [f"{MEASUREMENT}.receipt.json"]):
            continue
        assert (top, rest[0].split(".")[0]) in stages, path


def test_all_records_are_of_the_type_that_the_layout_gives_them(run):
    for folder, stage in left(run):
        part = part_of(stage)
        if part.form != "trains":
            for record in iter_jsonl(run / folder / f"{stage}.jsonl", part.record):
                assert isinstance(record, part.record)


def test_with_everything_on_no_part_is_missing(tmp_path):
    runs = [make_run(tmp_path / str(n), changes) for n, changes in enumerate((EVERYTHING, *OTHERWISE))]
    made = {part_of(stage).name for run in runs for _, stage in left(run)}
    assert {part.name for part in PARTS} - made == set()


def test_another_judges_judgments_are_never_exported_as_those_that_chose(tmp_path):
    run = make_run(tmp_path / "made", EVERYTHING)
    export_run(run, tmp_path / "all")
    folder = open_run(run)["M3"]
    assert len(folder.records(JUDGMENTS_BEFORE)) > 0
    chose = {judgment.judge for judgment in folder.judgments()}
    before = {judgment.judge for judgment in folder.records(JUDGMENTS_BEFORE)}
    assert chose and before and not chose & before
    assert (tmp_path / "all" / "judgments_before").is_dir()


def test_the_bill_has_a_line_for_every_part_that_asks_or_trains():
    asks = {part for part in PARTS if part.form != "decides"}
    assert asks == set(MAKING)


def test_the_number_of_a_round_is_part_of_a_name_only_where_there_are_several():
    assert part_of("judgments_2") is JUDGMENTS and part_of("selection_responses_400") is SELECTION_RESPONSES
    assert part_of("judgments_before") is JUDGMENTS_BEFORE
    for stranger in ("judgments_two", "pairs_2", "annotations"):
        with pytest.raises(KeyError):
            part_of(stranger)
