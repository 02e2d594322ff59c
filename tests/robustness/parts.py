"""The parts of `make robustness`: each returns its numbers, in a process of its own."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.robustness import kills, strange_models, strange_parameters, trials
from tests.robustness.strange_photos import strange_photos
from tests.robustness.trial import Findings


def run(name: str, count: int) -> dict[str, Any]:
    """Run one part; return its numbers."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            found = parts(count)[name](Path(folder) / "work")
        except Exception as error:  # the other parts go on
            found = {"inputs": 0, "crashes": 1, "photos_lost": 0, "defects": [f"{type(error).__name__}: {error}"]}
    found["seconds"] = round(time.monotonic() - started)
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {name}: {found}\n")
    return found


def parts(count: int) -> dict[str, Callable[[Path], dict[str, Any]]]:
    """Return what runs each part in a folder; ``count`` kills of each pipeline."""
    photos = strange_photos
    # The longest first: two of them run side by side.
    return {
        **{f"kills_{name}": lambda work, name=name: _killed(name, work, count) for name in kills.PIPELINES},
        "photos_command": lambda work: _found(trials.photos_by_command(work, photos())),
        "photos_kedro_reconstruct": lambda work: _found(trials.photos_by_kedro(work, photos(2), "reconstruct")),
        "photos_kedro_preprocess": lambda work: _found(trials.photos_by_kedro(work, photos(), "preprocess")),
        "hostile_names": lambda work: _found(trials.hostile_names(work)),
        "odd_places": lambda work: _found(trials.odd_places(work)),
        "wrong_calls": lambda work: _found(trials.wrong_calls(work)),
        "wrong_weights": lambda work: _found(trials.wrong_weights(work)),
        "wrong_parameters_kedro": lambda work: _found(trials.wrong_parameters(work)),
        "wrong_parameters": lambda _: _counted(*strange_parameters.objections()),
        **{f"model_{name}": lambda _, name=name: _counted(*_model(name)) for name in strange_models.readers()},
    }


def _model(name: str) -> tuple[int, list[str]]:
    return strange_models.objections(name, 20 if name == "face_model" else 100, seed=1)


def _found(findings: Findings) -> dict[str, Any]:
    return {
        "inputs": findings.inputs,
        "crashes": findings.crashes,
        "photos_lost": findings.photos_lost,
        "defects": findings.defects,
    }


def _counted(number: int, lines: list[str]) -> dict[str, Any]:
    return {"inputs": number, "crashes": len(lines), "photos_lost": 0, "defects": lines}


def _killed(name: str, work: Path, count: int) -> dict[str, Any]:
    work.mkdir()
    kills.warm_up()
    report = kills.kill_pipeline(name, work, count)
    return {"kills": report.kills, "completed_runs": report.completed_runs, "defects": list(report.differing)}
