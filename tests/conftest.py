"""What several test files share."""

import json
import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
"""The models of the tests are so small that more threads would only wait for each other."""


settings.register_profile("untimed", deadline=None)  # a busy machine is no failure
settings.load_profile("untimed")

signal.signal(signal.SIGINT, signal.default_int_handler)  # which a job in the background is started without


@pytest.fixture(scope="session")
def reference():
    """Reads a file of the published data that we check ourselves against; skips where it is not at hand."""
    folder = os.environ.get("SELFREWARD_REFERENCE_DATA")
    if not folder:
        pytest.skip("SELFREWARD_REFERENCE_DATA is not set: no published data to check against")
    return lambda name: [json.loads(line) for line in (Path(folder) / f"{name}.jsonl").open(encoding="utf-8")]
