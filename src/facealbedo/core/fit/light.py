"""Distant light from a face of known albedo: robust, regularised, positive.

The shading model is ``openness * irradiance(normal) / pi``, linear in the SH coefficients. Luminance is solved first,
then each colour is drawn towards that light times one tint: freely fitted colours extrapolate to coloured light on
the sides that the camera does not see.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import luminance
from facealbedo.core.lighting.sh import irradiance, lambert_factors, positive, sh_basis, sphere_quadrature
from facealbedo.core.types import Lighting, TensorRecord

ORDER = 2
_COEFFICIENTS = (ORDER + 1) ** 2
_DARKEST = 2e-3
_STIFFENINGS = 16
_STIFFER = 1.5


@dataclass(frozen=True)
class LightFitConfig:
    """Weights of the light fit.

    Attributes:
        iterations: rounds of reweighting.
        luminance_ridge: penalty of bands 0, 1, 2 of the luminance, relative to the data.
        colour_ridge: penalty of each colour's distance from the tinted luminance, by band.
        residual_scale: log residual (natural) at which a texel counts half; adapted to the face upward.
        highlight_factor: how much sooner a texel that is too bright is distrusted than one that is too dark.
        overshoot: how far below zero, as a part of its mean, irradiance may dip before the fit is stiffened: light from
            one side dips by a tenth in order 2 alone, and gloss and the shade of the jaw steepen it.
        darkest_part: smallest irradiance over the sphere in the result, as a part of its mean, a colour.
    """

    iterations: int = 6
    luminance_ridge: tuple[float, float, float] = (1e-4, 1.2e-2, 5e-2)
    colour_ridge: tuple[float, float, float] = (1e-3, 3e-1, 1.0)
    residual_scale: float = 0.20
    highlight_factor: float = 1.5
    overshoot: float = 0.4
    darkest_part: float = 0.04


@dataclass(frozen=True)
class LightFit(TensorRecord):
    """Fitted light.

    * ``lighting``: order-2 SH radiance in the frame of the normals.
    * ``trust``: robust weight of each texel in [0, 1], 0 where nothing was seen.
    * ``log_residual``: mean |log(texture / (albedo * shading))| over trusted texels.
    """

    lighting: Lighting
    trust: Float[Tensor, "batch 1 height width"]
    log_residual: Float[Tensor, "batch"]


def openness_shading(
    lighting: Lighting,
    normals: Float[Tensor, "batch 3 height width"],
    openness: Float[Tensor, "batch_or_1 1 height width"],
) -> Float[Tensor, "batch 3 height width"]:
    """Return ``openness * irradiance / pi``, softly kept above 0."""
    return positive(irradiance(lighting.sh_radiance, normals) / math.pi) * openness


def fit_light(
    texture: Float[Tensor, "batch 3 height width"],
    albedo: Float[Tensor, "batch 3 height width"],
    normals: Float[Tensor, "batch 3 height width"],
    weights: Float[Tensor, "batch 1 height width"],
    openness: Float[Tensor, "batch_or_1 1 height width"],
    config: LightFitConfig | None = None,
) -> LightFit:
    """Fit order-2 light to a texture whose albedo is given.

    Args:
        texture: linear RGB.
        albedo: linear diffuse albedo, > 0 where weights are.
        normals: unit normals; the light comes out in their frame.
        weights: trust in [0, 1].
        openness: share of the sky that each texel sees.
        config: weights; the defaults when omitted.

    Returns:
        The light. A face without any trusted texel gets white ambient light of shading 1.
    """
    settings = config or LightFitConfig()
    shape = texture.shape
    colours, reflectance = texture.flatten(2), albedo.flatten(2)
    weight = weights.flatten(1)
    basis = _shading_basis(normals) * openness.flatten(2).transpose(1, 2)
    texels = _Texels(basis, (basis[..., :, None] * basis[..., None, :]).flatten(2), colours, reflectance)
    usable = (colours.amax(1) < 0.97) & (colours.amax(1) > _DARKEST)
    weight = weight * usable
    robust, predicted = _about_median(colours, reflectance, weight)
    coefficients = _ambient(texture)
    stiffness = weight.new_ones(len(weight))
    for _ in range(settings.iterations):
        # Errors grow with the level. The level is what the light found so far predicts: with what is observed, hair
        # and cast shadows would weigh most and draw the light down to them.
        current = weight * robust / (predicted + 0.03)
        current = current / current.sum(1, keepdim=True).clamp(min=1e-12)
        coefficients, stiffness = _solve_stiffened(texels, current, stiffness, settings)
        predicted = _predicted_luminance(basis, coefficients, reflectance)
        robust, residual = _robust_weights(basis, coefficients, colours, reflectance, weight, settings)
    seen = weight.sum(1) > 1
    coefficients = torch.where(seen[:, None, None], coefficients, _ambient(texture))
    kept = keep_positive(coefficients, settings.darkest_part)
    lighting = Lighting(kept * _level(basis, kept, colours, reflectance, weight * robust)[:, None, None])
    trust = (weight * robust).reshape(shape[0], 1, *shape[2:])
    return LightFit(lighting, trust, residual)


@dataclass(frozen=True)
class _Texels(TensorRecord):
    """What does not change while the light of a face is sought.

    * ``basis``: shading of each unit SH coefficient; ``products``: of all pairs of them.
    * ``colours``: of the texture; ``reflectance``: the albedo.
    """

    basis: Float[Tensor, "batch texel 9"]
    products: Float[Tensor, "batch texel 81"]
    colours: Float[Tensor, "batch 3 texel"]
    reflectance: Float[Tensor, "batch 3 texel"]


@dataclass(frozen=True)
class _Equations(TensorRecord):
    """Normal equations of luminance and of each colour, for one weighting of the texels."""

    gram: Float[Tensor, "batch 4 9 9"]
    right: Float[Tensor, "batch 4 9"]


def _solve_stiffened(
    texels: _Texels, weight: Tensor, stiffness: Tensor, settings: LightFitConfig
) -> tuple[Tensor, Tensor]:
    """Solve; stiffen and solve again while irradiance dips too far below zero.

    Normals that all face the camera confuse ambient light with light from the front: a free solution may want negative
    ambient light. Stiffening draws it to ambient light, which keeps the face's level.
    """
    equations = _equations(texels, weight)
    coefficients = _solve(equations, texels, weight, stiffness, settings)
    for _ in range(_STIFFENINGS):
        dark = _darkest_part(coefficients) < -settings.overshoot
        if not bool(dark.any()):
            break
        stiffness = torch.where(dark, _STIFFER * stiffness, stiffness)
        coefficients = _solve(equations, texels, weight, stiffness, settings)
    return coefficients, stiffness


def _about_median(colours: Tensor, reflectance: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return where to start: robust weights about the median of ambient light, and the luminance that it predicts."""
    log_ratio = (colours.clamp(min=_DARKEST) / reflectance.clamp(min=_DARKEST)).log().mean(1)
    known = torch.where(weight > 0.5 * weight.amax(1, keepdim=True), log_ratio, torch.nan)
    middle = torch.nan_to_num(known.nanmedian(1, keepdim=True).values)
    robust = 1 / (1 + (log_ratio - middle) ** 2) ** 2
    return robust, luminance(reflectance.transpose(1, 2)) * middle.exp()


