"""Costs of an arm, stage by stage: seconds of the clock and of the processor, tokens computed, memory."""

from __future__ import annotations

import resource
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import torch

STAGES = ("candidates", "judging", "dpo")


class Enough(Exception):
    """The stages that were asked for are over."""


class Ledger:
    """Time and tokens by stage. Stages may lie inside each other: the inner one's time is not the outer one's."""

    def __init__(self, device: str, told: Path | None = None, last: str = STAGES[-1]) -> None:
        """`told`: a file that holds the name of the stage that is open. `last`: the stage after which no other one is opened."""
        self._told, self._over = told, STAGES[STAGES.index(last) + 1 :]
        self._cuda = device.startswith("cuda")
        self._open: list[str] = []
        self._since = self._now()
        self.wall: dict[str, float] = defaultdict(float)
        self.cpu: dict[str, float] = defaultdict(float)
        self.tokens: Counter[str] = Counter()
        self.sampled: Counter[str] = Counter()
        self.inside: dict[str, float] = defaultdict(float)
        self.device_peak: dict[str, int] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Book what is spent in this block to `name`. Raises `Enough` where only stages before it were asked for."""
        if name in self._over:
            raise Enough
        self._book()
        self._open.append(name)
        if self._told:
            self._told.write_text(name)
        try:
            yield
        finally:
            self._book()
            self._open.pop()

    def count(self, model: Any) -> None:
        """Count from now on the tokens that `model` computes: `stage prefill` many in a row, `stage decode` one by one."""

        def read(_: Any, given: tuple[torch.Tensor, ...]) -> None:
            kind = "decode" if given[0].shape[-1] == 1 else "prefill"
            self.tokens[f"{self._open[-1]} {kind}" if self._open else kind] += given[0].numel()

        model.get_input_embeddings().register_forward_pre_hook(read)

    def add_sampled(self, tokens: int) -> None:
        """Count tokens as sampled in the stage that is open."""
        self.sampled[self._open[-1]] += tokens

    def book(self, part: Any, call: str, stage: str) -> None:
        """Have what somebody else's `part` spends in `call` booked to `stage`."""
        real = getattr(part, call)

        def booked(*given: Any, **named: Any) -> Any:
            with self.stage(stage):
                return real(*given, **named)

        setattr(part, call, booked)

    def time_inside(self, part: Any, *calls: str) -> Any:
        """Have the seconds that each stage spends in these `calls` to `part`, an engine or a trainer, added up; returns it."""
        for name in calls:
            setattr(part, name, self.timed(getattr(part, name)))
        return part

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, its seconds added to those inside."""

        @wraps(call)
        def timed(*given: Any, **named: Any) -> Any:
            since = self._now()[0]
            came = call(*given, **named)
            came = list(came) if isinstance(came, Iterator) else came
            self.inside[self._open[-1]] += self._now()[0] - since
            return came

        return timed

    def _now(self) -> tuple[float, float]:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()

    def _book(self) -> None:
        now = self._now()
        if self._open:
            name = self._open[-1]
            self.wall[name] += now[0] - self._since[0]
            self.cpu[name] += now[1] - self._since[1]
            if self._cuda:
                self.device_peak[name] = max(self.device_peak.get(name, 0), torch.cuda.max_memory_allocated())
                torch.cuda.reset_peak_memory_stats()
        self._since = now

    def found(self) -> dict[str, Any]:
        """All of it, as JSON values."""
        return {
            "wall": dict(self.wall), "cpu": dict(self.cpu), "inside": dict(self.inside), "tokens": dict(self.tokens),
            "sampled": dict(self.sampled), "device_peak": self.device_peak, "peak": peak_memory(),
        }  # fmt: skip


def peak_memory() -> int:
    """The most bytes that this process ever held in memory."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage tells a child its parent's peak
        return next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
