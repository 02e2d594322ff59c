from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from skimage import data as skimage_data

from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.imaging import DecodedImage, DecodeLimits, ImageError, Reason, decode_image

PHOTO = skimage_data.astronaut()[:96, 180:300]  # 96 rows, 120 columns
LOSSLESS = ("PNG", "TIFF", "BMP")


def encode(pixels: np.ndarray | Image.Image, format_name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def reason(data: bytes, limits: DecodeLimits | None = None) -> Reason:
    with pytest.raises(ImageError) as caught:
        decode_image(data, limits)
    assert caught.value.reason.sentence in str(caught.value)
    return caught.value.reason


@pytest.mark.parametrize("format_name", LOSSLESS)
def test_lossless_formats_come_back_exactly(format_name: str):
    image = decode_image(encode(PHOTO, format_name))
    np.testing.assert_array_equal(image.srgb, PHOTO)
    assert (image.original_width, image.original_height, image.bits) == (120, 96, 8)
    assert (image.format, image.notes) == (format_name, ())


@pytest.mark.parametrize(("format_name", "options"), [("JPEG", {"quality": 95}), ("WEBP", {}), ("AVIF", {})])
def test_lossy_formats_come_back_nearly(format_name: str, options: dict[str, int]):
    image = decode_image(encode(PHOTO, format_name, **options))
    assert image.srgb.shape == PHOTO.shape
    assert np.abs(image.srgb.astype(int) - PHOTO).mean() < 6


def test_first_frame_of_a_gif():
    first, second = (Image.new("P", (40, 30), index) for index in (1, 2))
    for frame in (first, second):
        frame.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image = decode_image(encode(first, "GIF", save_all=True, append_images=[second]))
    np.testing.assert_array_equal(image.srgb, np.broadcast_to([255, 0, 0], (30, 40, 3)))


def test_linear_follows_the_published_curve():
    codes = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (20, 1, 3))
    linear = DecodedImage.from_srgb(codes).linear()
    encoded = np.arange(256) / 255
    expected = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)  # IEC 61966-2-1
    assert linear.dtype == torch.float32
    assert linear.shape == (3, 20, 256)
    np.testing.assert_allclose(linear[1, 7].numpy(), expected, rtol=1e-6, atol=1e-8)


def test_linear_pixels_is_a_part_of_linear():
    image = DecodedImage.from_srgb(PHOTO)
    part = image.linear_pixels(10, 30, 5, 25)
    np.testing.assert_array_equal(part, image.linear()[:, 10:30, 5:25].numpy().transpose(1, 2, 0))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format_name", ["PNG", "TIFF"])
