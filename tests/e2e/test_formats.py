"""One face in every kind of file: what cannot be seen in the picture must not be seen in the result."""

from __future__ import annotations

import io
import struct

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from facealbedo.params.reconstruct import ReconstructParams, RefineParams
from facealbedo.reconstructor import Reconstruction, Reconstructor

# All but the refinement runs as it does for people; it only slows the tests down.
PARAMS = ReconstructParams(texture_px=256, working_px=128, refine=RefineParams(method="prior"))


@pytest.fixture(scope="module")
def reconstructor() -> Reconstructor:
    return Reconstructor(PARAMS)


@pytest.fixture(scope="module")
def face(astronaut: Image.Image) -> Image.Image:
    return astronaut.crop((110, 0, 350, 260))


@pytest.fixture(scope="module")
def plain(reconstructor: Reconstructor, face: Image.Image) -> Reconstruction:
    return only(reconstructor, encoded(face, "PNG"))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def only(reconstructor: Reconstructor, content: bytes) -> Reconstruction:
    (result,) = reconstructor.reconstruct([content])
    return result


def swapped_profile() -> bytes:
    """An RGB profile whose red is sRGB's green and the other way round."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    place = {}
    for index in range(struct.unpack_from(">I", profile, 128)[0]):
        name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        place[name] = slice(offset, offset + size)
    red, green = bytes(profile[place[b"rXYZ"]]), bytes(profile[place[b"gXYZ"]])
    profile[place[b"rXYZ"]], profile[place[b"gXYZ"]] = green, red
    return bytes(profile)


def assert_same_face(result: Reconstruction, plain: Reconstruction, ita: float, log_light: float) -> None:
    assert result.status == "done", result.reason
    for name in ("yaw_degrees", "pitch_degrees"):
        assert result.numbers["fit"][name] == pytest.approx(plain.numbers["fit"][name], abs=1.5)
    assert result.numbers["tone"]["ita_degrees"] == pytest.approx(plain.numbers["tone"]["ita_degrees"], abs=ita)
    ratio = result.numbers["light"]["exposure"] / plain.numbers["light"]["exposure"]
    assert abs(np.log(ratio)) < log_light


def test_16_bits_give_the_same_face_as_8(
    reconstructor: Reconstructor, face: Image.Image, plain: Reconstruction
) -> None:
    deep = np.asarray(face).astype(np.uint16) * 257
    content = cv2.imencode(".png", np.ascontiguousarray(deep[..., ::-1]))[1].tobytes()
    result = only(reconstructor, content)
    assert_same_face(result, plain, ita=0.5, log_light=0.01)
    torch.testing.assert_close(result.crop.image, plain.crop.image, atol=2e-3, rtol=0)


def test_a_colour_profile_is_applied_before_anything_is_measured(
    reconstructor: Reconstructor, face: Image.Image, plain: Reconstruction
) -> None:
    """Red and green are swapped in the file and swapped back by its profile; without it the skin would be green."""
    swapped = Image.fromarray(np.asarray(face)[..., [1, 0, 2]])
    result = only(reconstructor, encoded(swapped, "PNG", icc_profile=swapped_profile()))
    # The profile's tables are rounded: two of 255 levels.
    assert_same_face(result, plain, ita=2, log_light=0.05)
    assert any("profile" in note for note in result.numbers["input"]["notes"])
    ignored = only(reconstructor, encoded(swapped, "PNG"))
    assert abs(ignored.numbers["tone"]["ita_degrees"] - plain.numbers["tone"]["ita_degrees"]) > 4


def test_cmyk_gives_nearly_the_same_face(
    reconstructor: Reconstructor, face: Image.Image, plain: Reconstruction
) -> None:
    result = only(reconstructor, encoded(face.convert("CMYK"), "JPEG", quality=95))
    assert_same_face(result, plain, ita=5, log_light=0.15)
    assert any("CMYK" in note for note in result.numbers["input"]["notes"])


def test_100_megapixels_give_the_same_face(
    reconstructor: Reconstructor, face: Image.Image, plain: Reconstruction
) -> None:
    large = face.resize((9600, 10400), Image.Resampling.BICUBIC)
    result = only(reconstructor, encoded(large, "JPEG", quality=70))
    assert_same_face(result, plain, ita=5, log_light=0.15)
    assert (result.numbers["input"]["width"], result.numbers["input"]["height"]) == (9600, 10400)
    assert result.crop.side <= PARAMS.crop.max_size_px


def test_more_than_the_limit_is_refused_with_the_number(reconstructor: Reconstructor) -> None:
    # One bit a pixel: a small file whose header promises 144 megapixels.
    result = only(reconstructor, encoded(Image.new("1", (12_000, 12_000)), "PNG"))
    assert result.status == "failed"
    assert "144 megapixels, at most 120" in result.reason


@pytest.mark.parametrize("side", [40, 64])
def test_tiny_photos_are_done_or_refused_for_their_size(
    reconstructor: Reconstructor, face: Image.Image, side: int
) -> None:
    """A photo of 40 px cannot hold a face of 40 px; neither may end in anything else than a row with a reason."""
    result = only(reconstructor, encoded(face.resize((side, side), Image.Resampling.LANCZOS), "PNG"))
    assert result.status == "rejected"
    assert "too small" in result.reason or "no face" in result.reason
    if side == 64:
        enlarged = only(reconstructor, encoded(face.resize((side * 2, side * 2), Image.Resampling.LANCZOS), "PNG"))
        assert enlarged.status == "done", enlarged.reason
