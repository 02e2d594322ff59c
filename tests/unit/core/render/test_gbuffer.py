from __future__ import annotations

import pytest
import torch

from facealbedo.core.geometry.projection import project
from facealbedo.core.render.gbuffer import render_gbuffer, unit
from facealbedo.core.render.interpolate import interpolate
from facealbedo.core.render.rasterize import get_rasterizer
from facealbedo.core.render.sampling import sample_bilinear
from facealbedo.core.render.synthetic import dome, frontal_camera
from facealbedo.core.types import Camera


def posed(batch: int = 2, cells: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    surface = dome(cells)
    shift = torch.tensor([[0.0, 0.0, -0.7], [0.02, -0.01, -0.6]])[:batch, None]
    return surface.vertices + shift, surface.triangles


def test_affine_functions_of_position_are_reproduced() -> None:
    view, triangles = posed()
    camera = frontal_camera(2, 64)
    fragments = get_rasterizer().rasterize(view, triangles, camera)
    matrix = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    values = interpolate(fragments, triangles, view @ matrix + 1.0)
    # The same function of the points that the depth alone gives.
    y, x = torch.meshgrid(torch.arange(64) + 0.5, torch.arange(64) + 0.5, indexing="ij")
    scale = fragments.depth / camera.focal_px[:, None, None]
    points = torch.stack([(x - 32) * scale, -(y - 32) * scale, -fragments.depth], -1)
    covered = fragments.coverage
    torch.testing.assert_close(values.permute(0, 2, 3, 1)[covered], points[covered] @ matrix + 1.0, atol=1e-4, rtol=0)
    assert (values.permute(0, 2, 3, 1)[~covered] == 0).all()


def test_one_table_for_all_images() -> None:
    view, triangles = posed()
    fragments = get_rasterizer().rasterize(view, triangles, frontal_camera(2, 32))
    shared = torch.rand(1, view.shape[1], 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        interpolate(fragments, triangles, shared), interpolate(fragments, triangles, shared.expand(2, -1, -1))
    )
    with pytest.raises(ValueError, match="batch of 3"):
        interpolate(fragments, triangles, shared.expand(3, -1, -1))


def test_gradients_of_interpolation() -> None:
    surface = dome(4)
    view = (surface.vertices.double() - torch.tensor([0.0013, 0.0021, 0.5], dtype=torch.float64))[None]
    camera = Camera(torch.tensor([30.0], dtype=torch.float64), torch.tensor([[6.1, 6.23]], dtype=torch.float64), 12, 12)
    attributes = torch.randn(1, view.shape[1], 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def values(view: torch.Tensor, attributes: torch.Tensor) -> torch.Tensor:
        return interpolate(get_rasterizer().rasterize(view, surface.triangles, camera), surface.triangles, attributes)

    assert torch.autograd.gradcheck(values, (view.requires_grad_(), attributes.requires_grad_()), eps=1e-7, atol=1e-4)


def test_gbuffer_of_an_ellipsoid_equals_its_closed_form() -> None:
    surface, camera = dome(96), frontal_camera(1, 96)
    view = surface.vertices[None] - torch.tensor([0, 0, 0.7])
    fragments, buffer = render_gbuffer(surface, view, camera)
    assert torch.equal(buffer.coverage[:, 0], fragments.coverage)
    assert torch.equal(buffer.skin_coverage, buffer.coverage)
    inner = buffer.coverage[0, 0] & ((buffer.uv[0] - 0.5).abs().amax(0) < 0.4)
    assert inner.sum() > 500
    radii = torch.tensor([0.08, 0.1, 0.09]).view(3, 1, 1)
    local = buffer.position_view[0] + torch.tensor([0, 0, 0.7]).view(3, 1, 1)
    level = (local / radii).square().sum(0)
    torch.testing.assert_close(level[inner], torch.ones(int(inner.sum())), atol=2e-3, rtol=0)
    normal = unit((local / radii**2)[None])[0]
    torch.testing.assert_close(buffer.normal_view[0][:, inner], normal[:, inner], atol=5e-3, rtol=0)
    assert (buffer.normal_view[0][:, ~buffer.coverage[0, 0]] == 0).all()
    seen_at = project(buffer.position_view[0][:, inner].T[None], camera)[0]
    row, column = inner.nonzero().T
    torch.testing.assert_close(seen_at, torch.stack([column, row], -1) + 0.5, atol=1e-3, rtol=0)


def test_normals_of_nothing_stay_zero_with_zero_gradient() -> None:
    vectors = torch.tensor([[[0.0, 3.0], [0.0, 4.0], [0.0, 0.0]]], requires_grad=True)
    result = unit(vectors)
    torch.testing.assert_close(result[0].T, torch.tensor([[0.0, 0, 0], [0.6, 0.8, 0]]))
    result.sum().backward()
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()
    assert (vectors.grad[..., 0] == 0).all()


def test_nan_vertices_spoil_nothing_but_their_triangles() -> None:
    surface, camera = dome(16), frontal_camera(1, 64)
    view = surface.vertices[None] - torch.tensor([0, 0, 0.7])
    spoiled = view.clone()
    spoiled[0, 5 * 17 + 5] = float("nan")
    fragments, buffer = render_gbuffer(surface, spoiled, camera)
    for value in (buffer.position_view, buffer.normal_view, buffer.uv):
        assert value.isfinite().all()
    missing = render_gbuffer(surface, view, camera)[0].coverage & ~fragments.coverage
    assert 0 < missing.sum() < 40


def test_bilinear_equals_grid_sample() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 7, 9, generator=generator, dtype=torch.float64)
    points = torch.rand(2, 5, 6, 2, generator=generator, dtype=torch.float64) * 14 - 2
    grid = points / torch.tensor([9.0, 7.0], dtype=torch.float64) * 2 - 1
    expected = torch.nn.functional.grid_sample(image, grid, padding_mode="border", align_corners=False)
    torch.testing.assert_close(sample_bilinear(image, points), expected)
    one_texel = sample_bilinear(image[..., :1, :1], points)
    torch.testing.assert_close(one_texel, image[..., :1, :1].expand_as(one_texel))


def test_bilinear_gradients() -> None:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(1, 2, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    points = (torch.rand(1, 2, 3, 2, generator=generator, dtype=torch.float64) * 3 + 0.7).requires_grad_()
    assert torch.autograd.gradcheck(sample_bilinear, (image, points))
