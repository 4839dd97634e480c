"""Each arm in a process of its own, so that none warms the caches or fills the memory of another."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import asdict, replace
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from selfreward.errors import first_line, pip_install
from selfreward.lab.speed.earlier import is_there, measured_there
from selfreward.lab.speed.work import Work

T = TypeVar("T")
PULSE = 10.0
"""Seconds between two signs of life of an arm."""
WARM: dict[str, Any] = {"candidate_tokens": 4, "judgment_tokens": 4, "rubric_head": 32}
"""Work that an arm does once before it is measured: libraries load half of themselves at their first use."""


class Arm(NamedTuple):
    """One way to do the work."""

    title: str
    call: str
    """`module:function` in this package, (work, ledger, folder, train)."""
    n: int | None = None
    """Candidates for each prompt, where the arm knows one number only."""
    needs: tuple[str, ...] = ()
    """Packages without which it cannot run at all."""
    install: str = ""


ARMS = {
    "a": Arm("selfreward", "ours:selfreward"),
    "b": Arm("generate(num_return_sequences=…) in batches, TRL DPO", "baseline:batched"),
    "c": Arm("one generate() for each sample, TRL DPO", "baseline:one_by_one"),
    "d": Arm(
        "self-rewarding-lm-pytorch 0.2.12", "peers:lucidrains", needs=("self_rewarding_lm_pytorch",),
        install=pip_install("bench"),
    ),
    "o": Arm("selfreward, an earlier build", "earlier:arm"),
    "a2": Arm("selfreward, N = 2", "ours:selfreward", 2),
    "e": Arm("TRL OnlineDPO, N = 2", "peers:online_dpo", 2, ("trl", "datasets"), "pip install trl datasets"),
}  # fmt: skip


def missing(arm: str, work: Work) -> str:
    """The reason why an arm cannot do this work, and the package to install; empty where it can."""
    told = f"({arm}) {ARMS[arm].title} is left out:"
    lacking = [name for name in ARMS[arm].needs if find_spec(name) is None]
    if lacking:
        return f"{told} there is no {lacking[0]}. {ARMS[arm].install}"
    if arm == "o" and not is_there(work.earlier):
        return f"{told} no folder of its sources was given. --set earlier=FOLDER/src"
    if ARMS[arm].call.startswith("peers:") and (work.lora or not work.dpo or not work.judging):
        return f"{told} it trains, and all weights, whatever is asked"
    return ""


def can_train() -> bool:
    """True if DPO can be measured here."""
    return all(find_spec(name) is not None for name in ("trl", "datasets"))


def measured(arm: str, work: Work, say: Callable[[str], object]) -> dict[str, Any]:
    """Costs of `arm` on `work`, in a fresh process; `died` makes the result of one that did not live to tell.

    `say` hears every `PULSE` seconds of which stage the arm is in.
    """
    work = replace(work, n=ARMS[arm].n or work.n)
    with tempfile.TemporaryDirectory() as folder:
        stage = Path(folder) / "stage"

        def tell(seconds: float) -> None:
            say(f"({arm}) {(stage.exists() and stage.read_text()) or 'getting ready'}, {seconds:.0f} s")

        try:
            if arm == "o":
                there = {**asdict(work), "model": str(work.model), "last": work.last}
                return apart(measured_there, Path(work.earlier), "arm", there, pulse=tell)
            return apart(_spend, ARMS[arm].call, work, stage, pulse=tell)
        except BrokenProcessPool as error:
            return {"died": f"its process was ended from outside, for lack of memory perhaps ({first_line(error)})"}
        except Exception as error:  # other people's code raises what it likes, and the other arms go on
            return {"died": f"it raised {type(error).__name__}: {first_line(error)}"}


def apart(call: Callable[..., T], *given: Any, pulse: Callable[[float], object] = lambda seconds: None) -> T:
    """`call(*given)` in a fresh process; `pulse` is called with the seconds that it has taken, every `PULSE`."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        since, result = time.perf_counter(), process.submit(call, *given)
        while wait([result], PULSE).not_done:
            pulse(time.perf_counter() - since)
        return result.result()


def hush() -> None:
    """Send what this process and its libraries print from now on to nowhere."""
    with open(os.devnull, "w") as nowhere:
        for stream in (1, 2):
            os.dup2(nowhere.fileno(), stream)


def silently(call: Callable[..., T], *given: Any) -> T:
    """`call(*given)`, in a process that prints nothing from then on."""
    hush()
    return call(*given)


def alive(say: Callable[[str], object], name: str) -> Callable[[float], object]:
    """A function that is called with the seconds that something has taken, and says so."""
    return lambda seconds: say(f"{name}, {seconds:.0f} s")


def _spend(call: str, work: Work, stage: Path) -> dict[str, Any]:
    from selfreward.engines import quiet_libraries
    from selfreward.lab.speed.ledger import Enough, Ledger

    quiet_libraries()
    module, name = call.split(":")
    arm = getattr(import_module(f"selfreward.lab.speed.{module}"), name)
    hush()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # some write beside themselves
        for at, part in enumerate((replace(work, prompts=min(work.batch, work.prompts), **WARM), work)):
            ledger, place = Ledger(work.device, stage, work.last), Path(folder) / str(at)
            place.mkdir()
            with suppress(Enough):
                arm(part, ledger, place, work.dpo)
    return ledger.found()
