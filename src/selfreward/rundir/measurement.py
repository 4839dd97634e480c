"""A model's measurement on disk: `measured.json`, and the receipt over it and over all that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from selfreward.records import content_id, read_signed, readable, write_whole
from selfreward.rundir.folder import Stage
from selfreward.rundir.layout import MEASURED, MEASUREMENT


def sign(stage: Stage, text: str, before: Mapping[str, str]) -> str:
    """Write `text` as the measurement of a model, and its receipt last; returns the receipt's id. A second pass changes neither.

    `before`: receipt → id of the models that were measured before; one in between that is not measured is covered here. A
    finished measurement that comes out otherwise, by another recipe, or without a receipt, by an older build, is written once
    this attempt's recipe is the run's.
    """
    covered = {name.split("/")[0] for name in before}
    parts = [part for part in stage.run.visited if part.folder.name not in covered and _goes_into(part)]
    made_from = {str(part): content_id(part.load(part.receipt)) for part in parts}
    file, digest = stage.folder / MEASURED, content_id(text)
    hashes = {MEASURED: sha256(text.encode()).hexdigest()}
    facts = {"digest": digest, "files": hashes, "made_from": {**made_from, **before}}

    def write() -> None:
        stage.reopen()
        stage.make_folder()
        write_whole(file, text)
        stage.finish(digest, [file], made_from=facts["made_from"])

    if not file.exists():
        write()
    elif _signed(stage) != facts or readable(file).read_bytes() != text.encode():
        stage.run.once_settled(write)
    return content_id(facts)


def _goes_into(part: Stage) -> bool:
    """True if a part of the run is finished, and is no measurement and nothing that monitors read."""
    return part.name != MEASUREMENT and not part.watching and part.receipt.exists()


def _signed(stage: Stage) -> dict[str, Any] | None:
    """The facts in the receipt of a measurement; None where it is missing or damaged, for it can be made again."""
    try:
        return read_signed(stage.receipt)
    except (OSError, ValueError, RecursionError):
        return None
