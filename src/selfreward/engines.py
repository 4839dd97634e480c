"""The tables of a recipe that say what samples text: here, or behind an endpoint."""

from __future__ import annotations

import os
from pathlib import Path

CONTAINER = Path("/sys/fs/cgroup/memory.max")
"""Where Linux says how much memory a container may have."""


def memory_here() -> int:
    """Bytes of memory of this machine, or of the container that this runs in."""
    everything = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = CONTAINER.read_text().strip() if CONTAINER.is_file() else "max"
    return min(everything, int(limit)) if limit.isdigit() else everything
