"""Take the numbers of the last run of the pipeline `ablate` over into the documentation.

    python -m facealbedo.benchmarks.evaluation_ablations [FILE]

Reads FILE (data/08_reporting/ablations/metrics.json) and writes ``docs/benchmarks/ablations.json``, which
`benchmarks.evaluation_tables` makes its table of.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facealbedo.benchmarks.evaluation import rounded
from facealbedo.core.errors import FaceAlbedoError

ABLATIONS = Path("docs") / "benchmarks" / "ablations.json"
FILE = Path("data") / "08_reporting" / "ablations" / "metrics.json"
_PARTS = ("budget", "data", "rows", "baselines")

logger = logging.getLogger(__name__)


def read_numbers(file: Path) -> dict[str, Any]:
    """Return what the pipeline `ablate` wrote, rounded.

    Raises:
        FaceAlbedoError: there is no such file, or it is not whole.
    """
    if not file.is_file():
        raise FaceAlbedoError(f"there is no {file}; run `kedro run --pipelines ablate --env gpu` first")
    try:
        numbers = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FaceAlbedoError(f"{file} is no JSON ({error})") from error
    missing = [part for part in _PARTS if not isinstance(numbers, Mapping) or not numbers.get(part)]
    if missing:
        raise FaceAlbedoError(f"{file} lacks {', '.join(missing)}; it is not what the pipeline `ablate` writes")
    return {part: rounded(numbers[part]) for part in _PARTS}


def known_numbers(file: Path = ABLATIONS) -> dict[str, Any] | None:
    """Return the committed numbers, None while there are none."""
    return read_numbers(file) if file.is_file() else None


def main() -> None:
    """Write the committed numbers."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=FILE)
    numbers = read_numbers(parser.parse_args().file)
    ABLATIONS.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    logger.info("%s: %d rows", ABLATIONS, len(numbers["rows"]))


if __name__ == "__main__":
    main()
