"""Where facial landmarks lie on the face model.

FaceMesh's 468 surface landmarks are found by detection, without hand work: see `core.embed`. Its ten iris
landmarks follow from the eyeballs, and the 68 landmarks of iBUG 300-W from those of FaceMesh.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import cKDTree

from facealbedo.core.face_model.head import EYEBALL_RINGS, EYEBALL_SECTORS, IRIS_DEGREES, N_EYEBALL_VERTICES
from facealbedo.core.face_model.model import FaceModelError, LandmarkEmbedding

N_SURFACE_LANDMARKS = 468

IBUG68_OF_MEDIAPIPE = (
    # Jaw at even steps, from the subject's right ear to the left one; FaceMesh's oval is a silhouette: these slide.
    127, 234, 93, 132, 58, 172, 150, 176, 152, 400, 379, 397, 288, 361, 323, 454, 356,
    # Brows, the subject's right one first.
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    # Bridge of the nose from the root to the tip, then its base from right to left.
    168, 197, 5, 4, 98, 97, 2, 326, 327,
    # Eyes: right, then left; each clockwise in the image from its left corner.
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    # Outer lips clockwise from the right corner, then inner lips.
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87,
)  # fmt: skip
"""FaceMesh's landmark for each of the 68 of iBUG 300-W (the usual correspondence by position)."""


TABLE_FORMAT = "facealbedo-landmark-table-1"
"""First entry of a table's file."""

IRIS_SPREAD_MM = 1.0
"""Spread that the iris landmarks are given; theirs was not measured (they follow the gaze)."""


@dataclass(frozen=True)
class LandmarkTable:
    """Where FaceMesh's 468 surface landmarks lie on the mean face: what `core.embed` finds.

    Args:
        positions: model's frame, metres; exactly symmetric.
        spread_mm: how far each landmark wanders over the surface of rendered heads (median).
        rendered_positions: what the renders alone said.
        provenance: how it was made: settings, counts and the hash of the photos.
    """

    positions: Float[np.ndarray, "landmark 3"]
    spread_mm: Float[np.ndarray, "landmark"]
    rendered_positions: Float[np.ndarray, "landmark 3"]
    provenance: Mapping[str, str]

    def to_json(self) -> bytes:
        """Return the table as JSON, a row a landmark, rounded to a micrometre."""
        rows = [
            {"position_m": np.round(a, 6).tolist(), "rendered_m": np.round(b, 6).tolist(), "spread_mm": round(c, 3)}
            for a, b, c in zip(self.positions, self.rendered_positions, self.spread_mm.tolist(), strict=True)
        ]
        body = ",\n    ".join(json.dumps(row) for row in rows)
        head = json.dumps(dict(self.provenance), indent=2, sort_keys=True).replace("\n", "\n  ")
        text = f'{{\n  "format": "{TABLE_FORMAT}",\n  "provenance": {head},\n  "landmarks": [\n    {body}\n  ]\n}}\n'
        return text.encode()

    @classmethod
    def from_json(cls, data: bytes) -> LandmarkTable:
        """Read what `to_json` wrote.

        Raises:
            FaceModelError: if it is something else.
        """
        try:
            content = json.loads(data)
            rows = content["landmarks"]
            table = cls(
                positions=np.array([row["position_m"] for row in rows], dtype=np.float64),
                spread_mm=np.array([row["spread_mm"] for row in rows], dtype=np.float64),
                rendered_positions=np.array([row["rendered_m"] for row in rows], dtype=np.float64),
                provenance=content["provenance"],
            )
        except (ValueError, KeyError, TypeError) as error:
            raise FaceModelError(f"this is not a table of landmarks: {error!r}") from error
        if content.get("format") != TABLE_FORMAT or table.positions.shape != (N_SURFACE_LANDMARKS, 3):
            raise FaceModelError(
                f"expected {N_SURFACE_LANDMARKS} landmarks in the format {TABLE_FORMAT!r}, got "
                f"{table.positions.shape} in {content.get('format')!r}"
            )
        return table


def iris_embedding(
    triangles: Int[np.ndarray, "triangle 3"], n_vertices: int
) -> tuple[Int[np.ndarray, "landmark"], Float[np.ndarray, "landmark 3"]]:
    """Return triangles and barycentrics of FaceMesh's iris landmarks 468 to 477.

    Right eye first (468 to 472), then the left one: the iris' centre, then its border towards the image's right (the
    subject's left, +x), up, left, and down.

    Args:
        triangles: all triangles of the surface; the eyeballs are its last vertices, the left one first.
        n_vertices: number of vertices.
    """
    ring = 1 + EYEBALL_RINGS.index(IRIS_DEGREES) * EYEBALL_SECTORS
    chosen, weights = [], []
    for eye in (1, 0):
        first = n_vertices - (2 - eye) * N_EYEBALL_VERTICES
        pairs = [(first, first)]
        # Vertices lie half a sector off the axes: the border's extreme is the middle of an edge.
        pairs += [(first + ring + (k - 1) % EYEBALL_SECTORS, first + ring + k) for k in _quarter_turns()]
        for a, b in pairs:
            triangle = int(np.flatnonzero((triangles == a).any(axis=1) & (triangles == b).any(axis=1))[0])
            weight = ((triangles[triangle] == a) + (triangles[triangle] == b)).astype(float)
            chosen.append(triangle)
            weights.append(weight / weight.sum())
    return np.array(chosen), np.array(weights)


