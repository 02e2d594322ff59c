"""Distant light as equirectangular maps of linear radiance.

Convention: world frame, +y up. Row 0 is at the zenith. The middle of the image is +z (what a face at the origin looks
at), +x is at a quarter of the width (u = 0.25): seen from inside, the panorama is not mirrored. This is Mitsuba's
convention; three.js has the same handedness with +x in the middle (u_here = u_three - 0.25).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.lighting.sh import rotate_sh, sh_basis
from facealbedo.core.types import Lighting, TensorRecord


@dataclass(frozen=True)
class EnvironmentMap(TensorRecord):
    """A batch of equirectangular maps of linear RGB radiance (axes: see the module)."""

    radiance: Float[Tensor, "batch 3 height width"]


def environment_from_array(pixels: Float[Tensor, "height width 3"], height: int | None = None) -> EnvironmentMap:
    """Make a map from the pixels of an HDR file: shrink, keeping its energy, then clamp what is below 0.

    Peaks stay (a sunny map would lose most of its energy). Codecs leave negative lobes around peaks; as shrinking comes
    first, they cancel against the overshoot that they belong to.

    Args:
        pixels: linear radiance, twice as wide as high.
        height: rows of the result, a divisor of those of ``pixels``; None keeps them.

    Raises:
        ValueError: not twice as wide as high, not finite, or the rows do not divide.
    """
    rows, columns = pixels.shape[:2]
    if columns != 2 * rows or not bool(pixels.isfinite().all()):
        raise ValueError(f"expected finite radiance, twice as wide as high; got {rows} x {columns} pixels")
    height = rows if height is None else height
    if height < 1 or rows % height:
        raise ValueError(f"cannot shrink {rows} rows to {height}: it must divide them")
    factor = rows // height
    angles = solid_angles(rows, pixels)[:, None]
    energy = (pixels * angles[..., None]).reshape(height, factor, 2 * height, factor, 3).sum((1, 3))
    shrunk = energy / (solid_angles(height, pixels)[:, None, None])
    return EnvironmentMap(shrunk.clamp(min=0).permute(2, 0, 1)[None])


def solid_angles(height: int, like: Tensor) -> Float[Tensor, "row"]:
    """Exact solid angle of one texel of each row of a map of ``height`` x 2 ``height`` texels, steradians."""
    edges = torch.arange(height + 1, dtype=torch.float64) * (math.pi / height)
    return ((edges[:-1].cos() - edges[1:].cos()) * (math.pi / height)).to(like)


def texel_directions(height: int, like: Tensor) -> Float[Tensor, "row column 3"]:
    """Unit vectors to the texels' centres of a map of ``height`` x 2 ``height`` texels."""
    polar = (torch.arange(height, dtype=torch.float64) + 0.5) * (math.pi / height)
    azimuth = math.pi - (torch.arange(2 * height, dtype=torch.float64) + 0.5) * (math.pi / height)
    radius = polar.sin()[:, None]
    directions = torch.stack(
        [radius * azimuth.sin(), polar.cos()[:, None].expand(-1, 2 * height), radius * azimuth.cos()], dim=-1
    )
    return directions.to(like)


def sample_environment(
    environment: EnvironmentMap, directions: Float[Tensor, "batch point 3"]
) -> Float[Tensor, "batch 3 point"]:
    """Radiance from the given (unit) directions, bilinear, wrapping around the back. Differentiable in the radiance."""
    radiance = environment.radiance
    height, width = radiance.shape[-2:]
    x, y, z = directions.unbind(-1)
    column = (0.5 - torch.atan2(x, z) / (2 * math.pi)) * width - 0.5
    row = (torch.acos(y.clamp(-1, 1)) / math.pi * height - 0.5).clamp(0, height - 1)
    left, top = column.floor(), row.floor().clamp(max=max(height - 2, 0))
    along, down = (column - left)[:, None], (row - top)[:, None]
    first, second = left.long() % width, (left.long() + 1) % width
    upper, lower = top.long(), (top.long() + 1).clamp(max=height - 1)
    flat = radiance.flatten(2)

    def read(rows: Tensor, columns: Tensor) -> Tensor:
        return flat.gather(2, (rows * width + columns)[:, None].expand(-1, 3, -1))

    above = torch.lerp(read(upper, first), read(upper, second), along)
    below = torch.lerp(read(lower, first), read(lower, second), along)
    return torch.lerp(above, below, down)


