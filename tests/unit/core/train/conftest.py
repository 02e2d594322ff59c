from __future__ import annotations

import dataclasses

import pytest
import torch

from facealbedo.assets import load_face_model
from facealbedo.assets.occlusion import load_occlusion
from facealbedo.assets.prior import load_albedo_prior
from facealbedo.core.geometry.rotations import euler_degrees_to_matrix
from facealbedo.core.losses import LossWeights
from facealbedo.core.networks import PRESETS
from facealbedo.core.train.batch import CropBatch
from facealbedo.core.train.config import TrainConfig
from facealbedo.core.train.loop import Crew
from facealbedo.core.train.scene import Stage, make_stage
from facealbedo.core.types import Camera, FaceCoefficients, Pose

SIZE = 64


@pytest.fixture(scope="session")
def stage() -> Stage:
    return make_stage(load_face_model(), load_albedo_prior(), load_occlusion().openness, SIZE, "cpu")


def make_batch(stage: Stage, count: int = 6, seed: int = 0) -> CropBatch:
    """Crops of noise with plausible fits."""
    generator = torch.Generator().manual_seed(seed)
    model = stage.model
    light = torch.randn(count, 3, 9, generator=generator) * 0.2
    light[:, :, 0] = 3.0
    angles = 12 * torch.randn(count, 3, generator=generator)
    return CropBatch(
        photo_srgb=torch.randint(40, 220, (count, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8),
        valid=torch.full((count, 1, SIZE, SIZE), 255, dtype=torch.uint8),
        uv_trust=torch.full((count, 1, 16, 16), 255, dtype=torch.uint8),
        coefficients=FaceCoefficients(
            torch.randn(count, model.n_identity, generator=generator) * 0.3,
            torch.rand(count, model.n_expression, generator=generator) * 0.1,
            stage.prior.sample(count, generator),
        ),
        pose=Pose(euler_degrees_to_matrix(*angles.unbind(1)), torch.tensor([[0.0, 0.02, -0.6]]).expand(count, 3)),
        camera=Camera(torch.full((count,), SIZE * 2.4), torch.full((count, 2), SIZE / 2), SIZE, SIZE),
        sh_radiance=light,
    )


class Crops:
    """Crops in memory."""

    def __init__(self, batch: CropBatch) -> None:
        self.batch = batch

    def __len__(self) -> int:
        return len(self.batch)

    def fetch(self, rows: list[int], device: torch.device) -> CropBatch:
        return self.batch.pick(torch.tensor(rows)).to(device)

    def expect(self, rows: list[int]) -> None:
        pass


class Store:
    """A checkpoint in memory."""

    def __init__(self) -> None:
        self.data: bytes | None = None
        self.writes = 0

    def read(self) -> bytes | None:
        return self.data

    def write(self, data: bytes) -> None:
        self.data = data
        self.writes += 1


class Log:
    """Remembers everything."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def numbers(self, step: int, values: dict[str, float]) -> None:
        self.rows.append((step, values))

    def picture(self, step: int, image_srgb: torch.Tensor) -> None:
        raise AssertionError("no pictures were asked for")


@pytest.fixture
def crew(stage) -> Crew:
    return Crew(stage, Crops(make_batch(stage)), store=Store(), log=Log())


@pytest.fixture
def config() -> TrainConfig:
    return TrainConfig(
        network=PRESETS["tiny"],
        weights=LossWeights(),
        resolution=SIZE,
        steps=5,
        batch_size=3,
        fabricated_share=0.0,
        learning_rate=1e-3,
        warmup_steps=2,
        scene_block=2,
        ema_decay=0.9,
        mixed_precision=False,
        log_every=2,
        checkpoint_every=2,
    )


def changed(config: TrainConfig, **values: object) -> TrainConfig:
    return dataclasses.replace(config, **values)
