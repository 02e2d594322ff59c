"""Real spherical harmonics (SH) of light, and what a Lambertian surface makes of them.

Convention, everywhere in the package: real, orthonormal on the unit sphere, index ``l² + l + m``, no Condon-Shortley
phase (band 1 is ``+y, +z, +x``), z is the polar axis of the formulas, coefficients hold *radiance*. Irradiance is
radiance convolved with the clamped cosine, which in SH is one factor a band (`LAMBERT_FACTORS`); this module is the
only place that knows them. Shading is irradiance / pi, so that ``image = albedo * shading``.

Source of the factors: Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment maps",
SIGGRAPH 2001: A_l = 2 pi * integral over [0, 1] of P_l(c) c dc.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

MAX_ORDER = 4

# A_l = 2 pi * integral over [0, 1] of P_l(c) c dc; order 3 adds exactly nothing to irradiance.
LAMBERT_FACTORS = (math.pi, 2.0 * math.pi / 3.0, math.pi / 4.0, 0.0, -math.pi / 24.0)


def coefficient_count(order: int) -> int:
    """Number of SH coefficients of bands 0 to ``order``."""
    return (order + 1) ** 2


def order_of(count: int) -> int:
    """Highest band of a vector of ``count`` coefficients.

    Raises:
        ValueError: ``count`` is not (L + 1)² for an order L up to `MAX_ORDER`.
    """
    order = math.isqrt(count) - 1
    if coefficient_count(order) != count or not 0 <= order <= MAX_ORDER:
        raise ValueError(f"expected (L + 1)^2 SH coefficients for an order L up to {MAX_ORDER}, got {count}")
    return order


def sh_basis(directions: Float[Tensor, "*shape 3"], order: int) -> Float[Tensor, "*shape coeff"]:
    """Evaluate the real orthonormal SH of bands 0 to ``order``.

    Args:
        directions: unit vectors. A zero vector (no surface) gives finite values that mean nothing.
        order: highest band, 0 to `MAX_ORDER`.

    Returns:
        (order + 1)² values a direction, index l² + l + m.

    Raises:
        ValueError: ``order`` is out of range.
    """
    x, y, z = directions.unbind(-1)
    return torch.stack(_polynomials(x, y, z, order), dim=-1)


def sh_basis_image(
    normals: Float[Tensor, "batch 3 height width"], order: int
) -> Float[Tensor, "batch coeff height width"]:
    """`sh_basis` of a map of unit vectors, channel first."""
    x, y, z = normals.unbind(1)
    return torch.stack(_polynomials(x, y, z, order), dim=1)


def _polynomials(x: Tensor, y: Tensor, z: Tensor, order: int) -> list[Tensor]:
    """The SH as polynomials of a unit vector's coordinates, one tensor a coefficient."""
    if not 0 <= order <= MAX_ORDER:
        raise ValueError(f"expected an SH order from 0 to {MAX_ORDER}, got {order}")
    pi = math.pi
    values = [torch.full_like(x, 0.5 / math.sqrt(pi))]
    if order >= 1:
        band = math.sqrt(3 / (4 * pi))
        values += [band * y, band * z, band * x]
    if order >= 2:
        band = math.sqrt(15 / (4 * pi))
        zz, difference = z * z, x * x - y * y
        values += [
            band * x * y,
            band * y * z,
            math.sqrt(5 / (16 * pi)) * (3 * zz - 1),
            band * x * z,
            0.5 * band * difference,
        ]
    if order >= 3:
        sine, cosine = y * (3 * x * x - y * y), x * (x * x - 3 * y * y)
        outer, middle, inner = math.sqrt(35 / (32 * pi)), math.sqrt(105 / (4 * pi)), math.sqrt(21 / (32 * pi))
        values += [
            outer * sine,
            middle * x * y * z,
            inner * y * (5 * zz - 1),
            math.sqrt(7 / (16 * pi)) * z * (5 * zz - 3),
            inner * x * (5 * zz - 1),
            0.5 * middle * z * difference,
            outer * cosine,
        ]
    if order >= 4:
        outer, third = 0.75 * math.sqrt(35 / pi), 0.75 * math.sqrt(35 / (2 * pi))
        second, first = 0.75 * math.sqrt(5 / pi), 0.75 * math.sqrt(5 / (2 * pi))
        values += [
            outer * x * y * difference,
            third * sine * z,
            second * x * y * (7 * zz - 1),
            first * y * z * (7 * zz - 3),
            3 / 16 * math.sqrt(1 / pi) * (35 * zz * zz - 30 * zz + 3),
            first * x * z * (7 * zz - 3),
            0.5 * second * difference * (7 * zz - 1),
            third * cosine * z,
            outer * 0.25 * (difference * difference - 4 * x * x * y * y),
        ]
    return values


