"""The records of a run as a Hugging Face dataset that `datasets.load_dataset` reads as it is: parquet files and a card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from selfreward.errors import SelfRewardError
from selfreward.records import (
    Compared,
    Dropped,
    Example,
    Judgment,
    Pair,
    Preference,
    Prompt,
    Proposal,
    Ranking,
    Reading,
    Record,
    Response,
    Verdict,
    made_beside,
    preference_texts,
    read_jsonl,
    write_whole,
)
from selfreward.reports.card import CARD, judge_of
from selfreward.reports.render import render_card
from selfreward.rundir import RunView, open_run

MADE: dict[str, type[Record]] = {
    "pairs": Pair,
    "prompts": Prompt,
    "responses": Response,
    "judgments": Judgment,
    "proposed": Proposal,
    "ift": Example,
    "eft": Example,
    "eft_judgments": Judgment,
    "rankings": Ranking,
    "validation": Prompt,
    "selection": Compared,
    "selection_responses": Response,
    "selection_preferences": Preference,
    "dropped": Dropped,
}
"""What models were made of, and what was left out: the split `train`."""
MEASURED: dict[str, type[Record]] = {
    "heldout_prompts": Prompt,
    "heldout_rankings": Ranking,
    "heldout_responses": Response,
    "heldout_judgments": Judgment,
    "heldout_preferences": Preference,
    "ranking_judgments": Judgment,
    "truth": Verdict,
    "drift": Reading,
}
"""What models were measured and watched on and by: the split `test`. Anchors stay hidden."""
KINDS = (*MADE, *MEASURED)


class Table(NamedTuple):
    """The records of one kind in a dataset."""

    kind: str
    split: Literal["train", "test"]
    rows: int
    columns: tuple[str, ...]

    @property
    def file(self) -> str:
        """Where in the dataset's folder they are."""
        return f"{self.kind}/{self.split}.parquet"


def export_run(run: Path, to: Path, kinds: Sequence[str] = KINDS) -> list[Table]:
    """Write the finished records of `run` that `kinds` names as the folder `to`, each kind a configuration of one dataset.

    Every row has a column `iteration`: the folder of the run that the record is from, "M2" where it helped to make M2 or
    measures it. Pairs hold their texts, as conversations that TRL trains on. Raises `SelfRewardError` where a kind is
    unknown, no record is there yet, one was changed, or `to` is not empty.
    """
    if unknown := sorted(set(kinds) - set(KINDS)):
        raise SelfRewardError(f"no records are called {unknown[0]}", "--what", f"Choose among {', '.join(KINDS)}")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise SelfRewardError("is not empty", str(to), "Delete it, or name another folder with --to")
    standing = open_run(run)
    to.parent.mkdir(parents=True, exist_ok=True)
    with made_beside(to) as made:
        tables = [table for kind in KINDS if kind in kinds if (table := _write(kind, _rows(standing, kind), made))]
        if not tables:
            raise SelfRewardError(f"has no finished records yet of {', '.join(kinds)}", str(run), "Let the run get further")
        write_whole(made / CARD, _dataset_card(standing, tables))
    return tables


def _rows(standing: RunView, kind: str) -> Iterator[dict[str, Any]]:
    """Every finished record of a kind, folder by folder."""
    for name in ("seed", *(model.name for model in standing.models)):
        folder = standing.folder / name
        records = _conversations(folder) if kind == "pairs" else _plain(folder, kind)
        yield from ({**row, "iteration": name} for row in records)


def _plain(folder: Path, kind: str) -> Iterator[dict[str, Any]]:
    patterns = {
        "dropped": "*.dropped.jsonl",
        "judgments": f"{kind}*.jsonl",
        "selection_responses": f"{kind}_*.jsonl",
        "selection_preferences": f"{kind}_*.jsonl",
    }
    files = [
        file for file in sorted(folder.glob(patterns.get(kind, f"{kind}.jsonl"))) if kind == "dropped" or "." not in file.stem
    ]
    for file in files:
        if (folder / f"{file.name.split('.')[0]}.receipt.json").exists():
            yield from (record.model_dump(mode="json") for record in read_jsonl(file, (MADE | MEASURED)[kind]))


def _conversations(folder: Path) -> Iterator[dict[str, Any]]:
    """The pairs in a folder, as TRL wants preferences with an explicit prompt."""
    if not (folder / "pairs.receipt.json").exists():
        return
    pairs, prompts = read_jsonl(folder / "pairs.jsonl", Pair), read_jsonl(folder / "prompts.jsonl", Prompt)
    texts = preference_texts(pairs, prompts, read_jsonl(folder / "responses.jsonl", Response))
    for pair, (prompt, chosen, rejected) in zip(pairs, texts, strict=True):
        yield {
            "prompt": [{"role": "user", "content": prompt}],
            "chosen": [{"role": "assistant", "content": chosen}],
            "rejected": [{"role": "assistant", "content": rejected}],
            "score_chosen": pair.chosen_score,
            "score_rejected": pair.rejected_score,
            **pair.model_dump(include={"id", "prompt_id", "chosen_id", "rejected_id"}),
        }


def _write(kind: str, rows: Iterator[Mapping[str, Any]], to: Path) -> Table | None:
    """One kind's parquet file; None where there is no record of it."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    if not (found := list(rows)):
        return None
    dataset = Dataset.from_list(found)
    table = Table(kind, "train" if kind in MADE else "test", len(found), tuple(dataset.column_names))
    (to / kind).mkdir(parents=True, exist_ok=True)
    dataset.to_parquet(to / table.file)
    return table


def _dataset_card(standing: RunView, tables: Sequence[Table]) -> str:
    recipe = standing.recipe
    finished = [model.name for model in standing.measured]
    return render_card(
        "dataset_card.md", tables=tables, recipe=recipe, judge=judge_of(recipe), models=", ".join(finished) or "none"
    )
