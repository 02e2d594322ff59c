"""Normals against trimesh, the sphere, and numerical gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trimesh

from facealbedo.core.geometry.normals import incident_triangles, triangle_normals, vertex_normals
from facealbedo.core.geometry.rotations import random_rotations


def _bumpy() -> tuple[torch.Tensor, torch.Tensor]:
    sphere = trimesh.creation.icosphere(subdivisions=3, radius=0.1)
    bumps = 1 + 0.2 * np.random.default_rng(0).standard_normal((len(sphere.vertices), 1))
    return torch.from_numpy(sphere.vertices * bumps)[None], torch.from_numpy(np.array(sphere.faces, dtype=np.int64))


def test_agrees_with_trimesh() -> None:
    vertices, triangles = _bumpy()
    mesh = trimesh.Trimesh(vertices[0].numpy(), triangles.numpy(), process=False)
    areas = np.asarray(mesh.area_faces)
    np.testing.assert_allclose(triangle_normals(vertices, triangles)[0].norm(dim=-1).numpy(), 2 * areas, rtol=1e-9)
    sums = np.zeros_like(mesh.vertices)
    np.add.at(sums, mesh.faces.ravel(), np.repeat(mesh.face_normals * areas[:, None], 3, axis=0))
    expected = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    np.testing.assert_allclose(vertex_normals(vertices, triangles)[0].numpy(), expected, atol=1e-9)


def test_sphere_normals_point_outward() -> None:
    sphere = trimesh.creation.icosphere(subdivisions=4)
    vertices = torch.from_numpy(np.array(sphere.vertices))[None]
    normals = vertex_normals(vertices, torch.from_numpy(np.array(sphere.faces, dtype=np.int64)))
    assert (normals * vertices).sum(-1).min() > 0.9999


def test_table_gives_the_same_normals() -> None:
    vertices, triangles = _bumpy()
    table = incident_triangles(triangles, vertices.shape[1])
    rows = [sorted(np.flatnonzero((triangles == vertex).any(1).numpy()).tolist()) for vertex in range(20)]
    assert [[entry for entry in row if entry < len(triangles)] for row in table[:20].tolist()] == rows
    torch.testing.assert_close(vertex_normals(vertices, triangles, table), vertex_normals(vertices, triangles))


def test_turns_with_the_mesh_and_ignores_its_size() -> None:
    vertices, triangles = _bumpy()
    rotation = random_rotations(1, torch.Generator().manual_seed(0), torch.float64)[0]
    normals = vertex_normals(vertices, triangles)
    torch.testing.assert_close(vertex_normals(vertices @ rotation.T, triangles), normals @ rotation.T)
    tiny = vertex_normals((vertices * 1e-4).float(), triangles)  # a head a hundredth of a millimetre large
    torch.testing.assert_close(tiny, normals.float(), atol=1e-3, rtol=0)
    flipped = vertex_normals(vertices, triangles.flip(1))
    torch.testing.assert_close(flipped, -normals)


@pytest.mark.parametrize("with_table", [False, True])
def test_no_area_gives_zero_without_nan(with_table: bool) -> None:
    vertices = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [2, 0, 0], [5, 5, 5]]], requires_grad=True)
    triangles = torch.tensor([[0, 1, 2], [0, 1, 3]])  # the second has no area; vertex 4 has no triangle
    normals = vertex_normals(vertices, triangles, incident_triangles(triangles, 5) if with_table else None)
    up, zero = [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]
    torch.testing.assert_close(normals, torch.tensor([[up, up, up, zero, zero]]))
    normals.sum().backward()
    assert vertices.grad is not None
    assert torch.isfinite(vertices.grad).all()


def test_gradients() -> None:
    vertices = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()
    triangles = torch.tensor([[0, 1, 2], [2, 1, 3], [3, 4, 5], [0, 2, 5]])
    table = incident_triangles(triangles, 6)
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v, triangles), (vertices,))
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v, triangles, table), (vertices,))


def test_bad_meshes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one triangle"):
        vertex_normals(torch.zeros(1, 3, 3), torch.zeros(0, 3, dtype=torch.int64))
    with pytest.raises(ValueError, match="only 3 vertices"):
        incident_triangles(torch.tensor([[0, 1, 7]]), 3)


@pytest.mark.gpu
def test_same_on_cuda_and_repeatable_with_the_table() -> None:
    vertices, triangles = _bumpy()
    table = incident_triangles(triangles, vertices.shape[1]).cuda()
    first, second = (vertex_normals(vertices.cuda(), triangles.cuda(), table) for _ in range(2))
    assert torch.equal(first, second)
    torch.testing.assert_close(first.cpu(), vertex_normals(vertices, triangles))
