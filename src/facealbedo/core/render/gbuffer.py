"""Geometry at every pixel."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.render.interpolate import covered_by, interpolate
from facealbedo.core.render.rasterize import Rasterizer, get_rasterizer
from facealbedo.core.render.surface import Surface
from facealbedo.core.types import Camera, Fragments, GBuffer


def render_gbuffer(
    model: Surface,
    vertices_view: Float[Tensor, "batch vertex 3"],
    camera: Camera,
    rasterizer: Rasterizer | None = None,
    normals_view: Float[Tensor, "batch vertex 3"] | None = None,
) -> tuple[Fragments, GBuffer]:
    """Rasterise a batch of posed meshes and interpolate position, smooth normal and atlas coordinates.

    Differentiable in vertices and camera (see `Rasterizer.rasterize`).

    Args:
        model: the mesh's topology and atlas, on the device of the vertices.
        vertices_view: metres, view frame.
        camera: of the same batch.
        rasterizer: `get_rasterizer("auto", device)` if not given.
        normals_view: unit normals of the vertices, if the caller has them; else ``model.normals`` makes them.

    Returns:
        The fragments and the g-buffer.
    """
    rasterizer = rasterizer or get_rasterizer("auto", vertices_view.device)
    fragments = rasterizer.rasterize(vertices_view, model.triangles, camera)
    normals = model.normals(vertices_view) if normals_view is None else normals_view
    n_vertices = vertices_view.shape[1]
    finite = torch.where(vertices_view.isfinite(), vertices_view, 0.0)
    both = interpolate(fragments, model.triangles, torch.cat([finite, normals[:, :n_vertices].nan_to_num()], dim=-1))
    skin = covered_by(fragments, model.uv_triangles.shape[0])
    uv = interpolate(fragments, model.uv_triangles, model.uv[None].to(both.dtype))
    return fragments, GBuffer(
        position_view=both[:, :3],
        normal_view=unit(both[:, 3:]),
        uv=uv,
        coverage=fragments.coverage[:, None],
        skin_coverage=skin[:, None],
    )


def unit(vectors: Float[Tensor, "batch 3 *space"]) -> Float[Tensor, "batch 3 *space"]:
    """Normalise along axis 1; 0 stays 0, with gradient 0 (never NaN)."""
    squared = (vectors * vectors).sum(1, keepdim=True)
    nonzero = squared > 0
    return torch.where(nonzero, vectors * torch.where(nonzero, squared, 1.0).rsqrt(), 0.0)