def rotate_environment(environment: EnvironmentMap, rotation: Float[Tensor, "batch 3 3"]) -> EnvironmentMap:
    """The map turned with ``rotation``: radiance'(d) = radiance(rotationᵀ d). Resampled, so energy holds to about 1 %.

    For SH light use `sh.rotate_sh`, which is exact.
    """
    radiance = environment.radiance
    height, width = radiance.shape[-2:]
    directions = texel_directions(height, radiance).reshape(1, -1, 3) @ rotation
    sampled = sample_environment(environment, directions)
    return EnvironmentMap(sampled.unflatten(2, (height, width)))


def scale_to_mean_luminance(environment: EnvironmentMap, luminance: float = 1.0) -> tuple[EnvironmentMap, Tensor]:
    """Scale each map to a mean luminance over the sphere (Rec. 709); also return the factors."""
    radiance = environment.radiance
    weights = radiance.new_tensor([0.2126, 0.7152, 0.0722])
    angles = solid_angles(radiance.shape[2], radiance)
    mean = torch.einsum("bchw,c,h->b", radiance, weights, angles) / (4 * math.pi)
    if bool((mean <= 0).any()):
        raise ValueError("a map without light cannot be scaled")
    factors = luminance / mean
    return replace(environment, radiance=radiance * factors[:, None, None, None]), factors


def project_to_sh(environment: EnvironmentMap, order: int = 2) -> Float[Tensor, "batch 3 coeff"]:
    """SH coefficients of the radiance (world frame), with the exact solid angle of each texel."""
    radiance = environment.radiance
    height = radiance.shape[2]
    basis = sh_basis(texel_directions(height, radiance), order)
    return torch.einsum("bchw,h,hwk->bck", radiance, solid_angles(height, radiance), basis)


def lighting_in_view(
    sh_radiance_world: Float[Tensor, "batch 3 coeff"], rotation: Float[Tensor, "batch 3 3"]
) -> Lighting:
    """Light of the world brought to the view frame of a pose's ``rotation``."""
    return Lighting(rotate_sh(sh_radiance_world, rotation[:, None]))


def irradiance_by_summing(
    environment: EnvironmentMap, normals: Float[Tensor, "batch point 3"], chunk: int = 4096
) -> Float[Tensor, "batch point 3"]:
    """Irradiance of unshadowed surfaces, by summing radiance times cosine over every texel.

    Slow (points x texels) and without approximation but the texels' size: the yardstick for SH.
    """
    radiance = environment.radiance
    height = radiance.shape[2]
    directions = texel_directions(height, radiance).reshape(-1, 3)
    energy = (radiance * solid_angles(height, radiance)[:, None]).flatten(2).transpose(1, 2)
    parts = [(part @ directions.T).clamp(min=0) @ energy for part in normals.split(chunk, dim=1)]
    return torch.cat(parts, dim=1) if parts else normals.new_zeros(normals.shape)


def prefilter_ggx(environment: EnvironmentMap, roughness: float, height: int = 32) -> EnvironmentMap:
    """What a mirror of GGX roughness sees, by reflected direction (first half of the split-sum approximation).

    Every texel of the result is the mean of the radiance, weighted by D(h) (n·l) with n = v = the reflected direction
    (Karis, "Real shading in Unreal Engine 4", 2013), summed over every texel of the map.

    Args:
        environment: the light.
        roughness: perceptual, in (0, 1]; alpha is its square.
        height: rows of the result.
    """
    if not 0 < roughness <= 1:
        raise ValueError(f"the roughness must be in (0, 1], got {roughness}")
    radiance = environment.radiance
    source_height = radiance.shape[2]
    sources = texel_directions(source_height, radiance).reshape(-1, 3)
    angles = solid_angles(source_height, radiance).repeat_interleave(2 * source_height)
    outgoing = texel_directions(height, radiance).reshape(-1, 3)
    cosine = outgoing @ sources.T
    half_cosine = ((1 + cosine) / 2).clamp(min=0).sqrt()
    squared_alpha = roughness**4
    lobe = squared_alpha / (half_cosine**2 * (squared_alpha - 1) + 1) ** 2
    weights = lobe * cosine.clamp(min=0) * angles
    weights = weights / weights.sum(1, keepdim=True)
    filtered = torch.einsum("ds,bcs->bcd", weights, radiance.flatten(2))
    return EnvironmentMap(filtered.unflatten(2, (height, 2 * height)))
