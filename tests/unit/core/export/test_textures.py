from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import distance_transform_edt

from facealbedo.core.colour import linear_to_srgb
from facealbedo.core.export.textures import (
    atlas_fill,
    encode_jpeg,
    encode_png,
    fill_of_mask,
    grey8,
    resize_map,
    srgb8_from_linear,
)
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.render.sampling import sample_bilinear
from facealbedo.core.render.uv import atlas_texels


def test_srgb_table_agrees_with_the_formula() -> None:
    values = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = (linear_to_srgb(values) * 255).round().permute(1, 2, 0).numpy()
    ours = srgb8_from_linear(values.float()).astype(int)
    assert np.abs(ours - exact).max() <= 1
    assert (ours != exact).mean() < 0.005


def test_every_grey_level_survives_the_round_trip() -> None:
    levels = np.arange(256, dtype=np.uint8)
    encoded = levels / 255.0
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    image = torch.from_numpy(linear).float().expand(3, 1, 256)
    np.testing.assert_array_equal(srgb8_from_linear(image)[0, :, 1], levels)


def test_values_out_of_range_are_clipped() -> None:
    image = torch.tensor([-1.0, float("nan"), 2.0, float("inf")]).view(1, 1, 4).expand(3, 1, 4)
    np.testing.assert_array_equal(srgb8_from_linear(image)[0, :, 0], [0, 0, 255, 255])
    np.testing.assert_array_equal(grey8(image[0])[0], [0, 0, 255, 255])


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7)])
def test_png_is_lossless_and_jpeg_is_close(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_png(image)))), image)
    smooth = np.broadcast_to(np.linspace(60, 180, 64).reshape((64,) + (1,) * (len(shape) - 1)), (64, 48, *shape[2:]))
    back = np.asarray(Image.open(io.BytesIO(encode_jpeg(smooth.astype(np.uint8), 95))))
    assert back.shape == smooth.shape
    assert np.abs(back - smooth).max() <= 6


def test_jpeg_keeps_full_chroma() -> None:
    picture = Image.open(io.BytesIO(encode_jpeg(np.zeros((16, 16, 3), np.uint8))))
    assert [layer[1:3] for layer in picture.layer] == [(1, 1)] * 3


def test_fill_takes_the_nearest_texel() -> None:
    rng = np.random.default_rng(1)
    mask = rng.random((40, 40)) < 0.05
    fill = fill_of_mask(mask)
    exact = distance_transform_edt(~mask)
    outside = np.stack(np.divmod(fill.outside, 40))
    nearest = np.stack(np.divmod(fill.nearest, 40))
    assert mask.reshape(-1)[fill.nearest].all()
    found = np.hypot(*(outside - nearest))
    # The distance transform in use is exact to a few per cent.
    assert (found <= 1.03 * exact[tuple(outside)] + 0.5).all()
    image = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    filled = fill.apply(image)
    np.testing.assert_array_equal(filled[mask], image[mask])
    np.testing.assert_array_equal(filled[tuple(outside)], image[tuple(nearest)])


def test_fill_refuses_an_empty_atlas_and_other_sizes() -> None:
    with pytest.raises(ValueError, match="no texel"):
        fill_of_mask(np.zeros((4, 4), bool))
    with pytest.raises(ValueError, match="expected a map"):
        fill_of_mask(np.ones((4, 4), bool)).apply(np.zeros((5, 5, 3), np.uint8))


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**31 - 1))
def test_bilinear_sampling_in_the_atlas_never_sees_the_background(seed: int) -> None:
    """Any point of any atlas triangle reads the skin's colour alone, at every mip level that a viewer may use."""
    model = _model()
    mask = atlas_texels(model, 128).mask.numpy()
    image = np.where(mask[..., None], np.uint8(180), np.uint8(0)).repeat(3, axis=2)
    filled = torch.from_numpy(atlas_fill(model, 128).apply(image)).permute(2, 0, 1).float()[None]
    rng = np.random.default_rng(seed)
    corners = model.uv.numpy()[model.uv_triangles.numpy()[rng.integers(0, model.n_atlas_triangles, 500)]]
    weights = rng.dirichlet([1, 1, 1], 500)
    points = torch.from_numpy((corners * weights[..., None]).sum(axis=1)).float()[None, None]
    while filled.shape[-1] >= 4:
        read = sample_bilinear(filled, points * filled.shape[-1])
        assert torch.allclose(read, torch.full_like(read, 180.0))
        filled = torch.nn.functional.avg_pool2d(filled, 2)


def _model() -> FaceModel:
    from facealbedo.assets import load_face_model

    return load_face_model()


def test_resizing_keeps_constant_maps_and_the_mean() -> None:
    constant = torch.full((1, 3, 16, 16), 0.3)
    for size in (8, 16, 48):
        torch.testing.assert_close(resize_map(constant, size), torch.full((1, 3, size, size), 0.3))
    noise = torch.rand(1, 1, 16, 16)
    torch.testing.assert_close(resize_map(noise, 4).mean(), noise.mean())
