from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from facealbedo.core.imaging import DecodedImage, decode_image, encode_jpeg_srgb, encode_png_srgb, encode_png_values


@pytest.mark.parametrize("bits", [8, 16])
def test_png_round_trip_is_exact(bits: int):
    codes = np.random.default_rng(1).integers(0, 2**bits, (31, 37, 3)).astype(np.uint8 if bits == 8 else np.uint16)
    again = decode_image(encode_png_srgb(DecodedImage.from_srgb(codes).linear(), bits=bits))
    assert again.bits == bits
    np.testing.assert_array_equal(again.pixels_srgb, codes)


def test_png_stores_the_published_curve():
    linear = torch.tensor([0.0, 0.001, 0.18, 0.5, 1.0, 1.7, -0.3]).expand(3, 20, 7)
    stored = np.asarray(Image.open(io.BytesIO(encode_png_srgb(linear))))
    # 12.92 * 0.001 * 255 = 3.3; 255 * (1.055 * 0.18 ** (1 / 2.4) - 0.055) = 117.6; for 0.5: 187.5
    assert stored[0, :, 0].tolist() == [0, 3, 118, 188, 255, 255, 0]


def test_grey_and_numbers():
    ramp = torch.linspace(0, 1, 256).expand(1, 20, 256)
    grey = Image.open(io.BytesIO(encode_png_values(ramp)))
    assert grey.mode == "L"
    np.testing.assert_array_equal(np.asarray(grey)[3], np.arange(256))
    assert Image.open(io.BytesIO(encode_png_srgb(ramp))).mode == "L"
    assert Image.open(io.BytesIO(encode_jpeg_srgb(ramp))).mode == "L"


def test_jpeg_is_near_and_keeps_colour_resolution():
    stripes = torch.zeros(3, 64, 64)
    stripes[0, :, ::2] = 0.5
    decoded = decode_image(encode_jpeg_srgb(stripes, quality=98)).linear()
    assert (decoded[0, :, ::2].mean() - decoded[0, :, 1::2].mean()) > 0.4


@pytest.mark.parametrize("image", [torch.zeros(2, 5, 5), torch.full((3, 5, 5), torch.nan), torch.zeros(3, 0, 5)])
def test_bad_images_are_named(image: torch.Tensor):
    for encode in (encode_png_srgb, encode_png_values, encode_jpeg_srgb):
        with pytest.raises(ValueError, match=r"expected an image|not finite"):
            encode(image)


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="8 or 16"):
        encode_png_srgb(torch.zeros(3, 5, 5), bits=12)
    with pytest.raises(ValueError, match="quality"):
        encode_jpeg_srgb(torch.zeros(3, 5, 5), quality=0)
