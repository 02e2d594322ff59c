"""Embedded colour profiles (ICC) applied to Pillow images."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image, ImageCms


def to_srgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """Convert an L, RGB, YCbCr, CMYK or LAB image to sRGB, by its embedded profile where it has a good one.

    Relative colorimetric with black point compensation: what photo viewers do. A profile that cannot be used is left
    out, which a sentence in ``notes`` says.
    """
    if image.mode == "YCbCr":
        image = with_profile(image.convert("RGB"), image.info)
    transform = transform_to_srgb(image, image.mode, notes)
    if transform is not None:
        notes.append("colours converted from the embedded profile to sRGB")
        return _applied(image, transform)
    if image.mode == "CMYK":
        notes.append("CMYK without a usable colour profile: its colours are approximate")
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return _applied(image, ImageCms.buildTransform(lab, srgb, "LAB", "RGB"))
    return image.convert("RGB")


def with_profile(image: Image.Image, info: dict[str | tuple[int, int], Any]) -> Image.Image:
    """Hand the profile on: Pillow's conversions between modes keep it or not, depending on the mode."""
    if "icc_profile" in info:
        image.info["icc_profile"] = info["icc_profile"]
    return image


def transform_to_srgb(image: Image.Image, mode: str, notes: list[str]) -> ImageCms.ImageCmsTransform | None:
    """Return the way from an image's profile to sRGB; None when there is none, it changes nothing or is unusable."""
    embedded = image.info.get("icc_profile")
    if not embedded:
        return None
    try:
        transform = ImageCms.buildTransform(
            ImageCms.ImageCmsProfile(io.BytesIO(embedded)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        return None if _is_identity(transform, mode) else transform
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        notes.append(f"its colour profile is unusable, the colours are taken as sRGB ({reason})")
        return None


def _is_identity(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Whether a transform moves none of a grid of colours by more than a rounding step, as for sRGB's own profile."""
    if mode not in {"RGB", "L"}:
        return False
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    probe = colours if mode == "RGB" else colours[..., 0]
    expected = colours if mode == "RGB" else np.repeat(probe[..., None], 3, axis=2)
    moved = np.asarray(_applied(Image.fromarray(np.ascontiguousarray(probe)), transform))
    return int(np.abs(moved.astype(int) - expected).max()) <= 1


def _applied(image: Image.Image, transform: ImageCms.ImageCmsTransform) -> Image.Image:
    converted = ImageCms.applyTransform(image, transform)
    if converted is None:
        raise ValueError("Pillow converted the colours in place, though it was asked for a new image")
    return converted
