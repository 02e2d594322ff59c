"""Reading maps and photos between their texels: bilinear, and prefiltered where they are finer than what reads them."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.render import cpu_kernels
from facealbedo.core.render.triton_paths import fused


def sample_bilinear(
    image: Float[Tensor, "batch_or_1 channel height width"], points: Float[Tensor, "batch rows columns 2"]
) -> Float[Tensor, "batch channel rows columns"]:
    """Read an image at points, bilinear between texel centres, the border repeated outside.

    Built from gathers, so that with ``torch.use_deterministic_algorithms(True)`` the gradients are reproducible on CUDA
    too (`torch.nn.functional.grid_sample`'s are not). Differentiable in image and points.

    Args:
        image: batch B, or 1 where all points read the same image.
        points: (x, y) in texels of the image; the first texel's centre is (0.5, 0.5). NaN reads the first texel.
    """
    if cpu_kernels.usable(image, points):
        return cpu_kernels.read_pyramid([image], points.flatten(1, 2), None).unflatten(2, points.shape[1:3])
    if kernels := fused(image, points):
        return kernels.read_bilinear(image, points.flatten(1, 2)).unflatten(2, points.shape[1:3])
    batch, channels, height, width = image.shape
    x = (points[..., 0] - 0.5).nan_to_num().clamp(0, width - 1)
    y = (points[..., 1] - 0.5).nan_to_num().clamp(0, height - 1)
    left = x.detach().floor().clamp(max=max(width - 2, 0))
    top = y.detach().floor().clamp(max=max(height - 2, 0))
    along, down = (x - left)[..., None], (y - top)[..., None]
    table = image.permute(0, 2, 3, 1).reshape(-1, channels)
    first = (top * width + left).long()
    if batch > 1:
        first = first + torch.arange(batch, device=image.device)[:, None, None] * (height * width)
    right = 1 if width > 1 else 0
    below = width if height > 1 else 0

    def read(offset: int) -> Tensor:
        return table.index_select(0, (first + offset).reshape(-1)).reshape(*first.shape, channels)

    upper = torch.lerp(read(0), read(right), along)
    lower = torch.lerp(read(below), read(below + right), along)
    return torch.lerp(upper, lower, down).permute(0, 3, 1, 2)


def sample_uv(
    uv_map: Float[Tensor, "batch_or_1 channel map_height map_width"],
    uv: Float[Tensor, "batch 2 height width"],
    texels_per_pixel: Float[Tensor, "batch 1 height width"] | None = None,
    max_level: int | None = None,
) -> Float[Tensor, "batch channel height width"]:
    """Read an atlas map at every pixel of a g-buffer.

    Args:
        uv_map: batch B or 1.
        uv: atlas coordinates, v down.
        texels_per_pixel: how many texels of ``uv_map`` a pixel spans (`uv.texels_per_pixel`); where above 1 the map is
            read from a mip pyramid, so that a distant face neither flickers nor leaves most texels without gradient.
        max_level: see `sample_prefiltered`.
    """
    size = uv.new_tensor([uv_map.shape[3], uv_map.shape[2]])
    points = uv.permute(0, 2, 3, 1) * size
    if texels_per_pixel is None:
        return sample_bilinear(uv_map, points)
    return sample_prefiltered(uv_map, points, texels_per_pixel[:, 0], max_level)


def sample_prefiltered(
    image: Float[Tensor, "batch_or_1 channel height width"],
    points: Float[Tensor, "batch rows columns 2"],
    footprint: Float[Tensor, "batch rows columns"],
    max_level: int | None = None,
) -> Float[Tensor, "batch channel rows columns"]:
    """Read an image at points through a box about as wide as ``footprint`` texels (trilinear in a pyramid of means).

    Args:
        image: batch B or 1; linear light.
        points: (x, y) in texels.
        footprint: width of what one reading stands for, in texels; at and below 1 this is `sample_bilinear`. It
            carries no gradient.
        max_level: how often to halve the image at most. None finds out from the footprint, which makes a CUDA device
            wait.
    """
    level = footprint.detach().nan_to_num(posinf=1.0).clamp(min=1.0).log2()
    if max_level is None:
        max_level = math.ceil(float(level.max())) if level.numel() else 0
    levels = _pyramid(image, max_level)
    if cpu_kernels.usable(image, points):
        flat = cpu_kernels.read_pyramid(levels, points.flatten(1, 2), level.to(points.dtype).flatten(1))
        return flat.unflatten(2, points.shape[1:3])
    result = sample_bilinear(image, points)
    for step, current in enumerate(levels[1:], start=1):
        # Once a share is 1 the finer levels have no part left, so the levels fold into one running blend.
        share = (level - (step - 1)).clamp(0, 1)[:, None].to(result.dtype)
        result = torch.lerp(result, sample_bilinear(current, points * 0.5**step), share)
    return result


def _pyramid(image: Tensor, max_level: int) -> list[Tensor]:
    """The image and its halved versions, at most ``max_level`` of them."""
    levels = [image]
    while len(levels) <= max_level and max(levels[-1].shape[-2:]) > 1:
        levels.append(halve(levels[-1]))
    return levels


def halve(image: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch channel half_height half_width"]:
    """Means over 2 x 2 texels; a last odd row or column is averaged alone. Point p of the image is at p / 2."""
    return torch.nn.functional.avg_pool2d(image, 2, ceil_mode=True, count_include_pad=False)
