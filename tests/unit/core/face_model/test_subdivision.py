"""Catmull-Clark against closed forms and a second, plain implementation."""

from __future__ import annotations

import numpy as np
import pytest

from facealbedo.core.face_model.subdivision import (
    catmull_clark,
    match_mirrored_faces,
    mirror_of_points,
    symmetric_triangles,
)

CUBE = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
CUBE_QUADS = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])


def plain_catmull_clark(points: np.ndarray, quads: np.ndarray) -> set[tuple[float, ...]]:
    """The textbook's rules, face by face with dictionaries; returns the new points as a set."""
    faces = [tuple(quad) for quad in quads.tolist()]
    face_points = [points[list(face)].mean(axis=0) for face in faces]
    of_edge: dict[frozenset[int], list[int]] = {}
    of_vertex: dict[int, list[int]] = {}
    for number, face in enumerate(faces):
        for here, there in zip(face, face[1:] + face[:1], strict=True):
            of_edge.setdefault(frozenset((here, there)), []).append(number)
            of_vertex.setdefault(here, []).append(number)
    out = list(face_points)
    for edge, around in of_edge.items():
        middle = points[list(edge)].mean(axis=0)
        out.append(middle if len(around) == 1 else (2 * middle + sum(face_points[f] for f in around)) / 4)
    for vertex, around in of_vertex.items():
        edges = [edge for edge in of_edge if vertex in edge]
        rim = [edge for edge in edges if len(of_edge[edge]) == 1]
        if rim:
            ends = [points[next(iter(edge - {vertex}))] for edge in rim]
            out.append(0.75 * points[vertex] + 0.125 * sum(ends))
            continue
        n = len(edges)
        face_mean = sum(face_points[f] for f in around) / len(around)
        edge_mean = sum(points[list(edge)].mean(axis=0) for edge in edges) / n
        out.append((face_mean + 2 * edge_mean + (n - 3) * points[vertex]) / n)
    return {tuple(np.round(point, 9) + 0.0) for point in out}


def grid_with_hole() -> tuple[np.ndarray, np.ndarray]:
    """A bumpy 5 x 4 grid of quads without the one in the middle, and one vertex of valence 3 and 5 each by a fold."""
    index = np.arange(30).reshape(5, 6)
    quads = [
        [index[r, c], index[r, c + 1], index[r + 1, c + 1], index[r + 1, c]]
        for r in range(4)
        for c in range(5)
        if (r, c) != (1, 2)
    ]
    generator = np.random.default_rng(0)
    rows, columns = np.divmod(np.arange(30), 6)
    points = np.stack([columns, rows, generator.normal(size=30)], axis=1).astype(float)
    return points, np.array(quads)


def test_cube_has_the_textbook_points() -> None:
    step = catmull_clark(CUBE_QUADS, 8)
    new = step.matrix @ CUBE
    assert new.shape == (8 + 12 + 6, 3)
    assert step.quads.shape == (24, 4)
    # Corner (Q + 2 R) / 3 = 5/9, edge (2 + 1) / 4 = 3/4 twice and 0, face centre 1.
    np.testing.assert_allclose(new[:8], CUBE * 5 / 9, atol=1e-15)
    np.testing.assert_allclose(np.sort(np.abs(new[8:20]), axis=1), np.tile([0.0, 0.75, 0.75], (12, 1)), atol=1e-15)
    np.testing.assert_allclose(np.sort(np.abs(new[20:]), axis=1), np.tile([0.0, 0.0, 1.0], (6, 1)), atol=1e-15)


@pytest.mark.parametrize("steps", [1, 2])
def test_agrees_with_a_plain_implementation_on_open_and_irregular_meshes(steps: int) -> None:
    for points, quads in (
        grid_with_hole(),
        (CUBE + 0.1 * np.random.default_rng(1).normal(size=CUBE.shape), CUBE_QUADS),
    ):
        current, faces = points, quads
        for _ in range(steps):
            step = catmull_clark(faces, len(current))
            expected = plain_catmull_clark(current, faces)
            current, faces = step.matrix @ current, step.quads
            assert {tuple(np.round(point, 9) + 0.0) for point in current} == expected


def test_rows_are_partitions_of_unity_and_orientation_stays() -> None:
    points, quads = grid_with_hole()
    step = catmull_clark(quads, len(points))
    np.testing.assert_allclose(np.asarray(step.matrix.sum(axis=1)), 1.0, atol=1e-14)
    assert (step.matrix.data > 0).all()
    flat = (step.matrix @ points)[:, :2]
    a, b, _, d = (flat[step.quads[:, corner]] for corner in range(4))
    first, last = b - a, d - a
    assert (first[:, 0] * last[:, 1] - first[:, 1] * last[:, 0] > 0).all()


def test_each_quad_starts_at_its_old_corner() -> None:
    step = catmull_clark(CUBE_QUADS, 8)
    np.testing.assert_array_equal(step.quads[:, 0], CUBE_QUADS.T.ravel())


def test_refuses_what_is_no_manifold() -> None:
    with pytest.raises(ValueError, match="3 faces"):
        catmull_clark(np.array([[0, 1, 2, 3], [0, 1, 4, 5], [0, 1, 6, 7]]), 8)
    with pytest.raises(ValueError, match="must belong"):
        catmull_clark(CUBE_QUADS, 9)


def test_triangulation_is_its_own_mirror_image() -> None:
    step = catmull_clark(CUBE_QUADS, 8)
    points = step.matrix @ CUBE
    mirror = mirror_of_points(points)
    triangles = symmetric_triangles(step.quads, points, mirror)
    assert len(triangles) == 48
    partner = match_mirrored_faces(triangles, mirror)
    np.testing.assert_array_equal(partner[partner], np.arange(48))
    a, b, c = (points[triangles[:, corner]] for corner in range(3))
    assert ((np.cross(b - a, c - a) * (a + b + c)).sum(axis=1) > 0).all(), "a triangle looks inward"
    # The volume under the triangles: the divergence theorem, against that of the plain split of the same quads.
    other = np.concatenate([step.quads[:, [0, 1, 2]], step.quads[:, [0, 2, 3]]])
    volume, second = ((points[t[:, 0]] * np.cross(points[t[:, 1]], points[t[:, 2]])).sum() for t in (triangles, other))
    assert volume == pytest.approx(second, rel=0.05)


def test_asymmetric_points_are_refused() -> None:
    with pytest.raises(ValueError, match="not symmetric"):
        mirror_of_points(CUBE + np.array([0.01, 0.0, 0.0]))
    with pytest.raises(ValueError, match="missing"):
        match_mirrored_faces(np.array([[0, 1, 2]]), np.array([3, 4, 5, 0, 1, 2]))
