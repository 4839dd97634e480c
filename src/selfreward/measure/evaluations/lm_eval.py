"""Tasks of EleutherAI's evaluation harness by its own library: what a model knows, and may lose (paper, table 3)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import Field

from selfreward.errors import SelfRewardError, pip_install
from selfreward.measure.evaluations.base import Settings, Trial
from selfreward.recipe import Located
from selfreward.records import Figure, Found, content_id, file_hash, write_whole

PAPER = ("arc_easy", "arc_challenge", "hellaswag", "social_iqa", "piqa", "gsm8k", "mmlu", "openbookqa", "nq_open")
"""The paper's nine, as the library calls them."""
SIDE = 1.96
"""Standard errors on either side of a figure."""


class Harness(Settings):
    """Tasks of `lm-eval`."""

    tasks: tuple[str, ...] = PAPER
    """Tasks or groups, as the library calls them."""
    include_path: Located | None = None
    """A folder with tasks of your own (YAML)."""
    few_shot: int | None = Field(None, ge=0)
    """Examples shown; each task's own number where not given."""
    limit: int | None = Field(None, ge=1)
    """Only the first so many items of each task, to try it out."""
    batch_size: int = Field(8, ge=1)
    """Items in a forward pass."""
    chat_template: bool = False
    """Put the items into the model's chat template."""

    def load(self) -> object:
        """The library, as far as it is there."""
        try:
            import lm_eval
        except ImportError as error:
            now = f"Install it: {pip_install('eval')}"
            raise SelfRewardError(f"needs the library lm-eval ({error})", "--on lm-eval", now) from error
        return lm_eval

    def find(self, trial: Trial) -> Found:
        """Run the tasks; what was answered before a kill is not asked again."""
        if not trial.model.path.is_dir():
            raise SelfRewardError("is no folder, and lm-eval loads a model itself", trial.model.name, "Give a transformers model")
        stage = trial.at.run.dir.stage(trial.at.name, "lm_eval")
        asked = self.model_dump(mode="json", exclude={"include_path", "batch_size", "bootstrap", "servers"})
        key = content_id(asked, self._own_tasks(), trial.model.fingerprint, version("lm_eval"))
        results = stage.folder / "results.json"
        if stage.finished(key) is None:
            if stage.begun(key) is None:
                stage.begin(key)
            write_whole(results, json.dumps(self._run(trial.model.path, stage.work), indent=1, default=str))
            stage.finish(key, [results])
        told = json.loads(results.read_text(encoding="utf-8"))
        return Found(
            prompts_digest=content_id(told["task_hashes"] or told["versions"]),
            figures=list(_figures(told, self.tasks)),
            note=f"lm-eval {version('lm_eval')}, zero to one as the library gives them; comparable with figures by the same "
            "version, few-shot number and chat template" + (", and of whole tasks: this is a part." if self.limit else "."),
        )

    def _own_tasks(self) -> dict[str, str]:
        """Name → hash of every file under `include_path`."""
        found = sorted(Path(self.include_path).rglob("*")) if self.include_path else []
        return {file.name: file_hash(file) for file in found if file.is_file()}

    def _run(self, model: Path, cache: Path) -> dict[str, Any]:
        from lm_eval import simple_evaluate

        cache.mkdir(exist_ok=True)
        device, dtype = self._arithmetic()
        seeds = dict.fromkeys(("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed"), self.seed)
        try:
            found = simple_evaluate(
                model="hf", model_args={"pretrained": str(model), "dtype": dtype, "trust_remote_code": False}, device=device,
                tasks=list(self.tasks), task_manager=self._manager(), num_fewshot=self.few_shot, limit=self.limit,
                batch_size=self.batch_size, apply_chat_template=self.chat_template, log_samples=False,
                use_cache=str(cache / "answers"), **seeds,
            )  # fmt: skip
        except (ConnectionError, OSError, ValueError) as error:
            raise self._refused(" ".join(str(error).split()) or type(error).__name__) from error
        return {name: found.get(name) for name in ("results", "group_subtasks", "n-samples", "n-shot", "versions", "task_hashes")}

    def _arithmetic(self) -> tuple[str, str]:
        """Device and dtype, as the backend's `auto` has them."""
        from torch import cuda

        device = self.backend.device if self.backend.device != "auto" else "cuda" if cuda.is_available() else "cpu"
        usual = "float32" if device == "cpu" else "bfloat16"
        return device, usual if self.backend.dtype == "auto" else self.backend.dtype

    def _manager(self) -> Any:
        """The library's index of tasks, half a minute's work; of `include_path` alone where that has all that is asked for."""
        from lm_eval.tasks import TaskManager

        if self.include_path:
            own = TaskManager(include_path=self.include_path, include_defaults=False)
            if set(self.tasks) <= set(own.all_tasks):
                return own
        manager = TaskManager(include_path=self.include_path)
        if unknown := sorted(set(self.tasks) - set(manager.all_tasks)):
            raise self._refused(f"there is no task {unknown[0]}")
        return manager

    def _refused(self, why: str) -> SelfRewardError:
        now = "Name tasks that `lm-eval ls tasks` lists or that --include-path has, on a machine that can reach their data"
        return SelfRewardError(f"cannot be run ({why})", f"--tasks {','.join(self.tasks)}", now)


def _figures(told: dict[str, Any], tasks: tuple[str, ...]) -> Iterator[Figure]:
    """Each metric of the tasks that were named, with the library's standard error as an interval."""
    for task in (task for task in tasks if task in told["results"]):
        metrics = told["results"][task]
        items = _items(told, task)
        for key, value in metrics.items():
            name, _, filtered = key.partition(",")
            if not isinstance(value, int | float) or not filtered or name.endswith("_stderr"):
                continue
            error = metrics.get(f"{name}_stderr,{filtered}")
            side = SIDE * error if isinstance(error, float) else None
            low, high = (None, None) if side is None else (value - side, value + side)
            shown = name if filtered == "none" else f"{name} ({filtered})"
            yield Figure(name=f"{task} {shown}", value=value, low=low, high=high, n=items)


def _items(told: dict[str, Any], task: str) -> int:
    """Items that a task was run on; of a group, those of all its tasks."""
    if task in told["n-samples"]:
        return int(told["n-samples"][task]["effective"])
    return sum(_items(told, part) for part in (told.get("group_subtasks") or {}).get(task, ()))
