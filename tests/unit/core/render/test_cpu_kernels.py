"""The fast paths must be indistinguishable from the torch code that carries gradients."""

from __future__ import annotations

import pytest
import torch

from facealbedo.core.render import uv
from facealbedo.core.render.interpolate import interpolate
from facealbedo.core.render.rasterize import get_rasterizer
from facealbedo.core.render.sampling import sample_bilinear, sample_prefiltered
from facealbedo.core.render.synthetic import dome, frontal_camera

DTYPES = [torch.float32, torch.float64]


def close(fast: torch.Tensor, slow: torch.Tensor) -> None:
    assert slow.requires_grad
    assert not fast.requires_grad
    assert fast.dtype == slow.dtype
    torch.testing.assert_close(fast, slow.detach(), atol=1e-5 if fast.dtype == torch.float32 else 1e-12, rtol=0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shared", [False, True])
def test_interpolation(dtype: torch.dtype, shared: bool) -> None:
    surface = dome(8)
    view = surface.vertices.to(dtype) + torch.tensor([[[0.0, 0, -0.7]], [[0.01, 0, -0.6]]], dtype=dtype)
    fragments = get_rasterizer().rasterize(view, surface.triangles, frontal_camera(2, 150))
    values = torch.randn(1 if shared else 2, view.shape[1], 3, generator=torch.Generator().manual_seed(0), dtype=dtype)
    some = surface.triangles[:50]  # triangles beyond the table's end are not covered
    for table in (surface.triangles, some):
        slow = interpolate(fragments, table, values.clone().requires_grad_())
        close(interpolate(fragments, table, values), slow)
    with torch.no_grad():
        assert not interpolate(fragments, some, values.clone().requires_grad_()).requires_grad


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(7, 9), (1, 1), (1, 5), (64, 33)])
@pytest.mark.parametrize("shared", [False, True])
def test_readings(dtype: torch.dtype, size: tuple[int, int], shared: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1 if shared else 2, 3, *size, generator=generator, dtype=dtype)
    points = torch.rand(2, 40, 11, 2, generator=generator, dtype=dtype) * 80 - 8
    points[0, 0, 0] = float("nan")
    footprint = torch.rand(2, 40, 11, generator=generator, dtype=dtype) * 40
    wants = image.clone().requires_grad_()
    close(sample_bilinear(image, points), sample_bilinear(wants, points))
    for max_level in (None, 0, 2, 30):
        fast, slow = (sample_prefiltered(value, points, footprint, max_level) for value in (image, wants))
        close(fast, slow)


def test_unwrap() -> None:
    surface, camera = dome(16), frontal_camera(1, 96)
    view = (surface.vertices - torch.tensor([0, 0, 0.7]))[None]
    photo = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    fragments = get_rasterizer().rasterize(view, surface.triangles, camera)
    fast, slow = (
        uv.unwrap(
            surface, photo.clone().requires_grad_(wants), view.clone().requires_grad_(wants), camera, fragments, 64
        )
        for wants in (False, True)
    )
    close(fast.uv_texture, slow.uv_texture)
    close(fast.uv_normal_view, slow.uv_normal_view)
    torch.testing.assert_close(fast.uv_visibility, slow.uv_visibility, atol=1e-5, rtol=0)
