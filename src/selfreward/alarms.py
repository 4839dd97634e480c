"""What the monitors found, in words: which figures lie outside their limits, and by how much."""

from __future__ import annotations

from collections.abc import Sequence

from selfreward.readings import Reading

NAMED = 3
"""Figures that a summary names; more are counted."""


def alarms(readings: Sequence[Reading]) -> list[Reading]:
    """The readings with a verdict of `warn` or `stop`: `stop` first, then the latest model's, else in their order."""
    found = [reading for reading in readings if reading.verdict != "ok"]
    return sorted(found, key=lambda reading: (reading.verdict != "stop", -int(reading.iteration[1:])))


def describe(readings: Sequence[Reading]) -> str:
    """One line on the readings of one model or of several; each figure counts once, and speaks by its gravest reading."""
    read = {reading.monitor for reading in readings if reading.value is not None}
    limited = {reading.monitor for reading in readings if reading.value is not None and reading.limit}
    outside: dict[str, Reading] = {}
    for reading in alarms(readings):
        outside.setdefault(reading.monitor, reading)
    if not outside:
        told = f"of {len(limited)} with limits none lies outside" if limited else "none has a limit"
        return f"{len(read)} figures watched, {told}"
    named = [phrase(reading) for reading in outside.values()]
    more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
    return f"{len(outside)} of {len(read)} figures outside their limits: {', '.join(named[:NAMED])}{more}"


def phrase(reading: Reading) -> str:
    """The figure, the model, the value and the limit that it passed: `flukes.rate at M3 (0.41, above 0.2: stop)`."""
    value, (low, high) = reading.value or 0.0, reading.limit or (None, None)
    passed = f"below {low:g}" if low is not None and value < low else f"above {high:g}"
    stop = ": stop" if reading.verdict == "stop" else ""
    return f"{reading.monitor} at {reading.iteration} ({value:.3g}, {passed}{stop})"


def ending(model: str, readings: Sequence[Reading]) -> str:
    """How the run ended at `model`, of which some of `readings` say `stop`: why, and the last model before it."""
    why = ", ".join(phrase(reading) for reading in readings if reading.verdict == "stop")
    good = f"the last good model is M{int(model[1:]) - 1}" if model != "M1" else "it is the first that was watched"
    return f"ended by its monitors at {model}: {why}; {good}"
