from __future__ import annotations

import io
from functools import cache

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from skimage import data as skimage_data

from facealbedo.core.imaging import DecodedImage, DecodeLimits, ImageError, decode_image

KINDS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "PNG16", "CMYK", "RGBA", "MPO")
LIMITS = DecodeLimits(max_megapixels=0.5, working_megapixels=0.001)


@cache
def sample(kind: str) -> bytes:
    photo = Image.fromarray(skimage_data.astronaut()[:48, 200:264])
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options: dict[str, object] = {"exif": exif.tobytes(), "icc_profile": profile}
    buffer = io.BytesIO()
    if kind == "PNG16":
        Image.fromarray(np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) * 20).save(buffer, "PNG")
    elif kind == "CMYK":
        photo.convert("CMYK").save(buffer, "JPEG")
    elif kind == "RGBA":
        photo.convert("RGBA").save(buffer, "PNG", exif=exif.tobytes())
    elif kind == "MPO":
        photo.save(buffer, "MPO", save_all=True, append_images=[photo], exif=exif.tobytes())
    elif kind in {"BMP", "GIF"}:
        photo.save(buffer, kind)
    else:
        photo.save(buffer, kind, **options)
    return buffer.getvalue()


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """A real file with flipped, removed and inserted bytes, mostly near its beginning, where the headers are."""
    data = bytearray(sample(draw(st.sampled_from(KINDS))))
    for _ in range(draw(st.integers(1, 6))):
        near_start = draw(st.booleans())
        place = draw(st.integers(0, min(len(data) - 1, 200) if near_start else len(data) - 1))
        match draw(st.sampled_from(("flip", "set", "cut", "insert", "end"))):
            case "flip":
                data[place] ^= 1 << draw(st.integers(0, 7))
            case "set":
                data[place] = draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)))
            case "cut":
                del data[place : place + draw(st.integers(1, 20))]
            case "insert":
                data[place:place] = draw(st.binary(min_size=1, max_size=8))
            case "end":
                del data[place:]
        if not data:
            break
    return bytes(data)


def decodes_or_explains(data: bytes) -> bool:
    found: DecodedImage | ImageError
    try:
        found = decode_image(data, LIMITS)
    except ImageError as error:
        found = error
    if isinstance(found, ImageError):
        # A mistake of ours, which the shape checks of the tests would raise, must not pass for a damaged file.
        assert "TypeCheck" not in type(found.__cause__).__name__
        assert found.reason.sentence in str(found)
        return False
    assert found.srgb.dtype == np.uint8
    assert found.srgb.ndim == 3
    assert min(found.srgb.shape) >= 1
    return True


@settings(max_examples=600, deadline=None)
@given(damaged_files())
def test_damaged_files_decode_or_explain(data: bytes):
    decodes_or_explains(data)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_decode_or_explain(data: bytes):
    decodes_or_explains(data)


def test_the_undamaged_samples_decode():
    assert all(decodes_or_explains(sample(kind)) for kind in KINDS)
