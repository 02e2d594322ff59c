"""Linear RGB tensors to the bytes of PNG and JPEG files."""

from __future__ import annotations

import io

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt
from numpy import ndarray
from PIL import Image
from torch import Tensor

from facealbedo.core.colour import linear_to_srgb


def encode_png_srgb(linear: Float[Tensor, "channels height width"], bits: int = 8, compression: int = 6) -> bytes:
    """Encode linear RGB (or grey, one channel) as an sRGB PNG.

    Args:
        linear: 3 or 1 channels; values outside [0, 1] are clipped.
        bits: 8 or 16 a channel.
        compression: zlib level, 0 (fast) to 9 (small).

    Raises:
        ValueError: Another number of channels or bits, or a value that is not finite.
    """
    return _encode_png(_codes(linear_to_srgb(_checked(linear)), bits), compression)


def encode_png_values(values: Float[Tensor, "channels height width"], bits: int = 8, compression: int = 6) -> bytes:
    """Encode numbers in [0, 1] that are no colours (masks, visibility) as a PNG without any transfer curve.

    Args:
        values: 3 or 1 channels; values outside [0, 1] are clipped.
        bits: 8 or 16 a channel.
        compression: zlib level, 0 (fast) to 9 (small).

    Raises:
        ValueError: Another number of channels or bits, or a value that is not finite.
    """
    return _encode_png(_codes(_checked(values), bits), compression)


def encode_jpeg_srgb(linear: Float[Tensor, "channels height width"], quality: int = 95) -> bytes:
    """Encode linear RGB (or grey, one channel) as an sRGB JPEG with full colour resolution.

    Args:
        linear: 3 or 1 channels; values outside [0, 1] are clipped.
        quality: 1 to 100.

    Raises:
        ValueError: Another number of channels or quality, or a value that is not finite.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"JPEG quality is 1 to 100, got {quality}")
    codes = _codes(linear_to_srgb(_checked(linear)), bits=8)
    buffer = io.BytesIO()
    Image.fromarray(codes).save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
    return buffer.getvalue()


def _checked(image: Tensor) -> Tensor:
    """The image on the CPU, clipped to [0, 1]."""
    if image.shape[0] not in (1, 3) or image.numel() == 0:
        raise ValueError(f"expected an image [3, height, width] or [1, height, width], got {list(image.shape)}")
    if not bool(torch.isfinite(image).all()):
        raise ValueError("an image to encode has values that are not finite")
    return image.detach().to("cpu", torch.float32).clamp(0, 1)


def _codes(values: Float[Tensor, "channels height width"], bits: int) -> UInt[ndarray, "height width *channels"]:
    """Round values in [0, 1] to integers, channels last; grey without a channel axis."""
    if bits not in (8, 16):
        raise ValueError(f"a PNG has 8 or 16 bits a channel here, got {bits}")
    codes = (values * (2**bits - 1)).round().numpy().astype(np.uint8 if bits == 8 else np.uint16)
    return np.ascontiguousarray(codes[0] if codes.shape[0] == 1 else codes.transpose(1, 2, 0))


def _encode_png(codes: UInt[ndarray, "height width *channels"], compression: int) -> bytes:
    if codes.dtype == np.uint16:  # Pillow writes no 16-bit colour
        ordered = codes[..., ::-1] if codes.ndim == 3 else codes
        written, encoded = cv2.imencode(".png", ordered, [cv2.IMWRITE_PNG_COMPRESSION, compression])
        if not written:
            raise ValueError(f"OpenCV could not write a PNG of shape {list(codes.shape)}")
        return encoded.tobytes()
    buffer = io.BytesIO()
    Image.fromarray(codes).save(buffer, "PNG", compress_level=compression)
    return buffer.getvalue()
