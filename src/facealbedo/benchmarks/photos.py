"""How the network that ships reproduces photos that no training saw, as its training measures it.

    kedro run --pipelines preprocess,fit --params preprocess.photos=FOLDER
    python -m facealbedo.benchmarks.photos [--data data] [--weights FILE]

Measures all fitted crops of the folder ``--data`` and writes ``docs/benchmarks/photos_cpu.json``: PSNR and SSIM of
albedo times light against the crop on trusted skin, light left in the albedo, detail kept; see
`core.train.inspect.photo_measures`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from facealbedo.assets.refiner import refiner_bytes
from facealbedo.benchmarks.train import prepared_tables
from facealbedo.core.train.checkpoint import weights_from_bytes
from facealbedo.core.train.inspect import Gallery
from facealbedo.dataloading.crops import crop_table
from facealbedo.training import load_stage, photo_scenes

logger = logging.getLogger(__name__)
RESOLUTION = 256
REPORT = Path("docs") / "benchmarks" / "photos_cpu.json"


def measure_photos(
    fits: pd.DataFrame, faces: pd.DataFrame, crops: Mapping[str, Path], weights: bytes
) -> dict[str, Any]:
    """Return the means over all fitted crops, of the network and of what is not trained."""
    table = crop_table(fits, faces, crops)
    stage = load_stage(RESOLUTION, torch.device("cpu"))
    scenes, refiner = photo_scenes(table, stage), weights_from_bytes(weights)[0]
    gallery = Gallery(stage, scenes, ())
    left = weights_from_bytes(weights)[0]
    left.baked_light = False
    return {
        "command": "python -m facealbedo.benchmarks.photos",
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "faces": len(table),
        "resolution": RESOLUTION,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "network": gallery.measure(refiner),
        # The same without what a residual network does about the light that it finds in its albedo.
        "network_with_baked_light": gallery.measure(left),
        **gallery.measure_baselines(),
    }


def main() -> None:
    """Measure and write."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--weights", type=Path, help="of a network; those that ship when omitted")
    parser.add_argument("--output", type=Path, default=REPORT)
    arguments = parser.parse_args()
    weights = arguments.weights.read_bytes() if arguments.weights else refiner_bytes()
    if not (arguments.data / "04_feature" / "fits.parquet").is_file():
        parser.error(f"there are no fitted crops in {arguments.data}; run `kedro run --pipelines preprocess,fit` first")
    found = measure_photos(*prepared_tables(arguments.data), weights)
    arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    logger.info("%s: %d faces, %s", arguments.output, found["faces"], found["network"])


if __name__ == "__main__":
    main()
