"""Work in the atlas: which surface point each texel shows, photos unwrapped into it, regions baked, seams, mirror.

Row 0 of a map is at v = 0; texel (row r, column c) of a map of R x R stands for the point u = (c + 0.5) / R,
v = (r + 0.5) / R. The atlas is symmetric about u = 0.5, so the mirror image of a map is a flip of its width.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facealbedo.core.geometry.projection import project
from facealbedo.core.render import cpu_kernels
from facealbedo.core.render.gbuffer import unit
from facealbedo.core.render.interpolate import covered_by, sum_corners
from facealbedo.core.render.raster_numba import draw_flat
from facealbedo.core.render.sampling import sample_bilinear, sample_prefiltered
from facealbedo.core.render.surface import Surface
from facealbedo.core.types import Camera, Fragments, TensorRecord, UVObservation

DEPTH_TOLERANCE_METRES = 3e-3
# Below this cosine between normal and line of sight nothing is trusted (0.15 lets background in at the cheeks) ...
GRAZING_COSINE = 0.3
# ... and trust is full from this much above it.
COSINE_RAMP = 0.2


@dataclass(frozen=True)
class AtlasTexels(TensorRecord):
    """The surface point of every texel of an atlas map.

    * ``mask``: texels whose centre lies in the atlas; exactly left-right symmetric.
    * ``index``: the flat indices (row * width + column) of these N texels, ascending.
    * ``triangle_id``, ``barycentrics``: of those N texels; a texel and its mirror image name mirrored triangles with
      the same weights.
    """

    mask: Bool[Tensor, "height width"]
    index: Int[Tensor, "texel"]
    triangle_id: Int[Tensor, "texel"]
    barycentrics: Float[Tensor, "texel 3"]


_CACHE: WeakKeyDictionary[Surface, dict[int, AtlasTexels]] = WeakKeyDictionary()


def atlas_texels(model: Surface, resolution: int) -> AtlasTexels:
    """Return (and remember) the surface points of the texels of a ``resolution`` x ``resolution`` map.

    The left half is drawn and the right half is its mirror image, so that symmetry is exact.

    Args:
        model: on any device; the result is on the same.
        resolution: texels a side, even, at least 2.

    Raises:
        ValueError: the resolution is odd, or the atlas is not symmetric.
    """
    if resolution < 2 or resolution % 2:
        raise ValueError(f"the resolution of an atlas map must be even, so that it can be mirrored; got {resolution}")
    remembered = _CACHE.setdefault(model, {})
    if resolution not in remembered:
        remembered[resolution] = _draw_atlas(model, resolution)
    return remembered[resolution]


def _draw_atlas(model: Surface, resolution: int) -> AtlasTexels:
    triangles = np.ascontiguousarray(model.uv_triangles.cpu().numpy())
    points = model.uv.detach().cpu().double().numpy() * resolution
    half = resolution // 2
    left_id, left_weights = draw_flat(points, triangles, resolution, half)
    partner, corner_order = _mirrored_triangles(triangles, model.uv_mirror.cpu().numpy())
    triangle_id = np.full((resolution, resolution), -1, np.int64)
    weights = np.zeros((resolution, resolution, 3))
    triangle_id[:, :half], weights[:, :half] = left_id, left_weights
    covered = left_id >= 0
    mirrored = np.where(covered, partner[left_id], -1)
    if (mirrored[covered] < 0).any():
        raise ValueError("the atlas is not symmetric: a triangle has no mirror image")
    triangle_id[:, half:] = mirrored[:, ::-1]
    weights[:, half:] = np.take_along_axis(left_weights, corner_order[np.maximum(left_id, 0)], axis=2)[:, ::-1]
    mask = triangle_id >= 0
    device = model.uv.device
    return AtlasTexels(
        mask=torch.from_numpy(mask).to(device),
        index=torch.from_numpy(np.flatnonzero(mask)).to(device),
        triangle_id=torch.from_numpy(triangle_id[mask]).to(device),
        barycentrics=torch.from_numpy(weights[mask]).to(device, model.uv.dtype),
    )


def _mirrored_triangles(triangles: np.ndarray, uv_mirror: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find each triangle's mirror image and, for its three corners, which corner of the original they mirror.

    Returns:
        Partner [A] (-1: none) and corner order [A, 3].
    """
    order = np.argsort(triangles, axis=1)
    known = {tuple(row): index for index, row in enumerate(np.take_along_axis(triangles, order, 1).tolist())}
    images = uv_mirror[triangles]
    image_order = np.argsort(images, axis=1)
    partner = np.array(
        [known.get(tuple(row), -1) for row in np.take_along_axis(images, image_order, 1).tolist()], dtype=np.int64
    )
    # Corner order[p][k] of the partner is image_order[t][k] of this triangle.
    corner_order = np.zeros_like(triangles)
    np.put_along_axis(corner_order, order[partner], image_order, axis=1)
    return partner, corner_order


