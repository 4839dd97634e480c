"""The finished records of one folder of a run, checked against their receipts before they are read."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

from selfreward.errors import SelfRewardError
from selfreward.records import (
    CHANGED,
    Dropped,
    Judgment,
    Measured,
    Pair,
    Prompt,
    Records,
    Response,
    content_id,
    differing,
    fingerprint,
    read_record,
    read_signed,
    settings_of,
)  # fmt: skip
from selfreward.rundir.layout import JUDGMENTS, MEASURED, MEASUREMENT, MODEL, PAIRS, PROMPTS, RESPONSES, SEED, Part, R

ADDED = "was added since the model was written, and libraries would read it"


class FolderReader:
    """The finished parts of one folder of a run. A file is hashed once, when its first record is read.

    `under_way`: a process works in the run and may be making again what later models were made from.
    """

    def __init__(self, path: Path, under_way: bool = False) -> None:
        self.path, self.name, self.under_way = path, path.name, under_way
        self._whole: dict[str, dict[str, Any]] = {}
        self._complete = False
        self.restore = f"Run the same command as before on {path.parent}: it names what to restore or delete"
        """The way out, where a file here is not as it was written."""

    def receipt(self, stage: str) -> dict[str, Any] | None:
        """The facts in the receipt of a stage; None for an unfinished one. Raises `SelfRewardError` if it was changed."""
        file = self.path / f"{stage}.receipt.json"
        if not file.exists():
            return None
        try:
            facts = read_signed(file)
        except (OSError, ValueError, RecursionError):
            facts = None
        if facts is None:
            raise SelfRewardError(CHANGED, str(file), self.restore)
        return facts

    def whole(self, stage: str) -> dict[str, Any] | None:
        """Like `receipt`, with the files of the receipt checked. Raises `SelfRewardError` if one was changed."""
        if stage not in self._whole:
            facts = self.receipt(stage)
            if facts is None:
                return None
            if wrong := differing(self.path, facts["files"]):
                raise SelfRewardError(wrong[1], str(wrong[0]), self.restore)
            self._whole[stage] = facts
        return self._whole[stage]

    @cached_property
    def measured(self) -> Measured | None:
        """The measurement of this model; None while it is not measured.

        Raises `SelfRewardError` where it was changed, and where something that it was made from is missing, or another's.
        """
        self.assert_complete()
        file = self.path / MEASURED
        return read_record(file, Measured) if file.exists() else None

    @property
    def signed(self) -> bool:
        """True if a receipt covers the measurement, which older builds did not write."""
        return self.receipt(MEASUREMENT) is not None

    def assert_complete(self) -> None:
        """Raises `SelfRewardError` where a receipt that the measurement names is missing, or another than it was."""
        facts = None if self.under_way or self._complete else self.whole(MEASUREMENT)
        for part, receipt in facts["made_from"].items() if facts else ():
            self._assert_same(part, receipt)
        self._complete = True

    def _assert_same(self, part: str, expected: str | None) -> None:
        """Raises `SelfRewardError` where a part ("M2/pairs") has no receipt, or another than the measurement was made from."""
        folder, stage = part.split("/")
        there = FolderReader(self.path.parent / folder)
        file = there.path / f"{stage}.receipt.json"
        try:
            facts = there.receipt(stage)
        except SelfRewardError:
            if folder == SEED:  # whoever reads that part of the seed tells of it
                return
            raise
        if facts is None:
            where = file if there.path.is_dir() else there.path
            raise SelfRewardError(f"is missing, and {self.name} was measured after it was made", str(where), self.restore)
        if content_id(facts) != expected:
            raise SelfRewardError(f"is another than when {self.name} was measured", str(file), self.restore)

    def stages(self, part: Part[Any] | None = None) -> list[str]:
        """Names of the finished stages in order, all or those that are a round or step of `part`."""
        self.assert_complete()
        receipts = {file.name.removesuffix(".receipt.json") for file in self.path.glob("*.receipt.json")} - {MEASUREMENT}
        return sorted((name for name in receipts if part is None or part.covers(name)), key=lambda name: (len(name), name))

    def records(self, part: Part[R]) -> Records[R]:
        """The records of a part; empty for an unfinished one."""
        counts = [(stage, facts["records"]) for stage in self.stages(part) if (facts := self.whole(stage))]
        return Records([self.path / f"{stage}.jsonl" for stage, _ in counts], part.record, sum(count for _, count in counts))

    def dropped(self, stage: str) -> Records[Dropped]:
        """The records that a finished stage ("pairs") left out, each with its reason."""
        facts, file = self.whole(stage), self.path / f"{stage}.dropped.jsonl"
        count = sum(facts.get("dropped", {}).values()) if facts else 0
        return Records([file] if count and file.exists() else [], Dropped, count)

    def prompts(self) -> Records[Prompt]:
        """The prompts of an iteration."""
        return self.records(PROMPTS)

    def responses(self) -> Records[Response]:
        """The candidates of an iteration."""
        return self.records(RESPONSES)

    def judgments(self) -> Records[Judgment]:
        """The judgments of the candidates, round after round."""
        return self.records(JUDGMENTS)

    def pairs(self) -> Records[Pair]:
        """The preference pairs of an iteration."""
        return self.records(PAIRS)

    @property
    def weights(self) -> Path:
        """The folder of the model that was trained here, as transformers loads it."""
        return self.path / MODEL.name

    def check_weights(self) -> None:
        """Raises `SelfRewardError` where the trained model differs from its receipt."""
        facts = self.receipt(MODEL.name)
        if facts is None:
            return
        if signed := self.whole(MEASUREMENT):
            part = f"{self.name}/{MODEL.name}"
            self._assert_same(part, signed["made_from"].get(part))
        if not self.weights.is_dir():
            raise SelfRewardError("is missing", str(self.weights), self.restore)
        self.whole(MODEL.name)
        known = {file.removeprefix(f"{MODEL.name}/") for file in facts["files"]}
        added = sorted(settings_of(self.weights).keys() - known)
        if added or fingerprint(self.weights) != facts["fingerprint"]:
            raise SelfRewardError(
                ADDED if added else CHANGED, str(self.weights / added[0] if added else self.weights), self.restore
            )


def check_model(folder: Path) -> None:
    """Raises `SelfRewardError` where `folder` is a model of a run, RUN/M3 or RUN/M3/model, and not as it was written."""
    real = folder.resolve()  # by whatever link, or as `.`
    reader = FolderReader(real.parent if real.name == MODEL.name else real)
    begun = (reader.path / f"{MODEL.name}.plan.json").exists() or any(reader.path.glob("*.receipt.json"))
    if reader.receipt(MODEL.name):
        reader.check_weights()
    elif begun and reader.weights.is_dir():
        raise SelfRewardError("has no receipt, so nothing says that it is whole", str(reader.weights), reader.restore)