def _predicted_luminance(basis: Tensor, coefficients: Tensor, reflectance: Tensor) -> Tensor:
    shading = positive(torch.einsum("bnk,bck->bcn", basis, coefficients))
    return luminance((shading * reflectance).transpose(1, 2))


def _level(basis: Tensor, coefficients: Tensor, colours: Tensor, reflectance: Tensor, weight: Tensor) -> Tensor:
    """Return the factor that brings back each face's level after its light was made positive; 1 without texels."""
    shading = positive(torch.einsum("bnk,bck->bcn", basis, coefficients))
    log_ratio = (colours.clamp(min=_DARKEST) / (reflectance * shading).clamp(min=_DARKEST)).log().mean(1)
    total = weight.sum(1)
    return ((log_ratio * weight).sum(1) / total.clamp(min=1e-6)).exp()


def _darkest_part(sh_radiance: Float[Tensor, "batch 3 9"]) -> Float[Tensor, "batch"]:
    """Return the smallest irradiance over the sphere as a part of its mean, of the worst colour; negative means < 0."""
    directions = torch.from_numpy(sphere_quadrature(10)[0]).to(sh_radiance)
    values = irradiance(sh_radiance, directions.expand(sh_radiance.shape[0], -1, -1))
    mean = values.mean(1)
    ratio = values.amin(1) / mean.abs().clamp(min=1e-6)
    return torch.where(mean > 0, ratio, -1.0).amin(1)


def keep_positive(sh_radiance: Float[Tensor, "batch 3 9"], darkest_part: float) -> Float[Tensor, "batch 3 9"]:
    """Shrink bands 1 and 2 of each colour until irradiance is at least ``darkest_part`` of its mean everywhere."""
    directions = torch.from_numpy(sphere_quadrature(24)[0]).to(sh_radiance)
    values = irradiance(sh_radiance, directions.expand(sh_radiance.shape[0], -1, -1)).transpose(1, 2)
    mean = (sh_radiance[..., :1] * (0.5 / math.sqrt(math.pi)) * math.pi).clamp(min=1e-6)
    deepest = (mean - values).amax(-1, keepdim=True).clamp(min=1e-9)
    factor = ((1 - darkest_part) * mean / deepest).clamp(max=1)
    ambient = sh_radiance[..., :1].clamp(min=1e-6)
    return torch.cat([ambient, sh_radiance[..., 1:] * factor], dim=-1)