def mediapipe478(
    positions: Float[np.ndarray, "surface_landmark 3"],
    spread_mm: Float[np.ndarray, "surface_landmark"],
    points: Float[np.ndarray, "vertex 3"],
    triangles: Int[np.ndarray, "triangle 3"],
    n_atlas_triangles: int,
) -> LandmarkEmbedding:
    """Embed FaceMesh's 478 landmarks: the nearest points of the skin, and the irises.

    Args:
        positions: where the 468 surface landmarks lie (metres, on the mean face or close to it).
        spread_mm: how far they wander.
        points: the mean face's vertices.
        triangles: of all parts, those of the outer skin first.
        n_atlas_triangles: number of the latter.
    """
    triangle, weights = nearest_on_triangles(positions, points[triangles[:n_atlas_triangles]])
    iris_triangle, iris_weights = iris_embedding(triangles, len(points))
    return LandmarkEmbedding(
        triangles=np.concatenate([triangle, iris_triangle]).astype(np.uint16),
        barycentrics=np.concatenate([weights, iris_weights]).astype(np.float32),
        spread_mm=np.concatenate([spread_mm, np.full(len(iris_triangle), IRIS_SPREAD_MM)]).astype(np.float32),
    )


def nearest_on_triangles(
    queries: Float[np.ndarray, "query 3"], corners: Float[np.ndarray, "triangle 3 3"], n_candidates: int = 64
) -> tuple[Int[np.ndarray, "query"], Float[np.ndarray, "query 3"]]:
    """Return the triangle nearest to each point and the barycentrics of the nearest point on it.

    The candidates are the triangles with the nearest centroids: enough for a fine mesh of even triangles.
    """
    candidates = cKDTree(corners.mean(axis=1)).query(queries, n_candidates)[1]
    weights = _nearest_barycentrics(queries[:, None], corners[candidates])
    nearest = np.einsum("qtk,qtkc->qtc", weights, corners[candidates])
    best = np.linalg.norm(nearest - queries[:, None], axis=2).argmin(axis=1)
    row = np.arange(len(queries))
    return candidates[row, best], weights[row, best]


def _nearest_barycentrics(
    point: Float[np.ndarray, "query 1 3"], corners: Float[np.ndarray, "query triangle 3 3"]
) -> Float[np.ndarray, "query triangle 3"]:
    """Barycentrics of the nearest point of each triangle: inside, or on the nearest of its edges."""
    a, b, c = (corners[:, :, k] for k in range(3))
    ab, ac, ap = b - a, c - a, point - a
    d00, d01, d11 = ((x * y).sum(-1) for x, y in ((ab, ab), (ab, ac), (ac, ac)))
    d20, d21 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    determinant = np.maximum(d00 * d11 - d01**2, 1e-30)
    v, w = (d11 * d20 - d01 * d21) / determinant, (d00 * d21 - d01 * d20) / determinant
    options = [np.stack([1.0 - v - w, v, w], axis=-1)]
    for first, second in ((0, 1), (1, 2), (2, 0)):
        start, edge = corners[:, :, first], corners[:, :, second] - corners[:, :, first]
        t = np.clip(((point - start) * edge).sum(-1) / np.maximum((edge**2).sum(-1), 1e-30), 0.0, 1.0)
        on_edge = np.zeros((*t.shape, 3))
        on_edge[..., first], on_edge[..., second] = 1.0 - t, t
        options.append(on_edge)
    stacked = np.stack(options)
    distance = np.linalg.norm(np.einsum("oqtk,qtkc->oqtc", stacked, corners) - point, axis=-1)
    distance[0] = np.where((options[0] >= 0).all(axis=-1), distance[0], np.inf)
    best = distance.argmin(axis=0)
    return np.take_along_axis(stacked, best[None, ..., None], axis=0)[0]


def ibug68_from_mediapipe(mediapipe: LandmarkEmbedding) -> LandmarkEmbedding:
    """Return the embedding of iBUG's 68 landmarks: FaceMesh's at the same places."""
    chosen = np.array(IBUG68_OF_MEDIAPIPE)
    return LandmarkEmbedding(mediapipe.triangles[chosen], mediapipe.barycentrics[chosen], mediapipe.spread_mm[chosen])


def _quarter_turns() -> tuple[int, ...]:
    return tuple(turn * EYEBALL_SECTORS // 4 for turn in range(4))
