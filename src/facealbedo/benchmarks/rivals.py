"""Rasterisers of others that are measured as yardsticks; no dependency, and not used anywhere else."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from facealbedo.core.render.raster_rules import NEAR_METRES
from facealbedo.core.types import Camera, Fragments

logger = logging.getLogger(__name__)
FAR_METRES = 10.0


@lru_cache(maxsize=1)
def _context() -> tuple[Any, Any] | None:
    """The module ``nvdiffrast.torch`` and one of its contexts, or None where it cannot be imported or built."""
    cpp_extension = importlib.import_module("torch.utils.cpp_extension")
    # nvdiffrast imports by name what it built or found built; newer torch no longer registers that.
    loaders = {name: getattr(cpp_extension, name) for name in ("load", "_import_module_from_library")}

    def registering(loader: Callable[..., Any]) -> Callable[..., Any]:
        def load(*arguments: Any, **options: Any) -> Any:
            module = loader(*arguments, **options)
            sys.modules[options.get("name") or arguments[0]] = module
            return module

        return load

    for name, loader in loaders.items():
        setattr(cpp_extension, name, registering(loader))
    try:
        package = importlib.import_module("nvdiffrast.torch")
        return package, package.RasterizeCudaContext()
    except Exception as reason:  # whatever the compiler or the package says: there is no yardstick then
        logger.info("nvdiffrast: %s", str(reason)[:300])
        return None
    finally:
        for name, loader in loaders.items():
            setattr(cpp_extension, name, loader)


class Nvdiffrast:
    """nvdiffrast's CUDA rasteriser: `prepare` and `fragments` are not its work, so only `draw` should be timed.

    Raises:
        ImportError: it cannot be imported or built here.
    """

    def __init__(self, triangles: Tensor, camera: Camera) -> None:
        found = _context()
        if found is None:
            raise ImportError("nvdiffrast cannot be used here")
        self._package, self._context = found
        self._triangles, self._camera = triangles.int().contiguous(), camera

    def prepare(self, view: Tensor) -> Tensor:
        """Clip space."""
        return _clip_space(view, self._camera)

    def draw(self, clip: Tensor) -> Tensor:
        """(u, v, z/w, id + 1) [batch, height, width, 4]."""
        resolution = [self._camera.height, self._camera.width]
        return self._package.rasterize(self._context, clip, self._triangles, resolution, grad_db=False)[0]

    def fragments(self, raw: Tensor, view: Tensor) -> Fragments:
        """The result as ours."""
        return _fragments(raw, view, self._triangles)


def _clip_space(view: Tensor, camera: Camera) -> Tensor:
    """OpenGL's clip coordinates, row 0 of the image at y = -1 (so y is down, as the image's rows)."""
    depth = -view[..., 2]
    focal, centre = camera.focal_px[:, None], camera.principal_px
    x = 2 * (focal * view[..., 0] + centre[:, :1] * depth) / camera.width - depth
    y = 2 * (-focal * view[..., 1] + centre[:, 1:] * depth) / camera.height - depth
    near, far = NEAR_METRES, FAR_METRES
    z = ((far + near) * depth - 2 * far * near) / (far - near)
    return torch.stack([x, y, z, depth], dim=-1).contiguous()


def _fragments(raw: Tensor, view: Tensor, triangles: Tensor) -> Fragments:
    """Nvdiffrast's (u, v, z/w, id + 1) as `Fragments`; u and v are the weights of the first two corners."""
    ids = raw[..., 3].int() - 1
    covered = ids >= 0
    weights = torch.stack([raw[..., 0], raw[..., 1], 1 - raw[..., 0] - raw[..., 1]], dim=-1)
    corners = triangles.long()[ids.clamp(min=0).long()]
    image = torch.arange(len(view), device=view.device).view(-1, 1, 1, 1)
    depth = (-view[..., 2][image, corners] * weights).sum(-1)
    return Fragments(ids, torch.where(covered[..., None], weights, 0.0), torch.where(covered, depth, torch.inf))
