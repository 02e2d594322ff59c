from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from facealbedo.core.export.openness import cosine_openness, sphere_directions, visible_share
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.render.occlusion import compute_occlusion
from facealbedo.core.render.synthetic import icosphere


class Plain:
    """A mesh without an atlas."""

    def __init__(self, triangles: Tensor) -> None:
        self.triangles = triangles
        self.uv = torch.zeros(0, 2)
        self.uv_triangles = torch.zeros(0, 3, dtype=torch.long)
        self.uv_mirror = torch.zeros(0, dtype=torch.long)

    def normals(self, vertices: Tensor) -> Tensor:
        return torch.nn.functional.normalize(vertices, dim=-1)


def test_directions_are_even() -> None:
    directions = sphere_directions(200)
    torch.testing.assert_close(directions.norm(dim=1), torch.ones(200))
    assert directions.mean(dim=0).abs().max() < 1e-2
    # Second moment of an even distribution: a third of the identity.
    torch.testing.assert_close(directions.T @ directions / 200, torch.eye(3) / 3, atol=5e-3, rtol=0)
    nearest = (directions @ directions.T - 2 * torch.eye(200)).max(dim=1).values.acos()
    assert nearest.max() / nearest.min() < 1.6


def test_convex_body_shades_nothing_of_itself() -> None:
    vertices, triangles = icosphere(3)
    vertices = 0.1 * vertices
    normals = torch.nn.functional.normalize(vertices, dim=1)
    openness = cosine_openness(Plain(triangles), vertices, normals, sphere_directions(128))
    shading = 4 * openness.sum(dim=1) / 128
    torch.testing.assert_close(shading, torch.ones_like(shading), atol=0.03, rtol=0)


def test_half_the_sky_is_hidden_beside_a_wall() -> None:
    """A point of the ground at the foot of a long wall sees half of its cosine-weighted sky."""
    ground = torch.tensor([[-0.2, 0, -0.2], [0.2, 0, -0.2], [0.2, 0, 0.2], [-0.2, 0, 0.2]])
    wall = torch.tensor([[0, 0, -0.2], [0, 0.2, -0.2], [0, 0.2, 0.2], [0, 0, 0.2]])
    vertices = torch.cat([ground, wall, torch.tensor([[0.006, 0.0, 0.0], [-0.006, 0.0, 0.0]])])
    triangles = torch.tensor([[0, 2, 1], [0, 3, 2], [4, 5, 6], [4, 6, 7], [8, 9, 8]])
    normals = torch.zeros_like(vertices)
    normals[:, 1] = 1
    openness = cosine_openness(Plain(triangles), vertices, normals, sphere_directions(512))
    assert float(4 * openness[8].sum() / 512) == pytest.approx(0.5, abs=0.06)
    # The ground's far corner sees the wall low and aslant.
    assert 0.85 < float(4 * openness[0].sum() / 512) < 0.97


def test_one_direction_behind_and_before_a_sphere() -> None:
    vertices, triangles = icosphere(3)
    points = torch.tensor([[0.0, 0, 1.5], [0, 0, -1.2], [0.5, 0, -1.0], [1.1, 0, -0.2]])
    # The points must lie within the mesh's own reach to be on the depth map, so the sphere is small among them.
    mesh = torch.cat([0.3 * vertices, points])
    seen = visible_share(Plain(triangles), mesh, points, torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]))
    torch.testing.assert_close(seen, torch.tensor([[1.0, 0, 1, 1], [0.0, 1, 1, 1]]))


def test_agrees_with_rays_cast_on_the_head(model: FaceModel) -> None:
    vertices = model.mean
    normals = model.normals(vertices[None])[0]
    ours = 4 * cosine_openness(model, vertices, normals, sphere_directions(96)).sum(dim=1) / 96
    rays = compute_occlusion(vertices.numpy(), normals.numpy(), model.triangles.numpy(), n_directions=96).openness
    skin = torch.unique(model.triangles[: model.n_atlas_triangles])
    difference = (ours - rays)[skin]
    assert float(difference.abs().mean()) < 0.04
    assert float(difference.mean().abs()) < 0.02
    assert float(torch.corrcoef(torch.stack([ours[skin], rays[skin]]))[0, 1]) > 0.95
    assert math.isfinite(float(ours.sum()))
