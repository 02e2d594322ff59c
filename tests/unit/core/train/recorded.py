"""Train a small network on CUDA twice, plainly and with everything that makes it fast; print both courses as JSON.

    python -m tests.unit.core.train.recorded

A process of its own, as torch's compiler does not get along with the type checks of the test run.
"""

from __future__ import annotations

import json
import sys

import torch

from facealbedo.assets import load_face_model
from facealbedo.assets.occlusion import load_occlusion
from facealbedo.assets.prior import load_albedo_prior
from facealbedo.core.losses import LossWeights
from facealbedo.core.networks import PRESETS
from facealbedo.core.train.config import TrainConfig
from facealbedo.core.train.loop import Crew, train
from facealbedo.core.train.scene import make_stage
from tests.unit.core.train.crops import SIZE, Crops, make_batch

# Without the terms that have a kink where training begins: at exactly no change of light, and at no change of albedo,
# which is symmetric. There the sign of a rounding error is the gradient, and each compiler rounds in its own way.
SMOOTH = LossWeights(low_pass_symmetry=0.0, white_light=0.0, global_light=0.0, light_variation=0.0)


class Course:
    """Remembers the loss of each step."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """Take the numbers of a step."""
        self.losses.append(values["loss"])

    def picture(self, step: int, image_srgb: torch.Tensor) -> None:
        """Take no picture."""


def course(fast: bool) -> list[float]:
    """Return the losses of a training."""
    device = torch.device("cuda")
    stage = make_stage(load_face_model(), load_albedo_prior(), load_occlusion().openness, SIZE, device)
    config = TrainConfig(
        network=PRESETS["tiny"],
        weights=SMOOTH,
        resolution=SIZE,
        steps=40,
        batch_size=4,
        fabricated_share=0.0,
        scene_block=4,
        warmup_steps=5,
        mixed_precision=False,
        compile=fast,
        cuda_graphs=fast,
        log_every=1,
        checkpoint_every=0,
    )
    cpu = make_stage(load_face_model(), load_albedo_prior(), load_occlusion().openness, SIZE, "cpu")
    log = Course()
    train(config, Crew(stage, Crops(make_batch(cpu, 12)), log=log))
    return log.losses


if __name__ == "__main__":
    sys.stdout.write(json.dumps({"plain": course(False), "fast": course(True)}))
