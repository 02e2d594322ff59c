"""All trials and kills in full, and their numbers.

python -m tests.robustness [--kills N] [--output FILE] [--only NAME ...]

One run writes ``docs/benchmarks/robustness.json``, at its end; the exit status is 1 when anything was found. With
``--only`` some parts are tried, and nothing is written unless a file is named.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from facealbedo.assets.provenance import checkout
from tests.robustness import kills
from tests.robustness.parts import parts, run
from tests.robustness.trial import ROOT

OUTPUT = ROOT / "docs" / "benchmarks" / "robustness.json"


def main() -> int:
    """Run the parts, write the numbers, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10, help="kills of each pipeline")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--only", nargs="*", help="parts to run")
    options = parser.parse_args()
    load, began = os.getloadavg()[0], time.monotonic()
    names = [name for name in parts(0) if not options.only or name in options.only]
    # A process a core and a part; the children that are killed are forked from those, where nothing else runs.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context, max_tasks_per_child=1) as pool:
        found = [pool.submit(run, name, options.kills) for name in names]
        numbers = dict(zip(names, (one.result() for one in found), strict=True))
    report = {
        "command": "make robustness",
        "commit": (checkout() or {}).get("commit"),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "load_before": round(load, 1)},
        "network": "cut off from every pipeline that was killed" if kills.network_is_cut() else "could not be cut off",
        "seconds": round(time.monotonic() - began),
        **_total(numbers),
        "parts": numbers,
    }
    output = options.output or (None if options.only else OUTPUT)
    if output:
        output.write_text(json.dumps(report, indent=2) + "\n")
    return 1 if report["defects"] else 0


def _total(numbers: dict[str, dict[str, Any]]) -> dict[str, Any]:
    names = ("inputs", "kills", "crashes", "photos_lost")
    sums = {key: sum(part.get(key, 0) for part in numbers.values()) for key in names}
    return {**sums, "defects": sum(len(part["defects"]) for part in numbers.values())}


if __name__ == "__main__":
    sys.exit(main())