def _shading_basis(normals: Tensor) -> Float[Tensor, "batch texel 9"]:
    """Return the shading that each unit SH coefficient of radiance makes at each texel."""
    values = sh_basis(normals.flatten(2).transpose(1, 2), ORDER)
    return values * lambert_factors(ORDER, values) / math.pi


def _ambient(like: Tensor) -> Float[Tensor, "batch 3 9"]:
    """White light that gives shading 1 everywhere."""
    coefficients = like.new_zeros(like.shape[0], 3, _COEFFICIENTS)
    coefficients[..., 0] = 2 * math.sqrt(math.pi)
    return coefficients


def _by_band(values: tuple[float, float, float], like: Tensor) -> Tensor:
    return like.new_tensor([values[0]] + [values[1]] * 3 + [values[2]] * 5)


def _equations(texels: _Texels, weight: Float[Tensor, "batch texel"]) -> _Equations:
    """Sum over texels, once for all ridges."""
    albedo, target = _with_luminance(texels.reflectance), _with_luminance(texels.colours)
    gram = (weight[:, None] * albedo * albedo) @ texels.products
    right = (weight[:, None] * albedo * target) @ texels.basis
    return _Equations(gram.unflatten(-1, (_COEFFICIENTS, _COEFFICIENTS)), right)


def _with_luminance(colours: Float[Tensor, "batch 3 texel"]) -> Float[Tensor, "batch 4 texel"]:
    return torch.cat([luminance(colours.transpose(1, 2))[:, None], colours], dim=1)


def _solve(
    equations: _Equations, texels: _Texels, weight: Tensor, stiffness: Tensor, settings: LightFitConfig
) -> Float[Tensor, "batch 3 9"]:
    """Weighted ridge regression: luminance, then each colour around the tinted luminance."""
    ridge = _by_band(settings.luminance_ridge, stiffness) * stiffness[:, None]
    ridge[:, 0] = settings.luminance_ridge[0]
    light = _ridge(equations.gram[:, :1], equations.right[:, :1], ridge, torch.zeros_like(stiffness[:, None, None]))
    lit = positive(light @ texels.basis.transpose(1, 2)) * texels.reflectance
    weighted = weight[:, None] * lit
    tint = (weighted * texels.colours).sum(2) / (weighted * lit).sum(2).clamp(min=1e-12)
    ridge = _by_band(settings.colour_ridge, stiffness) * stiffness[:, None]
    return _ridge(equations.gram[:, 1:], equations.right[:, 1:], ridge, light * tint[..., None])


def _ridge(
    gram: Float[Tensor, "batch system 9 9"], right: Float[Tensor, "batch system 9"], ridge: Tensor, centre: Tensor
) -> Float[Tensor, "batch system 9"]:
    """Solve ridge regressions around ``centre``; the penalty is relative to the data's own scale."""
    penalty = ridge[:, None] * gram[..., :1, 0].clamp(min=1e-12)
    return torch.linalg.solve(gram + torch.diag_embed(penalty), right + penalty * centre)


def _robust_weights(
    basis: Tensor, coefficients: Tensor, colours: Tensor, reflectance: Tensor, weight: Tensor, settings: LightFitConfig
) -> tuple[Tensor, Tensor]:
    """Return each texel's robust weight and the face's mean absolute log residual."""
    shading = positive(torch.einsum("bnk,bck->bcn", basis, coefficients))
    residual = (colours.clamp(min=_DARKEST) / (reflectance * shading).clamp(min=_DARKEST)).log()
    signed = residual.mean(1)
    size = residual.abs().mean(1) * torch.where(signed > 0, settings.highlight_factor, 1.0)
    # The median, not the mean: hair over a third of the face must not widen what is taken for usual.
    known = torch.where(weight > 0.5 * weight.amax(1, keepdim=True), residual.abs().mean(1), torch.nan)
    typical = torch.nan_to_num(known.nanmedian(1).values)
    scale = torch.maximum(typical, size.new_tensor(settings.residual_scale))
    robust = 1 / (1 + (size / (2 * scale[:, None])) ** 2) ** 2
    kept = weight * robust
    return robust, (residual.abs().mean(1) * kept).sum(1) / kept.sum(1).clamp(min=1e-9)
