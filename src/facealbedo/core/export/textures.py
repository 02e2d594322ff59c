"""Maps as 8-bit pictures: sRGB encoding, filling of what lies outside the atlas, PNG and JPEG files in memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from weakref import WeakKeyDictionary

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from facealbedo.core.colour import linear_to_srgb
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.render.uv import atlas_texels

# Steps of the table that replaces the sRGB power: fine enough that a step is a twentieth of an 8-bit level at black.
_TABLE_STEPS = 1 << 16


def srgb8_from_linear(linear: Float[Tensor, "3 height width"]) -> UInt8[np.ndarray, "height width 3"]:
    """Encode a linear RGB map as 8-bit sRGB; values outside [0, 1] are clipped, NaN becomes 0.

    A table stands for the power: the result is within one level of rounding `linear_to_srgb`.
    """
    steps = torch.nan_to_num(linear.detach(), nan=0.0).clamp(0, 1).mul(_TABLE_STEPS - 1).add_(0.5).to(torch.int32)
    return _srgb_table()[steps.permute(1, 2, 0).contiguous().cpu().numpy()]


def grey8(values: Float[Tensor, "height width"]) -> UInt8[np.ndarray, "height width"]:
    """Scale values in [0, 1] to 8 bits without any transfer function; outside values are clipped, NaN becomes 0."""
    scaled = torch.nan_to_num(values.detach(), nan=0.0).clamp(0, 1) * 255 + 0.5
    return scaled.to(torch.uint8).cpu().numpy()


def encode_png(image: UInt8[np.ndarray, "height width *channel"], level: int = 1) -> bytes:
    """Compress a grey or RGB picture as PNG.

    The fixed filter "up" with a low level is what encodes skin fastest, and smaller than the encoder's own choice.
    """
    options = [cv2.IMWRITE_PNG_COMPRESSION, level, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
    return _encode(".png", image, options)


def encode_jpeg(image: UInt8[np.ndarray, "height width *channel"], quality: int = 92) -> bytes:
    """Compress a grey or RGB picture as JPEG without chroma subsampling."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    return _encode(".jpg", image, options)


def resize_map(
    uv_map: Float[Tensor, "1 channel height width"], resolution: int
) -> Float[Tensor, "1 channel resolution resolution"]:
    """Bring an atlas map to another size: means of texels downward, bilinear upward."""
    if uv_map.shape[-1] == resolution:
        return uv_map
    smaller = resolution < uv_map.shape[-1]
    mode = "area" if smaller else "bilinear"
    return torch.nn.functional.interpolate(
        uv_map, size=(resolution, resolution), mode=mode, align_corners=None if smaller else False
    )


@dataclass(frozen=True)
class AtlasFill:
    """For every texel outside the atlas the nearest one inside, so that no filter or mip level pulls emptiness in.

    * ``mask``: texels inside the atlas; ``outside``, ``nearest``: flat indices (row * width + column).
    """

    mask: Bool[np.ndarray, "height width"]
    outside: Int[np.ndarray, "texel"]
    nearest: Int[np.ndarray, "texel"]

    def apply(self, image: UInt8[np.ndarray, "height width *channel"]) -> UInt8[np.ndarray, "height width *channel"]:
        """Return a copy of a picture in which the texels outside repeat their nearest texel inside."""
        if image.shape[:2] != self.mask.shape:
            raise ValueError(f"expected a map of {self.mask.shape}, got {image.shape}")
        flat = image.reshape(self.mask.size, -1).copy()
        flat[self.outside] = flat[self.nearest]
        return flat.reshape(image.shape)


_FILLS: WeakKeyDictionary[FaceModel, dict[int, AtlasFill]] = WeakKeyDictionary()


def atlas_fill(model: FaceModel, resolution: int) -> AtlasFill:
    """Return (and remember) what fills the texels outside the atlas at a resolution."""
    remembered = _FILLS.setdefault(model, {})
    if resolution not in remembered:
        remembered[resolution] = fill_of_mask(atlas_texels(model, resolution).mask.cpu().numpy())
    return remembered[resolution]


def fill_of_mask(mask: Bool[np.ndarray, "height width"]) -> AtlasFill:
    """Find the nearest texel of the mask for every texel outside it.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("the atlas covers no texel")
    _, labels = cv2.distanceTransformWithLabels(
        (~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    inside = np.flatnonzero(mask)
    texel_of_label = np.zeros(int(labels.max()) + 1, dtype=np.int64)
    texel_of_label[labels.reshape(-1)[inside]] = inside
    outside = np.flatnonzero(~mask)
    return AtlasFill(mask, outside, texel_of_label[labels.reshape(-1)[outside]])


@lru_cache(maxsize=1)
def _srgb_table() -> UInt8[np.ndarray, "step"]:
    linear = torch.linspace(0, 1, _TABLE_STEPS, dtype=torch.float64)
    return (linear_to_srgb(linear) * 255 + 0.5).floor().to(torch.uint8).numpy()


def _encode(extension: str, image: np.ndarray, options: list[int]) -> bytes:
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(extension, image, options)
    if not done:
        raise ValueError(f"a picture of shape {image.shape} could not be encoded as {extension}")
    return data.tobytes()
