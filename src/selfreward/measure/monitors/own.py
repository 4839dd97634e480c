"""A baseline from the run itself, for whom no clean runs have been made: its first models are what later ones are held against.

A difference between two readings has the errors of both: the spread of a figure is half the width of its first interval with half
that of the later one, as independent errors add. With the first alone, one that came out narrow by luck, of a figure over six
prompts, alarmed ever after: of 60 clean runs of the harder world 11, and not the 5 % of the easy one. A
sound loop moves as well, for its models learn. How far clean runs go by this measure is known of the laboratory alone, and so is
the share of false alarms: in another world it is no promise.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib.resources import files

from selfreward.errors import SelfRewardError
from selfreward.measure.monitors.joint import JOINT, first_of
from selfreward.records import Baseline
from selfreward.rundir import RunView

FIRST = ("M1", "M2")
"""The models that later ones are held against: M2 is the first of which the figures of candidates and pairs are known."""
Spreads = Mapping[str, tuple[float, float]]
"""Figure → value and half the width of its 95 % interval, of one model."""
HELD_AGAINST = "M1 and M2 are what later models are held against"


def own_usual(models: Iterable[Spreads]) -> dict[str, tuple[float, float]]:
    """Figure → its first value, and half the width of that interval; figures whose interval has no width are left out."""
    usual: dict[str, tuple[float, float]] = {}
    for figures in models:
        usual = {name: reading for name, reading in figures.items() if reading[1] > 0} | usual
    return usual


def spreads_of(run: RunView) -> dict[str, dict[str, tuple[float, float]]]:
    """Model → figure → value and half width, of all figures that were read with an interval; the joint one is left out."""
    return {
        name: {
            each.monitor: (each.value, half)
            for each in model.watched
            if each.value is not None and (half := each.half) is not None and each.monitor != JOINT
        }
        for name, model in run.models.items()
        if model.watched
    }


def own_baseline(run: RunView) -> Baseline:
    """The baseline of one run, for M3 and later models; its limit is set by the laboratory's clean runs.

    Raises `SelfRewardError` where M1 and M2 have not been watched, or no later model is to come.
    """
    spreads, later = spreads_of(run), [name for name in run.iterations if name not in FIRST]
    if not later:
        now = "Give a run of two iterations or more, or go on from this one's M2 with --from and --set iterations=2"
        raise SelfRewardError(f"makes no model after M2, and {HELD_AGAINST}", str(run.folder), now)
    if missing := [name for name in FIRST if name not in spreads]:
        what = f"has not watched {' and '.join(missing)}, and {HELD_AGAINST}"
        raise SelfRewardError(what, str(run.folder), "Let it go on until both are watched, by a recipe with [drift]")
    usual = own_usual(spreads[name] for name in FIRST)
    return Baseline(usual=dict.fromkeys(later, usual), own=True, of=first_of(run), furthest=furthest_in_the_laboratory())


def furthest_in_the_laboratory() -> tuple[float, ...]:
    """The distances of the furthest models of the laboratory's clean runs from their own first ones."""
    file = files("selfreward") / "measure" / "text" / "own_distances.json"
    return tuple(json.loads(file.read_text(encoding="utf-8")))
