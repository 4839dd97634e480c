"""The base of a run whose recipe names a GGUF file: converted once, into the folder of the seed, as a stage like others."""

from __future__ import annotations

import shutil
from pathlib import Path

from selfreward.engines import write_gguf
from selfreward.records import Checkpoint, content_id, file_hash, fingerprint, sync_files, sync_folder
from selfreward.rundir.folder import Stage
from selfreward.rundir.layout import BASE, M0, SEED
from selfreward.rundir.stages import Runner


def convert_base(run: Runner, gguf: Path) -> Checkpoint:
    """M0, the model in `gguf`. Raises `SelfRewardError` where that cannot be converted, or is another than before."""
    stage = run.dir.stage(SEED, BASE)
    key = content_id("gguf", file_hash(gguf))
    receipt = stage.finished(key)
    if receipt is None:
        if stage.begun(key) is None:
            stage.begin(key)
        if not stage.model.exists():  # else killed between the rename and the receipt: it is whole
            run.progress.say(f"{gguf} is converted, once, into {stage.model}")
            with run.progress.meanwhile("M0: converting its weights"):
                _convert(gguf, stage)
        receipt = {"fingerprint": fingerprint(stage.model)}
        stage.finish(key, sorted(stage.model.iterdir()), **receipt)
    return Checkpoint(name=M0, path=stage.model, fingerprint=receipt["fingerprint"])


def _convert(gguf: Path, stage: Stage) -> None:
    shutil.rmtree(stage.work, ignore_errors=True)
    stage.work.mkdir()
    write_gguf(gguf, stage.work)
    sync_files(stage.work)
    stage.work.rename(stage.model)
    sync_folder(stage.folder)
