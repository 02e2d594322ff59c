"""Crops of noise, for tests and for the run on a device that `test_device.py` starts."""

from __future__ import annotations

import torch

from facealbedo.core.geometry.rotations import euler_degrees_to_matrix
from facealbedo.core.train.batch import CropBatch
from facealbedo.core.train.scene import Stage
from facealbedo.core.types import Camera, FaceCoefficients, Pose

SIZE = 64


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
