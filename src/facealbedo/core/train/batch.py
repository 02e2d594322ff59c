"""A batch as it is stored: photos and the coefficients of their fits; everything else is made from it on the device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.lighting.sh import mirror_sh
from facealbedo.core.types import Camera, FaceCoefficients, Pose, TensorRecord


@dataclass(frozen=True)
class CropBatch(TensorRecord):
    """Crops of photos, and what the fit found.

    * ``photo_srgb``: sRGB codes. ``valid``: 255 where the crop holds photo (it may reach over the border).
    * ``uv_trust``: the fit's face mask in the atlas, 255 where the photo shows the face's own skin: no hair, glasses,
      hand. Coarse; both sides of the atlas.
    * ``coefficients``, ``pose``, ``camera`` (of the crop), ``sh_radiance`` (order 2, view frame).
    """

    photo_srgb: UInt8[Tensor, "batch 3 size size"]
    valid: UInt8[Tensor, "batch 1 size size"]
    uv_trust: UInt8[Tensor, "batch 1 coarse coarse"]
    coefficients: FaceCoefficients
    pose: Pose
    camera: Camera
    sh_radiance: Float[Tensor, "batch 3 9"]

    def __len__(self) -> int:
        return self.photo_srgb.shape[0]

    def pick(self, rows: Int[Tensor, "row"]) -> CropBatch:
        """Return these rows."""
        return self._map(lambda tensor: tensor.index_select(0, rows))


@runtime_checkable
class CropSource(Protocol):
    """Somewhere crops come from; deterministic: the same rows are always the same crops."""

    def __len__(self) -> int:
        """Return how many crops there are."""
        ...

    def fetch(self, rows: list[int], device: torch.device) -> CropBatch:
        """Return the crops of these rows on the device."""
        ...

    def expect(self, rows: list[int]) -> None:
        """Prepare to fetch these rows next."""
        ...


def mirror_batch(model: FaceModel, batch: CropBatch, flip: Bool[Tensor, "batch"]) -> CropBatch:
    """Mirror some crops left to right, with their fits: exactly what the fit of the mirrored photo would be.

    The albedo coefficients stay: the albedo prior is symmetric.

    Args:
        model: knows how coefficients mirror.
        batch: to take from.
        flip: which to mirror.
    """

    def choose(mirrored: Tensor, kept: Tensor) -> Tensor:
        return torch.where(flip.view(-1, *[1] * (kept.ndim - 1)), mirrored, kept)

    identity, expression, albedo = (
        batch.coefficients.identity_coeffs,
        batch.coefficients.expression_coeffs,
        batch.coefficients.albedo_coeffs,
    )
    mirrored_identity, mirrored_expression = model.mirror_coefficients(identity, expression)
    across = batch.pose.rotation.new_tensor([-1.0, 1.0, 1.0])
    # S R S with S = diag(-1, 1, 1): the mirrored head in the mirrored view.
    rotation = batch.pose.rotation * across[:, None] * across
    principal = batch.camera.principal_px
    mirrored_principal = torch.stack([batch.camera.width - principal[:, 0], principal[:, 1]], dim=1)
    return CropBatch(
        photo_srgb=choose(batch.photo_srgb.flip(-1), batch.photo_srgb),
        valid=choose(batch.valid.flip(-1), batch.valid),
        uv_trust=choose(batch.uv_trust.flip(-1), batch.uv_trust),
        coefficients=FaceCoefficients(
            choose(mirrored_identity, identity), choose(mirrored_expression, expression), albedo
        ),
        pose=Pose(
            choose(rotation, batch.pose.rotation), choose(batch.pose.translation * across, batch.pose.translation)
        ),
        camera=Camera(
            batch.camera.focal_px, choose(mirrored_principal, principal), batch.camera.height, batch.camera.width
        ),
        sh_radiance=choose(mirror_sh(batch.sh_radiance), batch.sh_radiance),
    )
