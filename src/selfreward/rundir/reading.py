"""The finished records of one folder of a run, checked against their receipts before they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from selfreward.errors import SelfRewardError
from selfreward.records import (
    CHANGED,
    Dropped,
    Judgment,
    Pair,
    Prompt,
    Records,
    Response,
    differing,
    fingerprint,
    read_signed,
    settings_of,
)  # fmt: skip
from selfreward.rundir.layout import JUDGMENTS, MODEL, PAIRS, PROMPTS, RESPONSES, Part, R

ADDED = "was added since the model was written, and libraries would read it"


class FolderReader:
    """The finished parts of one folder of a run. A file is hashed once, when its first record is read."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.name
        self._whole: dict[str, dict[str, Any]] = {}
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

    def stages(self, part: Part[Any] | None = None) -> list[str]:
        """Names of the finished stages in order, all or those that are a round or step of `part`."""
        names = [file.name.removesuffix(".receipt.json") for file in self.path.glob("*.receipt.json")]
        return sorted((name for name in names if part is None or part.covers(name)), key=lambda name: (len(name), name))

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
    made = folder.parent if folder.name == MODEL.name else folder
    reader = FolderReader(made)
    if reader.receipt(MODEL.name):
        reader.check_weights()
    elif (made / f"{MODEL.name}.plan.json").exists() and reader.weights.is_dir():
        raise SelfRewardError("has no receipt, so nothing says that it is whole", str(reader.weights), reader.restore)
