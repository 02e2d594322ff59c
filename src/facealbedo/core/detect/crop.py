"""Cutting a face out of its photo: a square in linear light, with the photo's own camera axis."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from facealbedo.core.detect.detector import DetectedFace
from facealbedo.core.imaging.decoding import DecodedImage


@dataclass(frozen=True)
class CropConfig:
    """Size of a crop.

    Attributes:
        max_size_px: largest side; a face that fills less of the photo keeps the photo's own resolution.
        min_size_px: smallest side; smaller faces are enlarged to it.
        margin: side of the crop over the longer side of the landmarks' box.
        lift: how far the crop's middle lies above that of the box, as a part of the side (there is more head above
            the landmarks than below).
    """

    max_size_px: int = 1024
    min_size_px: int = 256
    margin: float = 1.6
    lift: float = 0.04


@dataclass(frozen=True)
class FaceCrop:
    """A square piece of a photo.

    * ``image``: linear RGB; beyond the photo's border its last pixels are repeated.
    * ``valid``: where it is photo.
    * ``landmarks_px``: in pixels of the crop.
    * ``principal_px``: the photo's middle, in pixels of the crop; often outside it.
    * ``scale``: pixels of the crop per pixel of the photo. ``origin_px``: the crop's corner in pixels of the photo.
    """

    image: Float[Tensor, "3 side side"]
    valid: Bool[Tensor, "side side"]
    landmarks_px: Float[Tensor, "landmark 2"]
    principal_px: Float[Tensor, "2"]
    scale: float
    origin_px: tuple[float, float]

    @property
    def side(self) -> int:
        """Pixels a side."""
        return int(self.image.shape[-1])


def crop_face(photo: DecodedImage, face: DetectedFace, config: CropConfig | None = None) -> FaceCrop:
    """Cut a face out of its photo.

    Shrinking averages in linear light, so that bright details keep their energy.

    Args:
        photo: upright.
        face: found in it.
        config: sizes; the defaults when omitted.
    """
    settings = config or CropConfig()
    left, top, right, bottom = face.box_px
    length = face.size_px * settings.margin
    side = int(np.clip(round(length), settings.min_size_px, settings.max_size_px))
    # A multiple of four, for the pyramids that come after.
    side -= side % 4
    scale = side / length
    origin = np.array([(left + right) / 2 - length / 2, (top + bottom) / 2 - (0.5 + settings.lift) * length])
    image, valid = _cut(photo, origin, length, side)
    return FaceCrop(
        image=torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))),
        valid=torch.from_numpy(valid),
        landmarks_px=torch.from_numpy(((face.landmarks_px - origin) * scale).astype(np.float32)),
        principal_px=torch.from_numpy(
            ((np.array([photo.width, photo.height]) / 2 - origin) * scale).astype(np.float32)
        ),
        scale=float(scale),
        origin_px=(float(origin[0]), float(origin[1])),
    )


def _cut(photo: DecodedImage, origin: np.ndarray, length: float, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Resample the square at ``origin`` (photo pixels) of ``length`` to ``side`` pixels, and say what was photo."""
    margin = 4
    left, top = (max(0, int(np.floor(value)) - margin) for value in origin)
    right = min(photo.width, int(np.ceil(origin[0] + length)) + margin)
    bottom = min(photo.height, int(np.ceil(origin[1] + length)) + margin)
    if right <= left or bottom <= top:
        return np.zeros((side, side, 3), np.float32), np.zeros((side, side), bool)
    window = photo.linear_pixels(top, bottom, left, right)
    shrink = max(1.0, length / side)
    if shrink > 1.0:
        size = (max(1, round(window.shape[1] / shrink)), max(1, round(window.shape[0] / shrink)))
        window = cv2.resize(window, size, interpolation=cv2.INTER_AREA)
    # Pixels of the window per pixel of the photo; they differ by rounding.
    ratio = np.array([window.shape[1] / (right - left), window.shape[0] / (bottom - top)])
    step = length / side
    centres = (np.arange(side) + 0.5) * step
    columns = ((centres + origin[0] - left) * ratio[0] - 0.5).astype(np.float32)
    rows = ((centres + origin[1] - top) * ratio[1] - 0.5).astype(np.float32)
    map_x, map_y = np.meshgrid(columns, rows)
    interpolation = cv2.INTER_LINEAR if step >= 1 else cv2.INTER_CUBIC
    image = cv2.remap(window, map_x, map_y, interpolation, borderMode=cv2.BORDER_REPLICATE)
    across = (centres + origin[0] >= 0) & (centres + origin[0] <= photo.width)
    down = (centres + origin[1] >= 0) & (centres + origin[1] <= photo.height)
    return np.maximum(image, 0), down[:, None] & across[None]
