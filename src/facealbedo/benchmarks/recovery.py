"""What the network can do where nothing stands in its way: faces with exact fits, and one batch learned by heart.

    python -m facealbedo.benchmarks.recovery

Writes ``docs/benchmarks/recovery_cpu.json``:

* ``exact_fits``: the network that ships on fabricated faces in light that its training did not have, whose shape, pose
  and prior are the true ones; beside it the methods that are not trained. Measured as in `core.train.inspect`.
* ``one_batch``: a fresh network of the preset `default`, trained on one batch of fabricated faces as if they were
  photos (without their truth); PSNR and SSIM of albedo times light against them, before and after.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import platform
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from facealbedo.assets.refiner import refiner_bytes
from facealbedo.benchmarks.train import load_params
from facealbedo.core.train.checkpoint import weights_from_bytes
from facealbedo.core.train.config import TrainConfig
from facealbedo.core.train.exchange import Exchange
from facealbedo.core.train.fabricate import EXACT_FITS
from facealbedo.core.train.guard import FiniteGuard
from facealbedo.core.train.inspect import Gallery
from facealbedo.core.train.loop import Crew, begin, descend, prepare_forward
from facealbedo.core.train.scene import Scene, Stage
from facealbedo.core.train.state import update_average
from facealbedo.training import LOOK_BATCH, fabricator_for, load_stage, train_config

logger = logging.getLogger(__name__)
REPORT = Path("docs") / "benchmarks" / "recovery_cpu.json"
RESOLUTION, SEED = 256, 0


def exact_fits(stage: Stage, weights: bytes, faces: int) -> dict[str, dict[str, float]]:
    """Measure the network and what is not trained on faces whose fits do not err."""
    fabricator = replace(fabricator_for(stage, faces, SEED, held_out=True), config=EXACT_FITS)
    generator = torch.Generator().manual_seed(SEED)
    made = []
    for start in range(0, faces, LOOK_BATCH):
        scene = fabricator.make(min(LOOK_BATCH, faces - start), generator)
        made.append(replace(scene, face=stage.judged(scene.face)))
    gallery = Gallery(stage, (), made)
    return {"network": gallery.measure(weights_from_bytes(weights)[0]), **gallery.measure_baselines()}


def one_batch(stage: Stage, faces: int, steps: int) -> dict[str, dict[str, float]]:
    """Learn one batch by heart; return what the photos' measures say before and after."""
    fabricator = fabricator_for(stage, faces, SEED, held_out=False)
    scene = fabricator.make(faces, torch.Generator().manual_seed(SEED))
    scene = replace(scene, face=stage.judged(scene.face), truth=None)
    config = replace(
        train_config(load_params("base")), steps=steps, batch_size=faces, fabricated_share=0.0, mixed_precision=False
    )
    return {"fresh": _learned(stage, scene, replace(config, steps=0)), "learned": _learned(stage, scene, config)}


def _learned(stage: Stage, scene: Scene, config: TrainConfig) -> dict[str, float]:
    crew = Crew(stage, None)
    state = begin(config, crew)
    forward, exchange = prepare_forward(config, crew, state), Exchange(state.refiner, 1)
    guard = FiniteGuard(stage.device)
    for step in range(config.steps):
        loss, terms = forward(scene, step / config.steps)
        descend(config, state, guard, exchange, loss, terms)
        state.step += 1
        update_average(state, config.ema_decay)
    guard.raise_if_found(wait=True)
    return Gallery(stage, (scene,), ()).measure(state.average)


def main() -> None:
    """Measure and write."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=96, help="with exact fits")
    parser.add_argument("--batch", type=int, default=4, help="faces of the one batch")
    parser.add_argument("--steps", type=int, default=150, help="on it")
    parser.add_argument("--output", type=Path, default=REPORT)
    arguments = parser.parse_args()
    stage, weights = load_stage(RESOLUTION, torch.device("cpu")), refiner_bytes()
    found: dict[str, Any] = {
        "command": "python -m facealbedo.benchmarks.recovery",
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "resolution": RESOLUTION,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
        "exact_fits": {"faces": arguments.faces, **exact_fits(stage, weights, arguments.faces)},
    }
    logger.info("exact fits: %s", found["exact_fits"]["network"])
    found["one_batch"] = {
        "faces": arguments.batch, "steps": arguments.steps, **one_batch(stage, arguments.batch, arguments.steps)
    }  # fmt: skip
    arguments.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    logger.info("%s: one batch: %s", arguments.output, found["one_batch"]["learned"])


if __name__ == "__main__":
    main()
