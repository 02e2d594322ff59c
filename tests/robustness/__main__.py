"""All trials and kills in full, and their numbers.

python -m tests.robustness [--kills N] [--output FILE] [--only NAME ...]

One run writes ``docs/benchmarks/robustness.json``, at its end; the exit status is 1 when anything was found. With
``--only`` some parts are tried, and nothing is written unless a file is named.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from facealbedo.assets.provenance import checkout
from tests.robustness import kills, strange_models, strange_parameters, trials
from tests.robustness.strange_photos import strange_photos
from tests.robustness.trial import ROOT, Findings

logger = logging.getLogger("robustness")
OUTPUT = ROOT / "docs" / "benchmarks" / "robustness.json"


def main() -> int:
    """Run the parts, write the numbers, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="kills of each pipeline")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--only", nargs="*", help="parts to run")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    load, began = os.getloadavg()[0], time.monotonic()
    parts: dict[str, dict[str, Any]] = {}
    for name, part in _parts(options.kills).items():
        if options.only and name not in options.only:
            continue
        started = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            parts[name] = part(Path(folder) / "work") | {"seconds": round(time.monotonic() - started)}
        logger.info("%s: %s", name, parts[name])
    report = {
        "command": "make robustness",
        "commit": (checkout() or {}).get("commit"),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "load_before": round(load, 1)},
        "network": "cut off from every pipeline that was killed" if kills.network_is_cut() else "could not be cut off",
        "seconds": round(time.monotonic() - began),
        **_total(parts),
        "parts": parts,
    }
    output = options.output or (None if options.only else OUTPUT)
    if output:
        output.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if report["defects"] else 0


def _parts(count: int) -> dict[str, Callable[[Path], dict[str, Any]]]:
    photos = strange_photos
    return {
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
        **{f"kills_{name}": lambda work, name=name: _killed(name, work, count) for name in kills.PIPELINES},
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


def _total(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    names = ("inputs", "kills", "crashes", "photos_lost")
    sums = {key: sum(part.get(key, 0) for part in parts.values()) for key in names}
    return {**sums, "defects": sum(len(part["defects"]) for part in parts.values())}


if __name__ == "__main__":
    sys.exit(main())
