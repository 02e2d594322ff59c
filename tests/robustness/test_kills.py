"""A short part of the kills of `make robustness`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.robustness.trial import ROOT


@pytest.mark.slow
def test_a_pipeline_that_was_killed_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    """In a process of its own: it forks, and what pytest has loaded and switched on must not come along."""
    code = (
        "import sys; from pathlib import Path; from tests.robustness import kills\n"
        "kills.warm_up()\n"
        "report = kills.kill_pipeline('preprocess', Path(sys.argv[1]), 3)\n"
        "sys.exit(f'{report}' if report.differing or report.kills != 3 else 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