def bake_vertices(
    model: Surface, values: Float[Tensor, "batch vertex channel"], resolution: int
) -> Float[Tensor, "batch channel height width"]:
    """Lay values at the mesh's vertices out in the atlas; 0 outside it. Differentiable in the values."""
    texels = atlas_texels(model, resolution)
    return scatter_texels(texels, _at_texels(texels, model.triangles, values))


def bake_uv_vertices(
    model: Surface, values: Float[Tensor, "batch uv_vertex channel"], resolution: int
) -> Float[Tensor, "batch channel height width"]:
    """Lay values at the *atlas's* vertices out in the atlas; 0 outside it. Differentiable in the values."""
    texels = atlas_texels(model, resolution)
    return scatter_texels(texels, _at_texels(texels, model.uv_triangles, values))


def bake_region(model: Surface, name: str, resolution: int) -> Float[Tensor, "height width"]:
    """Soft mask of a named region of a face model, in [0, 1]; exactly left-right symmetric; 0 outside the atlas.

    Raises:
        ValueError: there is no such region.
    """
    weights = model.region(name)  # type: ignore[attr-defined]
    baked = bake_uv_vertices(model, weights[None, :, None], resolution)[0, 0]
    # The two sides sum the same three products in different orders; the mean removes the last digit's difference.
    return 0.5 * (baked + baked.flip(-1))


def unwrap(
    model: Surface,
    image: Float[Tensor, "batch 3 height width"],
    vertices_view: Float[Tensor, "batch vertex 3"],
    camera: Camera,
    fragments: Fragments,
    resolution: int,
    image_valid: Float[Tensor, "batch 1 height width"] | None = None,
    normals_view: Float[Tensor, "batch vertex 3"] | None = None,
    max_level: int | None = None,
) -> UVObservation:
    """Sample a photo through a posed mesh into the atlas.

    Where the photo is finer than the atlas it is prefiltered. Visibility is 1 where the texel is the nearest surface
    (`DEPTH_TOLERANCE_METRES`), faces the camera (`GRAZING_COSINE`, ramped) and was read from photo of the mesh alone,
    not from beyond its outline or the photo's border; it carries no gradient. Texture and normals are differentiable in
    the photo and in the vertices.

    Args:
        model: topology and atlas.
        image: linear RGB, of the camera's size.
        vertices_view: metres, view frame.
        camera: of the image.
        fragments: the mesh as rasterised with that camera.
        resolution: of the atlas maps, even.
        image_valid: 1 where the image holds photo (a crop may reach over its border); trusted only where 1.
        normals_view: unit normals of the vertices, if the caller has them.
        max_level: see `sampling.sample_prefiltered`; None makes a CUDA device wait.

    Returns:
        The observation, dtype of the image.

    Raises:
        ValueError: sizes do not fit.
    """
    if image.shape[-2:] != (camera.height, camera.width) or fragments.depth.shape[1:] != image.shape[-2:]:
        raise ValueError(
            f"image {tuple(image.shape[-2:])}, camera {(camera.height, camera.width)} and fragments "
            f"{tuple(fragments.depth.shape[1:])} must have one size"
        )
    texels = atlas_texels(model, resolution)
    normals = model.normals(vertices_view) if normals_view is None else normals_view
    surface = _at_texels(texels, model.triangles, torch.cat([vertices_view, normals], dim=-1))
    position, normal = surface[..., :3], unit(surface[..., 3:].transpose(1, 2))
    points = project(position, camera)
    footprint = _pixels_per_texel(model, project(vertices_view, camera), resolution)[:, texels.triangle_id]
    texture = sample_prefiltered(image, points[:, None], footprint[:, None], max_level)[:, :, 0]
    with torch.no_grad():
        usable = fragments.coverage[:, None].to(image.dtype)
        usable = usable if image_valid is None else usable * image_valid
        purity = sample_prefiltered(usable, points[:, None], footprint[:, None], max_level)[:, 0, 0]
        visibility = torch.where(purity > 0.999, _visibility(position, normal, points, fragments), 0.0)
    return UVObservation(
        uv_texture=scatter_texels(texels, texture.transpose(1, 2)),
        uv_visibility=scatter_texels(texels, visibility[..., None].to(image.dtype)),
        uv_normal_view=scatter_texels(texels, normal.transpose(1, 2)),
    )


def _visibility(position: Tensor, normal: Tensor, points: Tensor, fragments: Fragments) -> Tensor:
    """Trust in [0, 1] of each texel: facing, nearest, inside the image. [batch, texel]."""
    height, width = fragments.depth.shape[1:]
    facing = -(normal.transpose(1, 2) * torch.nn.functional.normalize(position, dim=-1)).sum(-1)
    trust = ((facing - GRAZING_COSINE) / COSINE_RAMP).clamp(0, 1)
    x, y = points.unbind(-1)
    inside = (x >= 0.5) & (x <= width - 0.5) & (y >= 0.5) & (y <= height - 0.5)
    # The nearest surface between pixel centres: 1/depth is linear in the image; pixels without surface have no say.
    covered = fragments.coverage
    layers = torch.stack([torch.where(covered, 1 / fragments.depth, 0.0), covered.to(fragments.depth.dtype)], dim=1)
    inverse, share = sample_bilinear(layers, points[:, None].to(layers.dtype))[:, :, 0].unbind(1)
    nearest = share / inverse.clamp(min=torch.finfo(inverse.dtype).tiny)
    visible = inside & (share > 0) & (-position[..., 2] < nearest + DEPTH_TOLERANCE_METRES)
    return torch.where(visible, trust, 0.0)


