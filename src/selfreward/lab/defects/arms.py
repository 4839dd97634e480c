"""The laboratory's arms: clean runs, a planted defect each, a cure each, and the seeds that belong to each arm alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args

from selfreward.lab.defects.defects import DEFECTS, Defect
from selfreward.lab.defects.worlds import EASY, HARD, World

FITTING, TESTING, PLANTED = range(60), range(60, 120), range(120, 130)
"""Seeds of the clean runs that limits are fitted on, of those that measure false alarms, and of all other runs."""
FRESH = range(200, 400)
"""Seeds of clean runs made after everything about the alarms was chosen."""
TURNED = FRESH[:10]
"""Seeds of the runs that share models with fresh clean ones: of defects thought of later, or that begin later."""
LATER = ("forgiving", "phrases")
"""Defects that were thought of after all others had been run."""
TURN = 3
"""The t of the first model that is made by a judge that goes wrong on the way."""
CURES: dict[str, dict[str, Any]] = {
    "more-samples": {"judge.samples": 6},
    "drop-flukes": {"pairs.max_fluke": 0.25},
    "consistency": {"dpo.confidence": "consistency"},
    "length-rule": {"pairs.length_rho": 0.3},
    "frozen-judge": {"judge.by": "frozen"},
    "lagged-judge": {"judge.by": "previous"},
}
"""Cure → its changes to the recipe."""
OUTSIDE = "selfreward.lab.micro.controls:Oracle"
"""A sound judge from outside the loop."""
CURES_ON_THE_WAY: dict[str, dict[str, Any]] = {
    "frozen-judge": CURES["frozen-judge"],
    "lagged-judge": CURES["lagged-judge"],
    "jury": {"judge.by": ["current", "frozen"], "judge.agreement": 1.0},
    "anchor": {"judge.by": ["current", OUTSIDE], "judge.agreement": 1.0},
    "rollback": {
        "drift.baseline": "selfreward:lab/defects/baseline.jsonl", "drift.false_alarms": 0.02, "drift.on_alarm": "rollback",
    },
}  # fmt: skip
"""Cures of a judge that goes wrong on the way → their changes to the recipe, from the turn on."""
CURED = (("noise", 0.75), ("length", 0.5), ("length", 1.0))
"""Defects at strengths, against which all `CURES` are tried: flukes, and a preference, which at one half does little harm."""
TURNS = (("noise", 1.0), ("always-4", 0.95), ("length", 1.0), ("bribe", 0.4), ("forgiving", 1.0), ("phrases", 2.0))
"""Defects at strengths that begin on the way."""
GROWING = (("length", 0.5, 4.0), ("bribe", 0.05, 1.0))
"""Defects that feed on themselves: the strength in M1, and its growth for each unit of its trait that pairs have bred."""
CURED_ON_THE_WAY = (("length", 1.0), ("bribe", 0.4))
"""Defects at strengths that begin on the way, against which every cure of `CURES_ON_THE_WAY` is tried."""
Kind = Literal["first", "later", "turned", "growing"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""Planted from M1 on in the first laboratory; thought of later, from M1 on; beginning on the way; growing."""


class Arm(NamedTuple):
    """Runs that differ only in their seeds."""

    defect: Defect | None
    strength: float
    cure: str | None
    seeds: range
    begins: int = 1
    """The t of the first model that the defect can touch; with 2 or more, M1 stays a sound judge."""
    gain: float = 0.0
    """Strength that a judge gains for every unit of the trait that the pairs behind it have bred (chosen less rejected)."""
    world: World = EASY

    @property
    def name(self) -> str:
        """The name in records and folders."""
        begins = f"-from-M{self.begins}" if self.begins > 1 else ""
        grows = f"-grows-{self.gain:g}" if self.gain else ""
        defect = f"{self.defect.name}-{self.strength:g}{grows}{begins}" if self.defect else "clean"
        return f"{defect}+{self.cure}" if self.cure else defect

    @property
    def how(self) -> str:
        """The course of its defect, in words; empty for a defect that is there from M1 on and stays as it is."""
        return f" from M{self.begins} on" * (self.begins > 1) + f" growing by {self.gain:g}" * (self.gain > 0)

    @property
    def kind(self) -> Kind:
        """The kind of its defect; kinds are reported apart."""
        return "turned" if self.begins > 1 else "growing" if self.gain else "later" if self.seeds == TURNED else "first"

    @property
    def changes(self) -> dict[str, Any]:
        """Its changes to the recipe, by dotted field."""
        return {**CURES, **CURES_ON_THE_WAY}[self.cure] if self.cure else {}


def arms(world: World = EASY) -> Iterator[Arm]:
    """Every arm of a world, in order of importance, for the last ones may find no time."""
    yield from _hard_arms() if world == HARD else _easy_arms()


def _hard_arms() -> Iterator[Arm]:
    """Clean runs, and every defect at its strongest."""
    yield Arm(None, 0, None, FITTING, world=HARD)
    yield from (Arm(defect, defect.strengths[2], None, PLANTED, world=HARD) for defect in DEFECTS)


def _easy_arms() -> Iterator[Arm]:
    yield Arm(None, 0, None, FITTING)
    yield Arm(None, 0, None, TESTING)
    by_name = {defect.name: defect for defect in DEFECTS}
    first, later = ([defect for defect in DEFECTS if (defect.name in LATER) is late] for late in (False, True))
    for at in (2, 1, 0):
        yield from (Arm(defect, defect.strengths[at], None, PLANTED) for defect in first)
    yield Arm(None, 0, None, PLANTED)
    yield from (Arm(None, 0, cure, PLANTED) for cure in CURES)
    yield from (Arm(by_name[name], strength, cure, PLANTED) for name, strength in CURED for cure in CURES)
    yield Arm(None, 0, None, FRESH)
    yield from (Arm(by_name[name], strength, None, TURNED, TURN) for name, strength in TURNS)
    yield from (Arm(defect, defect.strengths[2], None, TURNED) for defect in later)
    yield from (Arm(by_name[name], strength, None, TURNED, gain=gain) for name, strength, gain in GROWING)
    for name, strength in CURED_ON_THE_WAY:
        yield from (Arm(by_name[name], strength, cure, TURNED, TURN) for cure in CURES_ON_THE_WAY)
    for at in (1, 0):
        yield from (Arm(defect, defect.strengths[at], None, TURNED) for defect in later)
