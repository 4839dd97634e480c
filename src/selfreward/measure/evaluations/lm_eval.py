"""Tasks of EleutherAI's evaluation harness by its own library: what a model knows, and may lose (paper, table 3)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from selfreward.errors import SelfRewardError, pip_install
from selfreward.measure.evaluations.base import Settings, Trial
from selfreward.recipe import Located
from selfreward.records import Figure, Findings, content_id, file_hash, readable, write_whole

PAPER = ("arc_easy", "arc_challenge", "hellaswag", "social_iqa", "piqa", "gsm8k", "mmlu", "openbookqa", "nq_open")
"""The paper's nine, as the library calls them."""
WRITTEN = ("results", "group_subtasks", "n-samples", "n-shot", "versions", "task_hashes")
"""Parts of the library's results that are kept."""
SIDE = 1.96
"""Standard errors on either side of a figure."""


class Harness(Settings):
    """Tasks of `lm-eval`."""

    tasks: tuple[str, ...] = PAPER
    """Tasks or groups, as the library calls them."""
    include_path: Located | None = None
    """A folder with tasks of your own (YAML)."""
    few_shot: int | None = Field(None, ge=0)
    """Examples shown; by default each task's own number."""
    limit: int | None = Field(None, ge=1)
    """Only the first N items of each task, to try it out."""
    batch_size: int = Field(8, ge=1)
    """Items in a forward pass."""
    chat_template: bool = False
    """Put the items into the model's chat template."""

    @field_validator("tasks", mode="before")
    @classmethod
    def _with_commas(cls, tasks: Any) -> Any:
        return tuple(task.strip() for task in tasks.split(",")) if isinstance(tasks, str) else tasks

    def load(self) -> object:
        """Import the library. Raises `SelfRewardError` where it is not installed."""
        try:
            import lm_eval
        except ImportError as error:
            now = f"Install it: {pip_install('eval')}"
            raise SelfRewardError(f"needs the library lm-eval ({error})", "lm-eval", now) from error
        return lm_eval

    def find(self, trial: Trial) -> Findings:
        """Run the tasks; answers given before a kill are not asked for again."""
        if not trial.model.path.is_dir():
            raise SelfRewardError("is no folder, and lm-eval loads a model itself", trial.model.name, "Give a transformers model")
        stage = trial.at.run.dir.stage(trial.at.name, "lm_eval")
        settings = self.model_dump(mode="json", exclude={"include_path", "batch_size", "bootstrap", "servers"})
        key = content_id(settings, self._own_tasks(), trial.model.fingerprint, version("lm_eval"))
        results = stage.folder / "results.json"
        if stage.finished(key) is None:
            if stage.begun(key) is None:
                stage.begin(key)
            with trial.at.run.progress.meanwhile(f"lm-eval: {', '.join(self.tasks)}"):
                write_whole(results, json.dumps(self._run(trial.model.path, stage.work), indent=1, default=str))
            stage.finish(key, [results])
        results_json = json.loads(readable(results).read_text(encoding="utf-8"))
        return Findings(
            prompts_digest=content_id(results_json["task_hashes"] or results_json["versions"]),
            figures=list(_figures(results_json, self.tasks)),
            note=f"lm-eval {version('lm_eval')}, zero to one as the library gives them; comparable with figures by the same "
            "version, few-shot number and chat template" + (", and of whole tasks: this is a part." if self.limit else "."),
        )

    def _own_tasks(self) -> dict[str, str]:
        """Name → hash of every file under `include_path`."""
        paths = sorted(Path(self.include_path).rglob("*")) if self.include_path else []
        return {file.name: file_hash(file) for file in paths if file.is_file()}

    def _run(self, model: Path, cache: Path) -> dict[str, Any]:
        from lm_eval import simple_evaluate

        cache.mkdir(exist_ok=True)
        device, dtype = self._arithmetic()
        seeds = dict.fromkeys(("random_seed", "numpy_random_seed", "torch_random_seed", "fewshot_random_seed"), self.seed)
        try:
            evaluation = simple_evaluate(
                model="hf", model_args={"pretrained": str(model), "dtype": dtype, "trust_remote_code": False}, device=device,
                tasks=list(self.tasks), task_manager=self._manager(), num_fewshot=self.few_shot, limit=self.limit,
                batch_size=self.batch_size, apply_chat_template=self.chat_template, log_samples=False,
                use_cache=str(cache / "answers"), **seeds,
            )  # fmt: skip
        except (ConnectionError, OSError, ValueError) as error:
            raise self._refused(" ".join(str(error).split()) or type(error).__name__) from error
        return {name: evaluation.get(name) for name in WRITTEN}

    def _arithmetic(self) -> tuple[str, str]:
        """Device and dtype, with `auto` resolved as by the backend."""
        from torch import cuda

        device = self.backend.device if self.backend.device != "auto" else "cuda" if cuda.is_available() else "cpu"
        usual = "float32" if device == "cpu" else "bfloat16"
        return device, usual if self.backend.dtype == "auto" else self.backend.dtype

    def _manager(self) -> Any:
        """The library's index of tasks, half a minute's work; of `include_path` alone where that has every task that is named."""
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
        now = "Name tasks that `lm-eval ls tasks` lists or that are in include_path, on a machine that can reach their data"
        return SelfRewardError(f"cannot be run ({why})", f"tasks {', '.join(self.tasks)}", now)


def _figures(results: dict[str, Any], tasks: tuple[str, ...]) -> Iterator[Figure]:
    """Each metric of the named tasks, with an interval from the library's standard error."""
    for task in (task for task in tasks if task in results["results"]):
        metrics = results["results"][task]
        items = _items(results, task)
        for key, value in metrics.items():
            name, _, filtered = key.partition(",")
            if not isinstance(value, int | float) or not filtered or name.endswith("_stderr"):
                continue
            error = metrics.get(f"{name}_stderr,{filtered}")
            side = SIDE * error if isinstance(error, float) else None
            low, high = (None, None) if side is None else (value - side, value + side)
            metric = name if filtered == "none" else f"{name} ({filtered})"
            yield Figure(name=f"{task} {metric}", value=value, low=low, high=high, n=items)


def _items(results: dict[str, Any], task: str) -> int:
    """The number of items of a task; for a group, of all its tasks."""
    if task in results["n-samples"]:
        return int(results["n-samples"][task]["effective"])
    return sum(_items(results, part) for part in (results.get("group_subtasks") or {}).get(task, ()))
