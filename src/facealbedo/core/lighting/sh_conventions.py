"""Adapters between this package's SH convention (see `sh`) and those of other codebases; the only place for them.

Every function takes and returns radiance coefficients ``[..., 9]`` in this package's convention on one side.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.lighting.sh import lambert_factors, order_of

# The normalising constants of bands 0 to 2 in index order, as `sh.sh_basis` has them, for the polynomials
# 1 | y, z, x | xy, yz, 3z² - 1, xz, x² - y².
_NORMALISERS = (
    math.sqrt(1 / (4 * math.pi)),
    *(3 * [math.sqrt(3 / (4 * math.pi))]),
    math.sqrt(15 / (4 * math.pi)),
    math.sqrt(15 / (4 * math.pi)),
    math.sqrt(5 / (16 * math.pi)),
    math.sqrt(15 / (4 * math.pi)),
    math.sqrt(15 / (16 * math.pi)),
)

# Deep3DFaceReconstruction (`Illumination_layer`): shading = Σ γ_k s_k p_k with the polynomials in our index order,
# s = a_l c_l (times 1/(2√3) and 1/2 for 3z² - 1 and x² - y²), minus signs for odd m, and 0.8 added to γ_0.
_DEEP3D_BANDS = (
    math.pi / math.sqrt(4 * math.pi),
    2 * math.pi / math.sqrt(3) * math.sqrt(3) / math.sqrt(4 * math.pi),
    2 * math.pi / math.sqrt(8) * 3 * math.sqrt(5) / math.sqrt(12 * math.pi),
)
_DEEP3D_SCALES = (
    _DEEP3D_BANDS[0],
    -_DEEP3D_BANDS[1],
    _DEEP3D_BANDS[1],
    -_DEEP3D_BANDS[1],
    _DEEP3D_BANDS[2],
    -_DEEP3D_BANDS[2],
    _DEEP3D_BANDS[2] * 0.5 / math.sqrt(3),
    -_DEEP3D_BANDS[2],
    _DEEP3D_BANDS[2] * 0.5,
)
_DEEP3D_AMBIENT = 0.8

# DECA and TRUST (`add_SHlight`): shading = Σ l_k s_k p_k with the order 1, x, y, z, xy, xz, yz, x² - y², 3z² - 1.
_DECA_ORDER = (0, 3, 1, 2, 4, 7, 5, 8, 6)
_DECA_SCALES = (
    1 / math.sqrt(4 * math.pi),
    *(3 * [2 * math.pi / 3 * math.sqrt(3 / (4 * math.pi))]),
    *(3 * [math.pi / 4 * 3 * math.sqrt(5 / (12 * math.pi))]),
    math.pi / 4 * 3 / 2 * math.sqrt(5 / (12 * math.pi)),
    math.pi / 4 / 2 * math.sqrt(5 / (4 * math.pi)),
)


def toggle_condon_shortley(coefficients: Float[Tensor, "*shape coeff"]) -> Float[Tensor, "*shape coeff"]:
    """Add or remove the Condon-Shortley phase: the sign (-1)^m on every coefficient. Its own inverse."""
    order = order_of(coefficients.shape[-1])
    signs = [(-1.0) ** abs(m) for band in range(order + 1) for m in range(-band, band + 1)]
    return coefficients * coefficients.new_tensor(signs)


def from_deep3d(gamma: Float[Tensor, "*shape 9"]) -> Float[Tensor, "*shape 9"]:
    """Light of Deep3DFaceReconstruction (γ, its 0.8 of ambient light not yet added), in the frame of its normals.

    The result shades to what that code multiplies its texture by: ``shading = irradiance / pi``.
    """
    ambient = torch.zeros_like(gamma)
    ambient[..., 0] = _DEEP3D_AMBIENT
    return (gamma + ambient) * gamma.new_tensor(_DEEP3D_SCALES) / _shading_scales(gamma)


def from_deca(lights: Float[Tensor, "*shape 9"]) -> Float[Tensor, "*shape 9"]:
    """Light of DECA and TRUST (one colour's nine values a row), in the frame of the normals they were used with."""
    in_our_order = torch.zeros_like(lights)
    in_our_order[..., list(_DECA_ORDER)] = lights * lights.new_tensor(_DECA_SCALES)
    return in_our_order / _shading_scales(lights)


def from_shading_polynomial(weights: Float[Tensor, "*shape 9"]) -> Float[Tensor, "*shape 9"]:
    """Light whose *shading* is the plain polynomial Σ w_k p_k over 1 | y, z, x | xy, yz, 3z² - 1, xz, x² - y²."""
    return weights / _shading_scales(weights)


def to_shading_polynomial(sh_radiance: Float[Tensor, "*shape 9"]) -> Float[Tensor, "*shape 9"]:
    """Inverse of `from_shading_polynomial`; what a shader wants to be handed."""
    return sh_radiance * _shading_scales(sh_radiance)


def _shading_scales(like: Tensor) -> Tensor:
    return like.new_tensor(_NORMALISERS) * lambert_factors(2, like) / math.pi
