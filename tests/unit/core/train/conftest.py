from __future__ import annotations

import dataclasses

import pytest
import torch

from facealbedo.assets import load_face_model
from facealbedo.assets.occlusion import load_occlusion
from facealbedo.assets.prior import load_albedo_prior
from facealbedo.core.losses import LossWeights
from facealbedo.core.networks import PRESETS
from facealbedo.core.train.config import TrainConfig
from facealbedo.core.train.loop import Crew
from facealbedo.core.train.scene import Stage, make_stage
from tests.unit.core.train.crops import SIZE, Crops, make_batch


@pytest.fixture(scope="session")
def stage() -> Stage:
    return make_stage(load_face_model(), load_albedo_prior(), load_occlusion().openness, SIZE, "cpu")


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
