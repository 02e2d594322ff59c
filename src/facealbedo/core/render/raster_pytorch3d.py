"""The reference rasteriser: pytorch3d, on CPU and CUDA. Slow (3 s a face on a CPU); for tests and comparisons."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facealbedo.core.geometry.projection import project
from facealbedo.core.render.raster_rules import GUARD_PX, NEAR_METRES
from facealbedo.core.types import Camera, Fragments


class PyTorch3DRasterizer:
    """Draws with ``pytorch3d.renderer.mesh.rasterize_meshes``.

    What this package's rules drop (`raster_rules`) is taken out beforehand. Ties on edges and at equal depth are
    pytorch3d's own, and it ignores triangles of less than 1e-8 of its squared units.

    Raises:
        ImportError: pytorch3d is not installed.
    """

    name = "pytorch3d"

    def __init__(self) -> None:
        # Imported here, so that everything else works without the package.
        from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
        from pytorch3d.structures import Meshes

        self._rasterize_meshes = rasterize_meshes
        self._meshes = Meshes

    def draw(
        self, vertices_view: Float[Tensor, "batch vertex 3"], triangles: Int[Tensor, "triangle 3"], camera: Camera
    ) -> Fragments:
        """Draw checked input (see `rasterize.Rasterizer`), without gradients, in float32."""
        vertices = vertices_view.detach()
        usable = _usable(vertices, camera)
        vertices = torch.where(usable[..., None], vertices, vertices.new_tensor([0.0, 0.0, -1.0])).float()
        faces = triangles.long()
        # A dropped triangle becomes one without area, so that the others keep their numbers.
        drawn = [torch.where(mask[faces].all(1, keepdim=True), faces, 0) for mask in usable]
        ndc = _to_ndc(vertices, camera)
        ids, depth, barycentrics, _ = self._rasterize_meshes(
            self._meshes(list(ndc), drawn),
            image_size=(camera.height, camera.width),
            faces_per_pixel=1,
            perspective_correct=True,
        )
        first = torch.arange(len(ndc), device=ids.device).view(-1, 1, 1) * len(faces)
        covered = ids[..., 0] >= 0
        return Fragments(
            torch.where(covered, ids[..., 0] - first, -1).int(),
            torch.where(covered[..., None], barycentrics[..., 0, :], 0.0).to(vertices_view.dtype),
            torch.where(covered, depth[..., 0], torch.inf).to(vertices_view.dtype),
        )


def _usable(vertices: Tensor, camera: Camera) -> Bool[Tensor, "batch vertex"]:
    """Vertices that the package's rules let triangles have. NaN fails every comparison."""
    depth = -vertices[..., 2]
    inside = (project(vertices, _plain(camera, vertices)).abs() < GUARD_PX).all(-1)
    return (depth >= NEAR_METRES) & (depth < torch.inf) & inside


def _plain(camera: Camera, like: Tensor) -> Camera:
    """The camera without gradients, in the precision of ``like``."""
    focal, principal = camera.focal_px.detach().to(like), camera.principal_px.detach().to(like)
    return Camera(focal, principal, camera.height, camera.width)


def _to_ndc(vertices: Tensor, camera: Camera) -> Float[Tensor, "batch vertex 3"]:
    """pytorch3d's screen space: the shorter side of the image runs from -1 to 1, x to the *left*, y up, z is depth."""
    middle = vertices.new_tensor([camera.width / 2, camera.height / 2])
    flipped = (middle - project(vertices, _plain(camera, vertices))) * (2 / min(camera.height, camera.width))
    return torch.cat([flipped, -vertices[..., 2:]], dim=-1)