def lambert_factors(order: int, like: Tensor) -> Float[Tensor, "coeff"]:
    """`LAMBERT_FACTORS` repeated for the coefficients of each band, in the dtype and on the device of ``like``."""
    repeated = [LAMBERT_FACTORS[band] for band in range(order + 1) for _ in range(2 * band + 1)]
    return torch.tensor(repeated, dtype=like.dtype, device=like.device)


def irradiance(
    sh_radiance: Float[Tensor, "batch 3 coeff"],
    normals: Float[Tensor, "batch 3 height width"] | Float[Tensor, "batch point 3"],
) -> Float[Tensor, "batch 3 height width"] | Float[Tensor, "batch point 3"]:
    """Irradiance of unshadowed surfaces under distant light, in radiance units; may be negative for truncated SH.

    Args:
        sh_radiance: light in the frame of the normals.
        normals: unit normals, as a map or as a list of points.

    Returns:
        Linear RGB in the layout of ``normals``.
    """
    order = order_of(sh_radiance.shape[-1])
    weighted = sh_radiance * lambert_factors(order, sh_radiance)
    if normals.ndim == 4:
        return torch.einsum("bck,bkhw->bchw", weighted, sh_basis_image(normals, order))
    return torch.einsum("bck,bnk->bnc", weighted, sh_basis(normals, order))


def shading(
    sh_radiance: Float[Tensor, "batch 3 coeff"],
    normals: Float[Tensor, "batch 3 height width"] | Float[Tensor, "batch point 3"],
) -> Float[Tensor, "batch 3 height width"] | Float[Tensor, "batch point 3"]:
    """`irradiance` / pi, made positive by `positive`: what a white Lambertian surface sends to any eye."""
    return positive(irradiance(sh_radiance, normals) / math.pi)


