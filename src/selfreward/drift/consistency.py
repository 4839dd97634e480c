"""To be written."""

from __future__ import annotations

from selfreward.drift import Evidence, Figures


def figures(now: Evidence, before: Evidence | None) -> Figures:
    """Nothing yet."""
    return {}