def texels_per_pixel(
    model: Surface,
    fragments: Fragments,
    vertices_view: Float[Tensor, "batch vertex 3"],
    camera: Camera,
    resolution: int,
) -> Float[Tensor, "batch 1 height width"]:
    """How many texels of a map a pixel spans (square root of the areas' ratio), no gradient; 0 off the atlas."""
    with torch.no_grad():
        density = _pixels_per_texel(model, project(vertices_view, camera), resolution)
        covered = covered_by(fragments, model.uv_triangles.shape[0])
        index = torch.where(covered, fragments.triangle_id, 0).long().flatten(1)
        spans = 1 / density.gather(1, index).clamp(min=1e-6).reshape(covered.shape)
        return torch.where(covered, spans, 0.0)[:, None]


def _pixels_per_texel(model: Surface, points_px: Tensor, resolution: int) -> Tensor:
    """Square root of (area in the image / area in the atlas map), [batch, atlas triangle]; no gradient."""
    in_image = points_px.detach()[:, model.triangles[: model.uv_triangles.shape[0]]]
    in_atlas = model.uv[model.uv_triangles] * resolution
    floor = torch.finfo(in_atlas.dtype).tiny
    return (_double_area(in_image) / _double_area(in_atlas).clamp(min=floor)).sqrt()


def _double_area(corners: Tensor) -> Tensor:
    first, second = corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :]
    return (first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]).abs()


def _at_texels(texels: AtlasTexels, triangles: Tensor, values: Tensor) -> Tensor:
    """Blend vertex values [batch, vertex, channel] at the atlas's texels: [batch, texel, channel]."""
    if cpu_kernels.usable(values, texels.barycentrics):
        blended = cpu_kernels.blend_corners(values, triangles, texels.triangle_id[None], texels.barycentrics[None])
        return blended.transpose(1, 2)
    batch, count, channels = values.shape
    corners = triangles[texels.triangle_id]
    weights = texels.barycentrics.to(values.dtype)
    if batch > 1:
        corners = (corners + torch.arange(batch, device=values.device)[:, None, None] * count).reshape(-1, 3)
        weights = weights.expand(batch, -1, -1).reshape(-1, 3)
    return sum_corners(values.reshape(-1, channels), corners, weights).reshape(batch, -1, channels)


def scatter_texels(
    texels: AtlasTexels, values: Float[Tensor, "batch texel channel"]
) -> Float[Tensor, "batch channel height width"]:
    """Write values of the N texels of the atlas into maps that are 0 elsewhere."""
    height, width = texels.mask.shape
    empty = values.new_zeros(values.shape[0], values.shape[2], height * width)
    return empty.index_copy(2, texels.index, values.transpose(1, 2)).unflatten(2, (height, width))


def mirror_uv(uv_map: Float[Tensor, "*shape height width"]) -> Float[Tensor, "*shape height width"]:
    """Mirror image of an atlas map: left and right exchanged, exactly."""
    return uv_map.flip(-1)


def mirror_uv_normals(uv_normals: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 3 height width"]:
    """Mirror image of an atlas map of vectors: left and right exchanged, x negated."""
    return mirror_uv(uv_normals) * uv_normals.new_tensor([-1.0, 1.0, 1.0]).view(1, 3, 1, 1)


def dilate_seams(
    uv_map: Float[Tensor, "batch channel height width"], mask: Bool[Tensor, "height width"], texels: int = 4
) -> Float[Tensor, "batch channel height width"]:
    """Grow a map by ``texels`` rings beyond its mask, so that filters do not pull the empty outside in at seams.

    Each ring takes the mean of its already filled neighbours. Texels inside the mask stay as they are, those further
    out become 0.
    """
    values = torch.where(mask, uv_map, 0.0)
    filled = mask
    for _ in range(texels):
        share = _neighbour_sum(filled[None, None].to(uv_map.dtype))[0, 0]
        ring = (share > 0) & ~filled
        mean = _neighbour_sum(values) / share.clamp(min=1)
        values = torch.where(ring, mean, values)
        filled = filled | ring
    return values


def _neighbour_sum(values: Tensor) -> Tensor:
    """Sum over 3 x 3 texels; symmetric to the last bit, as columns left and right are added first."""
    padded = torch.nn.functional.pad(values, (1, 1, 1, 1))
    rows = (padded[..., :-2, :] + padded[..., 2:, :]) + padded[..., 1:-1, :]
    return (rows[..., :-2] + rows[..., 2:]) + rows[..., 1:-1]
