"""Less noise in path-traced light without blurring geometry: a joint bilateral filter over the g-buffer.

Monte Carlo noise of a few dozen paths is stronger than that of a camera. Albedo is divided out before, so only light
is averaged, and only between pixels whose surface points and normals are neighbours.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.types import GBuffer

RADIUS_PX = 3
_NORMAL_POWER = 48.0
# Surface points farther apart than this are different surfaces, metres; a few pixels of a portrait.
_DISTANCE_M = 0.008


def smooth_light(light: Float[Tensor, "3 height width"], buffer: GBuffer) -> Float[Tensor, "3 height width"]:
    """Average light over neighbouring surface points; pixels at outlines and of the background stay as they are.

    Args:
        light: shading or gloss, linear.
        buffer: geometry of the same image, batch of one.
    """
    inside = -F.max_pool2d(-buffer.coverage.to(light), 3, 1, 1)
    layers = torch.cat([light[None], buffer.normal_view, buffer.position_view, inside], dim=1)
    padded = F.pad(layers, (RADIUS_PX,) * 4)
    height, width = light.shape[-2:]
    total, weights = torch.zeros_like(light), torch.zeros_like(light[:1])
    for down in range(2 * RADIUS_PX + 1):
        for along in range(2 * RADIUS_PX + 1):
            other = padded[0, :, down : down + height, along : along + width]
            cosine = (other[3:6] * buffer.normal_view[0]).sum(0, keepdim=True).clamp(min=0)
            far = (other[6:9] - buffer.position_view[0]).square().sum(0, keepdim=True) / _DISTANCE_M**2
            weight = other[9:] * cosine**_NORMAL_POWER * torch.exp(-far)
            total, weights = total + weight * other[:3], weights + weight
    return torch.where((inside[0] > 0) & (weights > 0), total / weights.clamp(min=1e-6), light)
