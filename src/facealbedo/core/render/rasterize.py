"""Which triangle is seen at each pixel: one protocol, several backends.

The rules (ties, near plane, what is dropped) are in `raster_rules`. Frames and units are those of
`facealbedo.core.types`.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facealbedo.core.render.barycentrics import with_gradients
from facealbedo.core.types import Camera, Fragments

logger = logging.getLogger(__name__)

BackendName = Literal["auto", "numba", "triton", "pytorch3d"]


@runtime_checkable
class Backend(Protocol):
    """Draws checked input, without gradients."""

    name: str

    def draw(
        self, vertices_view: Float[Tensor, "batch vertex 3"], triangles: Int[Tensor, "triangle 3"], camera: Camera
    ) -> Fragments:
        """Draw; ``vertices_view`` is float32 or float64, nothing is empty, indices are in range."""
        ...


class Rasterizer:
    """Rasterises batches of meshes of one topology with the backend that it was made with.

    ``name`` says which backend that is.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.name = backend.name

    def rasterize(
        self, vertices_view: Float[Tensor, "batch vertex 3"], triangles: Int[Tensor, "triangle 3"], camera: Camera
    ) -> Fragments:
        """Find the nearest triangle at every pixel centre.

        Where ``vertices_view`` or the camera asks for gradients, barycentrics and depth carry them (triangle ids are
        constant, so there is no gradient through silhouettes).

        Args:
            vertices_view: metres, view frame. float16 and bfloat16 are drawn in float32, which the result then has.
            triangles: vertex indices; either winding is drawn.
            camera: of the same batch.

        Returns:
            `Fragments` with int32 ids, on the device of the vertices.

        Raises:
            ValueError: batches or devices differ, or the image has no pixels.
            IndexError: a triangle names a vertex that does not exist (on a CUDA device such a triangle is not drawn
                instead: looking would make the device wait).
        """
        _check(vertices_view, triangles, camera)
        if vertices_view.dtype in {torch.float16, torch.bfloat16}:
            vertices_view = vertices_view.float()
        batch = vertices_view.shape[0]
        if batch == 0 or triangles.shape[0] == 0:
            return _nothing(vertices_view, camera)
        fragments = self._backend.draw(vertices_view, triangles, camera)
        asks = vertices_view.requires_grad or camera.focal_px.requires_grad or camera.principal_px.requires_grad
        if asks and torch.is_grad_enabled():
            return with_gradients(fragments, vertices_view, triangles, camera)
        return fragments


def get_rasterizer(backend: BackendName = "auto", device: torch.device | str = "cpu") -> Rasterizer:
    """Return a rasteriser for tensors on ``device``; its ``name`` says which backend it is.

    Args:
        backend: ``triton`` (CUDA), ``numba`` (CPU), ``pytorch3d`` (both, slow, the reference), or ``auto``: triton on
            CUDA (pytorch3d, with a warning, where Triton is not installed), numba on the CPU.
        device: where the vertices will be.

    Raises:
        ValueError: unknown backend, or one that cannot work on that device.
        ImportError: the backend's package is not installed.
    """
    if backend not in get_args(BackendName):
        raise ValueError(f"unknown rasteriser {backend!r}; choose one of {', '.join(get_args(BackendName))}")
    kind = torch.device(device).type
    chosen = _automatic(kind) if backend == "auto" else backend
    if chosen == "numba" and kind == "cpu":
        from facealbedo.core.render.raster_numba import NumbaRasterizer

        return Rasterizer(NumbaRasterizer())
    if chosen == "triton" and (kind == "cuda" or interpreted()):
        from facealbedo.core.render.raster_triton import TritonRasterizer

        return Rasterizer(TritonRasterizer())
    if chosen == "pytorch3d" and kind in {"cpu", "cuda"}:
        from facealbedo.core.render.raster_pytorch3d import PyTorch3DRasterizer

        return Rasterizer(PyTorch3DRasterizer())
    raise ValueError(f"no rasteriser {backend!r} for device {device}")


def _automatic(kind: str) -> str | None:
    if kind == "cuda" and importlib.util.find_spec("triton") is None:
        logger.warning("Triton is not installed: drawing with pytorch3d, which takes a few hundred times as long")
        return "pytorch3d"
    return {"cuda": "triton", "cpu": "numba"}.get(kind)


def interpreted() -> bool:
    """True if Triton's kernels run in its interpreter, on the CPU: how they are tested without a GPU."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def _check(vertices_view: Tensor, triangles: Tensor, camera: Camera) -> None:
    batch, n_vertices = vertices_view.shape[:2]
    if camera.focal_px.shape[0] != batch or camera.principal_px.shape[0] != batch:
        raise ValueError(f"{batch} meshes but {camera.focal_px.shape[0]} cameras")
    if camera.height < 1 or camera.width < 1:
        raise ValueError(f"the image needs at least one pixel, got {camera.height} x {camera.width}")
    devices = {vertices_view.device, triangles.device, camera.focal_px.device, camera.principal_px.device}
    if len(devices) != 1:
        raise ValueError(f"vertices, triangles and camera must be on one device, got {sorted(map(str, devices))}")
    if vertices_view.device.type == "cpu" and triangles.shape[0]:
        low, high = (int(value) for value in torch.aminmax(triangles))
        if low < 0 or high >= n_vertices:
            raise IndexError(f"triangles name vertices {low} to {high}, but there are only {n_vertices}")


def _nothing(vertices_view: Tensor, camera: Camera) -> Fragments:
    shape = (vertices_view.shape[0], camera.height, camera.width)
    return Fragments(
        torch.full(shape, -1, dtype=torch.int32, device=vertices_view.device),
        vertices_view.new_zeros((*shape, 3)),
        vertices_view.new_full(shape, torch.inf),
    )
