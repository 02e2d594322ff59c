"""Split a posed head into the pieces that a file format stores: one indexed triangle list per part.

The face model keeps one vertex list for everything. A file needs, for each piece, vertices of its own with one normal
and at most one texture coordinate each: skin vertices on a cut of the atlas are doubled, parts are compacted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from facealbedo.core.face_model.model import FaceModel

SKIN = "skin"


@dataclass(frozen=True)
class PartTopology:
    """Which vertices and triangles of the face model make up one piece of a file; the same for every face.

    * ``name``: the face model's name of the part.
    * ``source``: model vertex of each vertex of the piece.
    * ``triangles``: indices into ``source``, counter-clockwise seen from outside, as in the model.
    * ``uv``: atlas coordinates, v down, in [0, 1]; None for a piece without a place in the atlas.
    """

    name: str
    source: Int[np.ndarray, "vertex"]
    triangles: Int[np.ndarray, "triangle 3"]
    uv: Float[np.ndarray, "vertex 2"] | None


@dataclass(frozen=True)
class MeshPart:
    """One piece of a face, ready to be written: world frame, metres, float32.

    ``normals`` are unit and smooth over the whole head, also across the cuts of the atlas.
    """

    topology: PartTopology
    positions: Float[np.ndarray, "vertex 3"]
    normals: Float[np.ndarray, "vertex 3"]

    @property
    def name(self) -> str:
        """The face model's name of the part."""
        return self.topology.name


def part_topologies(model: FaceModel) -> tuple[PartTopology, ...]:
    """Return the pieces of a face model: the skin of the atlas first, then the other parts in the model's order.

    Skin triangles that the atlas leaves out join the part that the model files them under.
    """
    triangles = _to_numpy(model.triangles)
    n_atlas = int(model.n_atlas_triangles)
    skin = PartTopology(
        name=SKIN,
        source=_to_numpy(model.uv_source),
        triangles=_to_numpy(model.uv_triangles),
        uv=np.clip(_to_numpy(model.uv).astype(np.float32), 0.0, 1.0),
    )
    if skin.triangles.shape != (n_atlas, 3):
        raise ValueError(f"uv_triangles must have shape ({n_atlas}, 3), got {skin.triangles.shape}")
    parts = [skin]
    rest, part_of_rest = triangles[n_atlas:], _to_numpy(model.triangle_part)[n_atlas:]
    for index, name in enumerate(model.part_names):
        chosen = rest[part_of_rest == index]
        if len(chosen):
            source, compact = np.unique(chosen, return_inverse=True)
            label = name if name != SKIN else "skin_inner"
            parts.append(PartTopology(label, source, compact.reshape(-1, 3), None))
    return tuple(parts)


def split_mesh(
    topologies: tuple[PartTopology, ...],
    vertices_world: Float[Tensor, "vertex 3"],
    normals_world: Float[Tensor, "vertex 3"],
) -> tuple[MeshPart, ...]:
    """Gather positions and unit normals of every piece.

    Args:
        topologies: from `part_topologies`.
        vertices_world: one head, metres.
        normals_world: smooth normals at the model's vertices; renormalised in float64, so that float32 files hold unit
            vectors. A vertex without area (normal 0) gets +z, since files may not hold zero normals.

    Raises:
        ValueError: positions or normals are not finite.
    """
    positions = _to_numpy(vertices_world).astype(np.float64)
    normals = unit_rows(_to_numpy(normals_world).astype(np.float64))
    if not (np.isfinite(positions).all() and np.isfinite(normals).all()):
        raise ValueError("vertices and normals of a mesh to be written must be finite")
    return tuple(
        MeshPart(part, positions[part.source].astype(np.float32), normals[part.source].astype(np.float32))
        for part in topologies
    )


def unit_rows(vectors: Float[np.ndarray, "row 3"]) -> Float[np.ndarray, "row 3"]:
    """Scale rows to unit length; rows shorter than 1e-12 become (0, 0, 1)."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    fallback = np.broadcast_to(np.array([0.0, 0.0, 1.0]), vectors.shape)
    return np.where(length > 1e-12, vectors / np.maximum(length, 1e-12), fallback)


def _to_numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", copy=False).numpy() if isinstance(tensor, torch.Tensor) else np.asarray(tensor)
