"""What a run spends outside its model: `python scripts/overhead.py`.

Runs the micro recipe (`--set` makes it shorter) with the engine's and the trainer's methods timed from outside: what happens
within them is the model's, and what is left is planning, hashing, writing, reading back, measuring and the page. Importing torch
and its like, and loading models, is told apart. Prints one line of JSON.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any

from selfreward import models
from selfreward.commands import change
from selfreward.config import load_recipe
from selfreward.run import execute

MICRO = Path(models.__file__).parent / "recipes" / "micro.toml"


class Clock:
    """Seconds of wall and CPU time by what was going on; what one part calls in another counts for the inner one."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = defaultdict(float)
        self.cpu: dict[str, float] = defaultdict(float)
        self._parts, self._last = ["rest"], (time.perf_counter(), time.process_time())

    def _tick(self) -> None:
        now = time.perf_counter(), time.process_time()
        self.wall[self._parts[-1]] += now[0] - self._last[0]
        self.cpu[self._parts[-1]] += now[1] - self._last[1]
        self._last = now

    def enter(self, part: str) -> None:
        """From now on it is `part`."""
        self._tick()
        self._parts.append(part)

    def leave(self) -> None:
        """Back to what was before."""
        self._tick()
        self._parts.pop()

    def timed(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call` as `part`; where it gives an iterator, every step of that as well."""

        @wraps(call)
        def wrapped(*given: Any, **named: Any) -> Any:
            self.enter(part)
            try:
                made = call(*given, **named)
            finally:
                self.leave()
            return self._stepped(part, made) if isinstance(made, Iterator) else made

        return wrapped

    def _stepped(self, part: str, made: Iterator[Any]) -> Iterator[Any]:
        while True:
            self.enter(part)
            try:
                found = next(made)
            except StopIteration:
                return
            finally:
                self.leave()
            yield found


def time_engines(clock: Clock) -> None:
    """Have `clock` see what the engines that run.py opens do."""
    clock.enter("imports")
    from selfreward.backends.hf import HFModel
    from selfreward.training import TRLTrainer

    models.quiet_libraries()
    clock.leave()
    for owner, name, part in (
        (HFModel, "__init__", "loading"), (HFModel, "prepare", "sampling"), (HFModel, "generate", "sampling"),
        (TRLTrainer, "sft", "training"), (TRLTrainer, "dpo", "training"),
    ):  # fmt: skip
        setattr(owner, name, clock.timed(part, getattr(owner, name)))


def main() -> None:
    """Run, and tell the shares."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="change the recipe")
    parser.add_argument("--profile", type=int, default=0, help="also print so many functions that the rest is spent in")
    given = parser.parse_args()
    recipe, clock, profile = load_recipe(MICRO, dict(map(change, given.set))), Clock(), cProfile.Profile()
    time_engines(clock)
    with tempfile.TemporaryDirectory() as folder:
        clock.enter("rest")
        if given.profile:
            profile.enable()
        execute(recipe, Path(folder) / "run")
        profile.disable()
        clock.leave()
    if given.profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(given.profile)
    work = ("sampling", "training", "rest")
    shares = {
        f"rest_share_of_{name}": spent["rest"] / sum(spent[part] for part in work)
        for name, spent in (("wall", clock.wall), ("cpu", clock.cpu))
    }
    print(json.dumps({"set": given.set, "wall_s": dict(clock.wall), "cpu_s": dict(clock.cpu), **shares}))


if __name__ == "__main__":
    main()
