"""Reconstruct a folder of photos for the scorer of NoW or REALY.

    python -m facealbedo.benchmarks.evaluation_geometry PHOTOS OUTPUT --layout now

The benchmarks and their scorers are licensed to each user and not part of this project.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from facealbedo.datasets.face_folders import write_file
from facealbedo.evaluation.geometry import predict_folder
from facealbedo.evaluation.subjects import Laboratory

logger = logging.getLogger(__name__)


def predict(photos: Path, output: Path, layout: str) -> list[str]:
    """Write the predictions; return a line for each photo without one."""
    missing = []
    for name, result in predict_folder(Laboratory(), photos, layout):
        if isinstance(result, str):
            missing.append(f"{name}: {result}")
            continue
        for place, content in result.items():
            write_file(output / place, content)
    return missing


def main() -> None:
    """Write the predictions and say which photos have none."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--layout", choices=("now", "realy"), default="now")
    chosen = parser.parse_args()
    for line in predict(chosen.photos, chosen.output, chosen.layout):
        logger.warning("%s", line)


if __name__ == "__main__":
    main()
