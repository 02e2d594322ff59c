"""The backends against pytorch3d, the reference."""

from __future__ import annotations

import pytest
import torch

from facealbedo.core.geometry.rotations import euler_degrees_to_matrix
from facealbedo.core.render.rasterize import get_rasterizer
from facealbedo.core.render.synthetic import icosphere
from facealbedo.core.types import Camera, Fragments

pytest.importorskip("pytorch3d", reason="pytorch3d is not installed")


def both(view: torch.Tensor, triangles: torch.Tensor, camera: Camera) -> tuple[Fragments, Fragments]:
    ours, theirs = (get_rasterizer(name).rasterize(view, triangles, camera) for name in ("numba", "pytorch3d"))
    return ours, theirs


def head(level: int, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    vertices, triangles = icosphere(level)
    angles = torch.linspace(-40, 30, batch)
    turned = (vertices * torch.tensor([0.08, 0.1, 0.09])) @ euler_degrees_to_matrix(angles, angles / 2, angles)
    return turned - torch.tensor([0.0, 0.0, 0.65]), triangles


@pytest.mark.parametrize(("height", "width"), [(96, 96), (48, 80), (80, 48)])
def test_same_triangle_depth_and_weights(height: int, width: int) -> None:
    view, triangles = head(3, 2)
    camera = Camera(
        torch.tensor([190.0, 180.0]), torch.tensor([[width / 2 + 3.3, height / 2], [40.2, 30.7]]), height, width
    )
    ours, theirs = both(view, triangles, camera)
    covered = ours.coverage & theirs.coverage
    assert covered.sum() > 1000
    assert (ours.coverage == theirs.coverage).float().mean() > 0.999
    same = covered & (ours.triangle_id == theirs.triangle_id)
    # Away from shared edges: where both give each weight at least 1e-3.
    inner = covered & (ours.barycentrics.amin(-1) > 1e-3) & (theirs.barycentrics.amin(-1) > 1e-3)
    assert same[inner].float().mean() >= 0.999
    assert (ours.depth - theirs.depth)[same].abs().max() < 1e-4
    difference = (ours.barycentrics - theirs.barycentrics)[same].abs().amax(-1)
    # Grazing slivers magnify pytorch3d's float32 rounding; everywhere else both agree to 1e-4.
    assert (difference < 1e-4).float().mean() > 0.999


def test_gradients_to_vertices_equal_theirs() -> None:
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
    from pytorch3d.structures import Meshes

    view, triangles = head(2)
    camera = Camera(torch.tensor([120.0]), torch.tensor([[32.0, 32.0]]), 64, 64)
    weights = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    ours = view.clone().requires_grad_()
    fragments = get_rasterizer("numba").rasterize(ours, triangles, camera)
    theirs = view.clone().requires_grad_()
    depth = -theirs[..., 2:]
    ndc = torch.cat(
        [-theirs[..., :2] * torch.tensor([1.0, 1.0]) * 120 / depth / 32 * torch.tensor([1.0, -1.0]), depth], -1
    )
    ids, z, barycentrics, _ = rasterize_meshes(
        Meshes(list(ndc), [triangles]), 64, faces_per_pixel=1, perspective_correct=True
    )
    agree = (fragments.triangle_id == ids[..., 0]) & fragments.coverage & (fragments.barycentrics.amin(-1) > 1e-3)
    assert agree.sum() > 500
    mask = agree[..., None] * weights

    def loss(weight: torch.Tensor, depth: torch.Tensor) -> torch.Tensor:
        return (weight * mask).sum() + 10 * torch.where(agree, depth, 0.0).sum()

    loss(fragments.barycentrics, fragments.depth).backward()
    loss(barycentrics[..., 0, :], z[..., 0]).backward()
    assert ours.grad is not None
    assert theirs.grad is not None
    relative = (ours.grad - theirs.grad).norm() / theirs.grad.norm()
    assert relative < 1e-3


def test_drops_what_the_rules_drop() -> None:
    view, triangles = head(1)
    spoiled = view.clone()
    spoiled[0, 3] = float("nan")
    spoiled[0, 7, 2] = 0.2  # behind the camera
    camera = Camera(torch.tensor([120.0]), torch.tensor([[32.0, 32.0]]), 64, 64)
    ours, theirs = both(spoiled, triangles, camera)
    assert (ours.coverage != theirs.coverage).sum() <= 2
    assert ours.coverage.any()
    drawn = torch.unique(theirs.triangle_id[theirs.coverage]).long()
    assert not ((triangles[drawn] == 3) | (triangles[drawn] == 7)).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_other_precisions_and_nothing(dtype: torch.dtype) -> None:
    view, triangles = head(1)
    camera = Camera(torch.tensor([60.0]), torch.tensor([[16.0, 16.0]]), 32, 32)
    rasterizer = get_rasterizer("pytorch3d")
    result = rasterizer.rasterize(view.to(dtype), triangles, camera)
    assert result.depth.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert result.coverage.any()
    assert not rasterizer.rasterize(view, triangles[:0], camera).coverage.any()
    assert rasterizer.rasterize(view[:0], triangles, camera[:0]).depth.shape == (0, 32, 32)
