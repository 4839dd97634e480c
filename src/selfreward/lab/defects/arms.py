"""The laboratory's arms: clean runs, a planted defect each, a cure each, and the seeds that belong to each arm alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from selfreward.lab.defects.defects import DEFECTS, Defect

FITTING, TESTING, PLANTED = range(60), range(60, 120), range(120, 130)
"""Seeds of the clean runs that limits are fitted on, of those that measure false alarms, and of all other runs."""
CURES: dict[str, dict[str, Any]] = {
    "more-samples": {"judge.samples": 6},
    "drop-flukes": {"pairs.max_fluke": 0.25},
    "consistency": {"dpo.confidence": "consistency"},
    "length-rule": {"pairs.length_rho": 0.3},
    "frozen-judge": {"judge.by": "frozen"},
    "lagged-judge": {"judge.by": "previous"},
}
"""Cure → its changes to the recipe."""
CURED = (("noise", 0.75), ("length", 0.5), ("length", 1.0))
"""Defects at strengths, against which every cure is tried: flukes, and a preference, which at one half does little harm."""


class Arm(NamedTuple):
    """Runs that differ only in their seeds."""

    defect: Defect | None
    strength: float
    cure: str | None
    seeds: range

    @property
    def name(self) -> str:
        """The name in records and folders."""
        defect = f"{self.defect.name}-{self.strength:g}" if self.defect else "clean"
        return f"{defect}+{self.cure}" if self.cure else defect

    @property
    def changes(self) -> dict[str, Any]:
        """Its changes to the recipe, by dotted field."""
        return CURES[self.cure] if self.cure else {}


def arms() -> Iterator[Arm]:
    """Every arm, in order of importance, for the last ones may find no time."""
    yield Arm(None, 0, None, FITTING)
    yield Arm(None, 0, None, TESTING)
    strengths = {defect: defect.strengths for defect in DEFECTS}
    for at in (2, 1, 0):
        yield from (Arm(defect, strengths[defect][at], None, PLANTED) for defect in DEFECTS)
    yield Arm(None, 0, None, PLANTED)
    yield from (Arm(None, 0, cure, PLANTED) for cure in CURES)
    by_name = {defect.name: defect for defect in DEFECTS}
    yield from (Arm(by_name[name], strength, cure, PLANTED) for name, strength in CURED for cure in CURES)