def irradiance_per_texel(
    sh_map: Float[Tensor, "batch_or_1 colour_coeff height width"], normals: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch 3 height width"]:
    """Irradiance where every texel (or pixel) has its own light.

    Args:
        sh_map: SH radiance a texel, colour-major: channel ``coefficients * colour + coefficient`` (27 channels for
            order 2), in the frame of the normals.
        normals: unit normals.
    """
    batch, channels, height, width = sh_map.shape
    if channels % 3:
        raise ValueError(f"expected 3 x (L + 1)^2 channels, got {channels}")
    order = order_of(channels // 3)
    basis = sh_basis_image(normals, order) * lambert_factors(order, normals).view(1, -1, 1, 1)
    per_colour = sh_map.reshape(batch, 3, channels // 3, height, width)
    return (per_colour * basis[:, None]).sum(2)


def shading_per_texel(
    sh_map: Float[Tensor, "batch_or_1 colour_coeff height width"], normals: Float[Tensor, "batch 3 height width"]
) -> Float[Tensor, "batch 3 height width"]:
    """`irradiance_per_texel` / pi, made positive by `positive`."""
    return positive(irradiance_per_texel(sh_map, normals) / math.pi)


def positive(values: Float[Tensor, "*shape"], floor: float = 0.02) -> Float[Tensor, "*shape"]:
    """Soft clamp to above 0: the identity from ``floor`` up, ``floor² / (2 floor - x)`` below.

    Smooth to first order, strictly increasing, and its slope falls only with the inverse square, so that a shading
    that a fit drove far below zero still feels a pull (a hard clamp has none, an exponential loses it at once).
    """
    if floor <= 0:
        raise ValueError(f"the floor of the soft clamp must be above 0, got {floor}")
    below = values.clamp(max=floor)
    return torch.where(values >= floor, values, floor * floor / (2 * floor - below))


def rotate_sh(
    coefficients: Float[Tensor, "*shape coeff"], rotation: Float[Tensor, "*shape_or_broadcast 3 3"]
) -> Float[Tensor, "*result coeff"]:
    """Coefficients of the rotated function ``f'(d) = f(rotationᵀ d)``: the light turns with ``rotation``.

    Exact (the bands are closed under rotation) and differentiable. Light of the world is brought to the view frame by
    the pose's rotation: ``rotate_sh(world, pose.rotation[:, None])`` for [batch, 3, coeff].

    Args:
        coefficients: SH coefficients.
        rotation: rotation matrices, broadcast against the leading axes of ``coefficients``.
    """
    matrix = sh_rotation_matrix(rotation, order_of(coefficients.shape[-1])).to(coefficients.dtype)
    return (matrix @ coefficients.unsqueeze(-1)).squeeze(-1)


def sh_rotation_matrix(rotation: Float[Tensor, "*shape 3 3"], order: int) -> Float[Tensor, "*shape coeff coeff"]:
    """Matrix D with ``f' = D f`` for ``f'(d) = f(rotationᵀ d)``, by a quadrature that is exact for these products."""
    nodes, weights = sphere_quadrature(order)
    directions = torch.from_numpy(nodes).to(rotation)
    weighted_basis = sh_basis(directions, order) * torch.from_numpy(weights).to(rotation)[:, None]
    # rotationᵀ d as a row vector is d @ rotation.
    turned = sh_basis(directions @ rotation, order)
    return weighted_basis.transpose(-1, -2) @ turned


@lru_cache(maxsize=16)
def sphere_quadrature(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights that integrate products of two SH up to band ``order`` exactly over the sphere.

    Gauss-Legendre in z, the trapezoid rule in azimuth: exact to polynomial degree 2 * order (+1).

    Returns:
        float64 unit vectors [node, 3] and weights [node], which sum to 4 pi. Do not write to them.
    """
    heights, height_weights = np.polynomial.legendre.leggauss(order + 1)
    count = 2 * order + 2
    azimuth = 2 * np.pi * np.arange(count) / count
    radius = np.sqrt(1 - heights**2)
    nodes = np.stack(
        [
            np.outer(radius, np.cos(azimuth)),
            np.outer(radius, np.sin(azimuth)),
            np.repeat(heights[:, None], count, axis=1),
        ],
        axis=-1,
    )
    weights = np.repeat(height_weights[:, None], count, axis=1) * (2 * np.pi / count)
    return nodes.reshape(-1, 3), weights.reshape(-1)


def mirror_sh(coefficients: Float[Tensor, "*shape coeff"]) -> Float[Tensor, "*shape coeff"]:
    """Coefficients of the light mirrored left to right, ``f'(x, y, z) = f(-x, y, z)``."""
    order = order_of(coefficients.shape[-1])
    # With z polar and m > 0 the cosines: x -> -x maps azimuth to pi - azimuth, so cos(m·) gains (-1)^m and
    # sin(|m|·) gains (-1)^(|m| + 1).
    signs = [(-1.0) ** m if m >= 0 else (-1.0) ** (-m + 1) for band in range(order + 1) for m in range(-band, band + 1)]
    return coefficients * torch.tensor(signs, dtype=coefficients.dtype, device=coefficients.device)
