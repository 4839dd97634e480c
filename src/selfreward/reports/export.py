"""The records of a run as a Hugging Face dataset that `datasets.load_dataset` reads as it is: parquet files and a card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from selfreward.errors import SelfRewardError
from selfreward.records import Pair, even, in_pairs, made_beside, preference_texts, turns_of, write_whole
from selfreward.reports.card import CARD, judge_of
from selfreward.reports.render import render_card
from selfreward.rundir import PAIRS, PARTS, FolderReader, RunView, open_run

EXPORTED = {part.name: part for part in PARTS if part.use != "hidden" and part.form != "trains"}
"""Parts of a run by name, anchors and what monitors asked apart: those stay hidden."""
DROPPED = "dropped"
"""Records that any stage left out, with the reasons."""
KINDS = ("pairs", *(name for name in EXPORTED if name != "pairs"), DROPPED)


class ExportedTable(NamedTuple):
    """The records of one kind in a dataset."""

    kind: str
    split: str
    """`train` for records that models were made from, `test` for those that models were measured on or by."""
    rows: int
    columns: tuple[str, ...]

    @property
    def file(self) -> str:
        """Its path in the dataset's folder."""
        return f"{self.kind}/{self.split}.parquet"


def export_run(run: Path, to: Path, kinds: Sequence[str] = KINDS) -> list[ExportedTable]:
    """Write the finished records of `run` that `kinds` names into the folder `to`, each kind a configuration of one dataset.

    Every row has a column `iteration`: the folder of the run with the record, "M2" for records that helped to make M2 or measure
    it. Pairs hold their texts, as conversations that TRL trains on. Raises `SelfRewardError` where a kind is unknown, no record
    exists yet, one was changed, or `to` is not empty.
    """
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise SelfRewardError(f"there are no records named {unknown[0]}", "--what", f"Choose among {', '.join(KINDS)}")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise SelfRewardError("is not empty", str(to), "Delete it, or name another folder with --to")
    standing = open_run(run)
    with made_beside(to) as folder:
        tables = [table for kind in KINDS if kind in kinds if (table := _write(kind, _rows(standing, kind), folder))]
        if not tables:
            raise SelfRewardError(f"has no finished records yet of {', '.join(kinds)}", str(run), "Wait until the run is further")
        write_whole(folder / CARD, _dataset_card(standing, tables))
    return tables


def _rows(run: RunView, kind: str) -> Iterator[dict[str, Any]]:
    """Every finished record of a kind, folder by folder."""
    for folder in (run.seed, *run.models.values()):
        rows: Iterator[dict[str, Any]]
        if kind == DROPPED:
            rows = chain.from_iterable(folder.dropped(stage).rows() for stage in folder.stages())
        else:
            rows = _conversations(folder, run) if kind == PAIRS.name else folder.records(EXPORTED[kind]).rows()
        yield from ({**row, "iteration": folder.name} for row in rows)


def _conversations(folder: FolderReader, run: RunView) -> Iterator[dict[str, Any]]:
    """The pairs in a folder, in TRL's format of preferences with an explicit prompt, which is as the model was asked."""
    if not (pairs := list(folder.pairs())):
        return
    frame = run.recipe_of(folder.name).responses.frame
    texts = preference_texts(pairs, folder.prompts(), folder.responses())
    weighed = any(pair.weight != 1 for pair in pairs)
    thoughts = {one.id: one.thought for one in folder.responses().about("id", in_pairs(pairs)) if one.thought is not None}
    for pair, (prompt, chosen, rejected) in zip(pairs, texts, strict=True):
        yield {
            "prompt": [turn.model_dump() for turn in turns_of(frame(prompt))],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
            "score_chosen": pair.chosen_score,
            "score_rejected": pair.rejected_score,
            **_thoughts(thoughts, pair),
            **pair.model_dump(include={"id", "prompt_id", "chosen_id", "rejected_id"}),
            **({"weight": pair.weight} if weighed else {}),
        }


def _thoughts(thoughts: Mapping[str, str], pair: Pair) -> dict[str, str]:
    """The thoughts before the two answers, apart from them; no columns where the model was not to think."""
    sides = {"chosen_thought": pair.chosen_id, "rejected_thought": pair.rejected_id}
    return {side: thoughts[name] for side, name in sides.items() if name in thoughts}


def _write(kind: str, rows: Iterator[Mapping[str, Any]], to: Path) -> ExportedTable | None:
    """One kind's parquet file; None where there are no records of it."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    if not (records := even(rows)):
        return None
    dataset = Dataset.from_list(records)
    table = ExportedTable(kind, EXPORTED[kind].use if kind != DROPPED else "train", len(records), tuple(dataset.column_names))
    (to / kind).mkdir(parents=True, exist_ok=True)
    dataset.to_parquet(to / table.file)
    return table


def _dataset_card(standing: RunView, tables: Sequence[ExportedTable]) -> str:
    recipe = standing.recipe
    finished = [model.name for model in standing.measured]
    return render_card(
        "dataset_card.md", tables=tables, recipe=recipe, judge=judge_of(recipe), models=", ".join(finished) or "none"
    )
