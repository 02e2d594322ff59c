"""From values at vertices to values at pixels."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from facealbedo.core.render import cpu_kernels
from facealbedo.core.render.triton_paths import fused
from facealbedo.core.types import Fragments


def interpolate(
    fragments: Fragments,
    triangles: Int[Tensor, "triangle 3"],
    attributes: Float[Tensor, "batch_or_1 vertex channel"],
) -> Float[Tensor, "batch channel height width"]:
    """Blend the attributes of the seen triangle's vertices with its barycentrics.

    Differentiable in the attributes and in the barycentrics. ``triangles`` may be another table than the one that was
    drawn (an atlas's, say), as long as its rows stand for the same triangles; pixels of triangles beyond its end count
    as not covered.

    Args:
        fragments: of a batch of B.
        triangles: rows into ``attributes``.
        attributes: batch B, or 1 where all images share them.

    Returns:
        0 where not covered.

    Raises:
        ValueError: the batches do not fit.
    """
    batch, height, width = fragments.triangle_id.shape
    if attributes.shape[0] not in (1, batch):
        raise ValueError(f"{batch} images but attributes of a batch of {attributes.shape[0]}")
    if triangles.shape[0] == 0 or batch == 0:
        return attributes.new_zeros(batch, attributes.shape[2], height, width)
    if cpu_kernels.usable(attributes, fragments.barycentrics):
        ids, weights = fragments.triangle_id.flatten(1), fragments.barycentrics.flatten(1, 2)
        return cpu_kernels.blend_corners(attributes, triangles, ids, weights).unflatten(2, (height, width))
    if kernels := fused(attributes, fragments.barycentrics):
        ids, weights = fragments.triangle_id.flatten(1), fragments.barycentrics.flatten(1, 2)
        return kernels.blend_corners(attributes, triangles, ids, weights).unflatten(2, (height, width))
    covered = covered_by(fragments, triangles.shape[0])
    corners = triangles.long().index_select(0, torch.where(covered, fragments.triangle_id, 0).long().reshape(-1))
    weights = torch.where(covered[..., None], fragments.barycentrics, 0.0).to(attributes.dtype).reshape(-1, 3)
    if attributes.shape[0] > 1:
        image = torch.arange(batch, device=corners.device).repeat_interleave(height * width)
        corners = corners + image[:, None] * attributes.shape[1]
    table = attributes.reshape(-1, attributes.shape[2])
    blended = sum_corners(table, corners, weights)
    return blended.reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def covered_by(fragments: Fragments, n_triangles: int) -> Tensor:
    """Bool [batch, height, width]: a triangle among the first ``n_triangles`` is seen."""
    return (fragments.triangle_id >= 0) & (fragments.triangle_id < n_triangles)


def sum_corners(
    table: Float[Tensor, "row channel"], corners: Int[Tensor, "point 3"], weights: Float[Tensor, "point 3"]
) -> Float[Tensor, "point channel"]:
    """Weighted sum of three rows of a table a point."""
    result = table.index_select(0, corners[:, 0]) * weights[:, :1]
    for corner in (1, 2):
        result = torch.addcmul(result, table.index_select(0, corners[:, corner]), weights[:, corner : corner + 1])
    return result
