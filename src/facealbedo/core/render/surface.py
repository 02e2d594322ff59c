"""What the renderer needs to know of a mesh: a part of `FaceModel`, so that any mesh with an atlas can be drawn."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class Surface(Protocol):
    """A mesh of fixed topology, part of which has a place in a left-right symmetric atlas.

    * ``triangles`` [T, 3]: vertex indices; the triangles of the atlas come first.
    * ``uv`` [C, 2]: atlas coordinates in [0, 1], v down; ``uv_triangles`` [A, 3]: rows of ``uv`` of the first A
      triangles; ``uv_mirror`` [C]: the atlas vertex at (1 - u, v).
    """

    @property
    def triangles(self) -> Tensor:
        """Vertex indices [T, 3]."""
        ...

    @property
    def uv(self) -> Tensor:
        """Atlas coordinates [C, 2]."""
        ...

    @property
    def uv_triangles(self) -> Tensor:
        """Atlas vertex indices [A, 3]."""
        ...

    @property
    def uv_mirror(self) -> Tensor:
        """Atlas vertex on the other side [C]."""
        ...

    def normals(self, vertices: Tensor) -> Tensor:
        """Smooth unit normals [batch, vertex, 3] in the frame of ``vertices``."""
        ...
