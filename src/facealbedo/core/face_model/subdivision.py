"""Catmull-Clark subdivision of quad meshes as a sparse matrix.

Catmull and Clark, "Recursively generated B-spline surfaces on arbitrary topological meshes", Computer-Aided Design 10
(1978). Boundaries are subdivided as cubic B-spline curves (Nasri's rule), so that an open edge stays put.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Subdivision:
    """One subdivision step.

    Args:
        matrix: ``[n_new, n_old]``, each row sums to 1. New vertices are the old ones (moved), then one an edge, then
            one a face.
        quads: the new quads; quad ``k * n_faces + f`` lies at corner ``k`` of the old face ``f`` and starts there.
    """

    matrix: sp.csr_matrix
    quads: Int[np.ndarray, "new_quad 4"]


def catmull_clark(quads: Int[np.ndarray, "quad 4"], n_vertices: int) -> Subdivision:
    """Return one Catmull-Clark step of a quad mesh with consistently oriented faces, open or closed.

    Args:
        quads: vertex indexes, counter-clockwise seen from outside.
        n_vertices: number of vertices; each must belong to a quad.

    Raises:
        ValueError: if an edge has more than two faces, or a vertex none.
    """
    n_faces = len(quads)
    face_index = np.repeat(np.arange(n_faces), 4)
    half_edges = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    edges, edge_of_corner, faces_of_edge = np.unique(
        np.sort(half_edges, axis=1), axis=0, return_inverse=True, return_counts=True
    )
    edge_of_corner = edge_of_corner.reshape(-1)
    if faces_of_edge.max() > 2:
        raise ValueError(f"an edge has {faces_of_edge.max()} faces; the mesh must be a manifold")
    n_edges = len(edges)
    valence = np.bincount(edges.ravel(), minlength=n_vertices)
    if len(valence) > n_vertices or (valence == 0).any():
        raise ValueError(f"every one of the {n_vertices} vertices must belong to a quad")

    face_points = _matrix(face_index, quads.ravel(), 0.25, (n_faces, n_vertices))
    midpoints = _matrix(np.repeat(np.arange(n_edges), 2), edges.ravel(), 0.5, (n_edges, n_vertices))
    edge_faces = _matrix(edge_of_corner, face_index, 1.0, (n_edges, n_faces))
    vertex_faces = _matrix(quads.ravel(), face_index, 1.0, (n_vertices, n_faces))
    vertex_edges = _matrix(edges.ravel(), np.repeat(np.arange(n_edges), 2), 1.0, (n_vertices, n_edges))

    edge_is_inner = faces_of_edge == 2
    inner_edges, border_edges = sp.diags(edge_is_inner.astype(float)), sp.diags((~edge_is_inner).astype(float))
    edge_points = inner_edges @ (0.5 * midpoints + 0.25 * edge_faces @ face_points) + border_edges @ midpoints

    on_border = np.zeros(n_vertices, dtype=bool)
    on_border[edges[~edge_is_inner].ravel()] = True
    n_vertex_faces = np.bincount(quads.ravel(), minlength=n_vertices)
    # Inner: (mean of face points + 2 * mean of edge midpoints + (valence - 3) * vertex) / valence.
    inner = (
        sp.diags(1.0 / (valence * n_vertex_faces)) @ vertex_faces @ face_points
        + sp.diags(2.0 / valence**2) @ vertex_edges @ midpoints
        + sp.diags((valence - 3.0) / valence)
    )
    # Border: 1/8, 3/4, 1/8 along the curve = half the vertex, a quarter of each of the two midpoints.
    border = 0.25 * vertex_edges @ border_edges @ midpoints + 0.5 * sp.eye(n_vertices)
    vertex_points = sp.diags((~on_border).astype(float)) @ inner + sp.diags(on_border.astype(float)) @ border

    matrix = sp.vstack([vertex_points, edge_points, face_points]).tocsr()
    matrix.eliminate_zeros()
    matrix.sort_indices()
    edge_vertex = n_vertices + edge_of_corner.reshape(n_faces, 4)
    face_vertex = n_vertices + n_edges + np.arange(n_faces)
    new_quads = [
        np.stack([quads[:, k], edge_vertex[:, k], face_vertex, edge_vertex[:, k - 1]], axis=1) for k in range(4)
    ]
    return Subdivision(matrix=matrix, quads=np.concatenate(new_quads))


def mirror_of_points(points: Float[np.ndarray, "vertex 3"], tolerance: float = 1e-6) -> Int[np.ndarray, "vertex"]:
    """Return for each point the index of its mirror image in the plane x = 0.

    Args:
        points: positions, any unit.
        tolerance: greatest distance between a mirrored point and its partner, in the unit of ``points``.

    Raises:
        ValueError: if the points are not symmetric, or two partners disagree.
    """
    from scipy.spatial import cKDTree  # noqa: PLC0415 - only the build needs it; loading a model does not

    distance, partner = cKDTree(points).query(points * [-1.0, 1.0, 1.0])
    if distance.max() > tolerance:
        raise ValueError(f"the points are not symmetric: a mirror image is {distance.max():.3g} away")
    if not np.array_equal(partner[partner], np.arange(len(points))):
        raise ValueError("the mirror map is not an involution: some points coincide")
    return partner


def symmetric_triangles(
    quads: Int[np.ndarray, "quad 4"], points: Float[np.ndarray, "vertex 3"], mirror: Int[np.ndarray, "vertex"]
) -> Int[np.ndarray, "triangle 3"]:
    """Split quads into triangles such that the mirror image of every triangle is a triangle.

    Quads on the side x > 0 are cut along their first diagonal, their mirror images along the mirrored one.

    Args:
        quads: a mesh that is symmetric under ``mirror`` and has no quad across the plane x = 0.
        points: positions, to tell the sides apart.
        mirror: partner of each vertex.

    Returns:
        Triangles ``2 q`` and ``2 q + 1`` of each quad ``q``, oriented like it.

    Raises:
        ValueError: if a quad has no mirror image or straddles the plane.
    """
    side = points[quads].mean(axis=1)[:, 0]
    if (np.abs(side) < 1e-9).any():
        raise ValueError("a quad straddles the mirror plane")
    partner = match_mirrored_faces(quads, mirror)
    first = quads.copy()
    right = side < 0
    # The mirrored partner, reversed to keep the orientation and started so that the same diagonal is used.
    first[right] = mirror[quads[partner[right]]][:, [2, 1, 0, 3]]
    return first[:, [[0, 1, 2], [0, 2, 3]]].reshape(-1, 3)


def match_mirrored_faces(
    faces: Int[np.ndarray, "face corner"], mirror: Int[np.ndarray, "vertex"]
) -> Int[np.ndarray, "face"]:
    """Return for each face the index of the face with the mirrored vertices.

    Raises:
        ValueError: if a face has no mirror image.
    """
    index = {tuple(sorted(face)): i for i, face in enumerate(faces.tolist())}
    try:
        return np.array([index[tuple(sorted(face))] for face in mirror[faces].tolist()], dtype=np.int64)
    except KeyError as error:
        raise ValueError(f"the face with vertices {error.args[0]} is missing: the mesh is not symmetric") from error


def _matrix(rows: np.ndarray, columns: np.ndarray, value: float, shape: tuple[int, int]) -> sp.csr_matrix:
    return sp.csr_matrix((np.full(len(rows), value), (rows, columns)), shape=shape)