def test_exif_orientation_is_undone(orientation: int, format_name: str):
    # What a camera held that way stores, in terms of Pillow's own operations (inverse of what viewers do).
    operations = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = Image.fromarray(PHOTO)
    stored = upright if orientation == 1 else upright.transpose(operations[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode_image(encode(stored, format_name, exif=exif.tobytes()))
    np.testing.assert_array_equal(image.srgb, PHOTO)
    assert (image.original_width, image.original_height) == (120, 96)


def test_orientation_of_a_16_bit_file():
    deep = np.arange(40 * 60 * 3, dtype=np.uint16).reshape(40, 60, 3) * 9
    png = cv2.imencode(".png", np.ascontiguousarray(np.rot90(deep)[..., ::-1]))[1].tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    chunk = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    image = decode_image(png[:33] + chunk + png[33:])
    np.testing.assert_array_equal(image.pixels_srgb, deep)


@pytest.mark.parametrize("orientation", [0, 9, 4711])
def test_nonsense_orientation_counts_as_upright(orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(decode_image(encode(PHOTO, "PNG", exif=exif.tobytes())).srgb, PHOTO)


@pytest.mark.parametrize("extension", [".png", ".tiff"])
def test_16_bits_are_kept(extension: str):
    deep = np.random.default_rng(0).integers(0, 65536, (33, 41, 3)).astype(np.uint16)
    data = cv2.imencode(extension, np.ascontiguousarray(deep[..., ::-1]))[1].tobytes()
    image = decode_image(data)
    assert image.bits == 16
    np.testing.assert_array_equal(image.pixels_srgb, deep)
    np.testing.assert_array_equal(image.srgb, np.round(deep / 257).astype(np.uint8))
    np.testing.assert_allclose(image.linear().numpy().max(), 1, atol=1e-3)


def test_16_bit_transparency_and_grey():
    deep = np.full((30, 40, 4), 40000, np.uint16)
    deep[:, :20, 3] = 65535
    deep[:, 20:, 3] = 0
    image = decode_image(cv2.imencode(".png", deep)[1].tobytes())
    assert image.bits == 16
    assert np.unique(image.pixels_srgb[:, :20]).tolist() == [40000]
    assert np.unique(image.pixels_srgb[:, 20:]).tolist() == [128 * 257]
    ramp = np.tile(np.arange(0, 65000, 1000, dtype=np.uint16), (30, 1))
    grey = decode_image(cv2.imencode(".png", ramp)[1].tobytes())
    np.testing.assert_array_equal(grey.pixels_srgb, np.repeat(ramp[..., None], 3, axis=2))


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "PA", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_becomes_three_channels(mode: str):
    format_name = "TIFF" if mode in {"CMYK", "YCbCr"} else "PNG"
    source = Image.fromarray(PHOTO).convert(mode)
    if mode == "PA":
        source = Image.fromarray(PHOTO).convert("P")
        source.info["transparency"] = 3
        data = encode(source, format_name, transparency=3)
    else:
        data = encode(source, format_name)
    image = decode_image(data)
    assert image.srgb.shape == PHOTO.shape
    expected = np.asarray(Image.fromarray(PHOTO).convert("L" if mode in {"L", "LA", "1"} else "RGB").convert("RGB"))
    # A bilevel picture is dithered and a palette has 256 colours: right on average.
    assert abs(float(image.srgb.mean()) - float(expected.mean())) < 4


def test_transparent_pixels_become_mid_grey():
    alpha = np.full(PHOTO.shape[:2], 255, np.uint8)
    alpha[:, :50] = 0
    alpha[:, 50:60] = 128
    image = decode_image(encode(np.dstack([PHOTO, alpha]), "PNG"))
    np.testing.assert_array_equal(image.srgb[:, 60:], PHOTO[:, 60:])
    assert np.unique(image.srgb[:, :50]).tolist() == [128]
    halfway = (PHOTO[:, 50:60].astype(float) + 128) / 2
    assert np.abs(image.srgb[:, 50:60] - halfway).max() <= 1.5
    assert image.notes == ("transparent parts laid over mid-grey",)


def test_an_opaque_alpha_channel_is_not_worth_a_note():
    image = decode_image(encode(np.dstack([PHOTO, np.full(PHOTO.shape[:2], 255, np.uint8)]), "PNG"))
    np.testing.assert_array_equal(image.srgb, PHOTO)
    assert image.notes == ()


def test_cmyk_of_adobe_is_not_taken_as_a_negative():
    # Pillow writes CMYK JPEGs inverted, as Adobe does, with the marker that says so.
    image = decode_image(encode(Image.fromarray(PHOTO).convert("CMYK"), "JPEG", quality=95))
    assert np.corrcoef(image.srgb.ravel(), PHOTO.ravel())[0, 1] > 0.99
    assert any("CMYK" in note for note in image.notes)


def wide_profile() -> bytes:
    """An RGB profile with other primaries (red and green swapped) made from Pillow's sRGB profile."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    tags = {}
    for index in range(struct.unpack_from(">I", profile, 128)[0]):
        name, offset, size = struct.unpack_from(">4sII", profile, 132 + 12 * index)
        tags[name] = (offset, size)
    (red, size), (green, _) = tags[b"rXYZ"], tags[b"gXYZ"]
    profile[red : red + size], profile[green : green + size] = (
        profile[green : green + size],
        profile[red : red + size],
    )
    return bytes(profile)


def test_an_embedded_profile_is_applied():
    image = decode_image(encode(PHOTO, "PNG", icc_profile=wide_profile()))
    # With the primaries of red and green swapped, so are the channels.
    assert np.abs(image.srgb.astype(int) - PHOTO[..., [1, 0, 2]]).max() <= 2
    assert any("profile" in note for note in image.notes)


def test_the_srgb_profile_changes_nothing():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = decode_image(encode(PHOTO, "PNG", icc_profile=profile))
    np.testing.assert_array_equal(image.srgb, PHOTO)
    assert image.notes == ()


@pytest.mark.parametrize("profile", [b"rubbish" * 40, wide_profile()[:200]])
def test_a_bad_profile_is_left_out_and_noted(profile: bytes):
    image = decode_image(encode(PHOTO, "PNG", icc_profile=profile))
    np.testing.assert_array_equal(image.srgb, PHOTO)
    assert any("unusable" in note for note in image.notes)


def test_a_profile_of_another_colour_space_is_left_out():
    image = decode_image(encode(Image.fromarray(PHOTO).convert("L"), "PNG", icc_profile=wide_profile()))
    assert any("unusable" in note for note in image.notes)
    np.testing.assert_array_equal(image.srgb[..., 0], np.asarray(Image.fromarray(PHOTO).convert("L")))


def test_a_profile_on_16_bits_is_applied_with_8():
    deep = PHOTO.astype(np.uint16) * 257
    png = cv2.imencode(".png", np.ascontiguousarray(deep[..., ::-1]))[1].tobytes()
    packed = b"iCCP" + b"x\0\0" + zlib.compress(wide_profile())
    chunk = struct.pack(">I", len(packed) - 4) + packed + struct.pack(">I", zlib.crc32(packed))
    image = decode_image(png[:33] + chunk + png[33:])
    assert image.bits == 8
    assert np.abs(image.srgb.astype(int) - PHOTO[..., [1, 0, 2]]).max() <= 2
    assert len(image.notes) == 2


def test_files_that_are_no_images():
    assert reason(b"") is Reason.EMPTY
    assert reason(b"These are words, not a picture.\n" * 40) is Reason.NOT_AN_IMAGE
    assert reason(b"\x00" * 5000) is Reason.NOT_AN_IMAGE
    assert reason(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic" + b"\x00" * 200) is Reason.UNSUPPORTED_FORMAT
    assert reason(b"%PDF-1.7\n" + b"\x00" * 200) is Reason.UNSUPPORTED_FORMAT
    assert reason(b'<svg xmlns="http://www.w3.org/2000/svg"/>') is Reason.UNSUPPORTED_FORMAT
    # A format that Pillow opens by starting Ghostscript is not on the list.
    assert reason(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n") is Reason.NOT_AN_IMAGE


def test_floating_point_pixels_are_refused():
    data = encode(Image.fromarray(np.ones((40, 40), np.float32)), "TIFF")
    assert reason(data) is Reason.UNSUPPORTED_PIXELS


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "AVIF", "BMP"])
@pytest.mark.parametrize("part", [0.001, 0.05, 0.5, 0.95])
def test_a_cut_off_file_is_damaged(format_name: str, part: float):
    whole = encode(PHOTO, format_name)
    found = reason(whole[: max(1, int(part * len(whole)))])
    assert found is Reason.DAMAGED or (part < 0.01 and found is Reason.NOT_AN_IMAGE)


def test_sizes():
    assert reason(encode(np.zeros((8, 400, 3), np.uint8), "PNG")) is Reason.TOO_SMALL
    tiny = decode_image(encode(PHOTO[:40, :40], "PNG"))
    assert tiny.srgb.shape == (40, 40, 3)
    assert reason(encode(PHOTO, "PNG"), DecodeLimits(max_megapixels=0.01)) is Reason.TOO_LARGE


def test_a_bomb_is_refused_without_being_unpacked():
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    body = b"IHDR" + header
    chunks = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    pixels = zlib.compress(b"\0" * 10**6)
    chunks += struct.pack(">I", len(pixels)) + b"IDAT" + pixels + struct.pack(">I", zlib.crc32(b"IDAT" + pixels))
    tracemalloc.start()
    assert reason(b"\x89PNG\r\n\x1a\n" + chunks) is Reason.TOO_LARGE
    assert tracemalloc.get_traced_memory()[1] < 10e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("format_name", "mode"),
    # JPEG has neither transparency nor palettes.
    [("JPEG", "RGB"), ("JPEG", "L"), *((name, mode) for name in ("PNG", "WEBP") for mode in ("RGB", "RGBA", "P", "L"))],
)
def test_large_images_are_made_smaller(format_name: str, mode: str):
    smooth = cv2.resize(PHOTO, (501, 402), interpolation=cv2.INTER_CUBIC)
    options = {"lossless": True} if format_name == "WEBP" else {}
    data = encode(Image.fromarray(smooth).convert(mode), format_name, **options)
    image = decode_image(data, DecodeLimits(working_megapixels=0.06))
    assert image.srgb.shape == (201, 251, 3)
    assert (image.original_width, image.original_height) == (501, 402)
    assert any("2 times smaller" in note for note in image.notes)
    expected = cv2.resize(smooth, (251, 201), interpolation=cv2.INTER_AREA)
    if mode == "L":
        expected = np.repeat(np.asarray(Image.fromarray(expected).convert("L"))[..., None], 3, axis=2)
    assert np.abs(image.srgb.astype(int) - expected).mean() < (12 if mode == "P" else 4)


def test_a_large_photo_on_its_side_reports_its_upright_size():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(PHOTO, "JPEG", exif=exif.tobytes())
    image = decode_image(data, DecodeLimits(working_megapixels=0.005))
    assert (image.original_width, image.original_height) == (96, 120)
    assert image.srgb.shape == (60, 48, 3)


def test_pillow_is_left_as_it_was():
    before = Image.MAX_IMAGE_PIXELS
    decode_image(encode(PHOTO, "PNG"), DecodeLimits(max_megapixels=1.0))
    reason(b"no image")
    assert before == Image.MAX_IMAGE_PIXELS


def test_every_reason_has_a_sentence_and_is_for_the_user():
    assert all(len(member.sentence) > 15 for member in Reason)
    assert issubclass(ImageError, FaceAlbedoError)


def test_arrays_are_checked():
    with pytest.raises(ValueError, match="float64"):
        DecodedImage.from_srgb(np.zeros((5, 5, 3)))
    with pytest.raises(ValueError, match=r"\[5, 5\]"):
        DecodedImage.from_srgb(np.zeros((5, 5), np.uint8))
    with pytest.raises(ValueError, match="positive"):
        DecodeLimits(max_megapixels=0.0)
