"""Build the albedo prior from the face model's surface: regional recipe, noise, principal components.

The recipe says, for each place on the face, by how much its log melanin and log haemoglobin differ from the core skin's
on average, how much that varies from person to person, and how it drifts with the melanin level. It is additive in
log, so its covariance is a sum of outer products: the components are computed from those factors directly, no
population is drawn. Only noise (blotches that are no region) enters by samples.

Source of the regional means: published chromophore maps of faces, as summarised in the project's notes on the prior
(cheeks +.25, nose +.30, ears +.35, lips x3.2 to 5.5 in blood; under the eyes +.18 in melanin, ...); the spreads are
about half of the means.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import ndimage
from torch import Tensor

from facealbedo.core.face_model.albedo_prior import (
    LAYERS,
    SKIN_COMPONENTS,
    AlbedoPrior,
    balanced_groups,
    sample_tones,
    unfold_mirror,
)
from facealbedo.core.face_model.skin_maps import SkinSurface, skin_fields, solid_noise

STORED_FIELDS = ("core_skin", "lips", "lids", "ears", "neck", "freckle_zone")
# Softness of the vermilion border and of other region masks, millimetres (one sigma).
REGION_BLUR_MM = 1.2
LAYER_BLUR_TEXELS = 0.8
# How far beyond the atlas's border the surface is carried on.
EXTRAPOLATED_TEXELS = 3.0


@dataclass(frozen=True)
class RegionTone:
    """How a place differs from the core skin, in natural logs of the two chromophores.

    ``drift_*`` is the change for one standard deviation more of the population's melanin level.
    """

    melanin: float = 0.0
    melanin_std: float = 0.0
    haemoglobin: float = 0.0
    haemoglobin_std: float = 0.0
    melanin_drift: float = 0.0
    haemoglobin_drift: float = 0.0


REGION_TONES: Mapping[str, RegionTone] = {
    "cheek": RegionTone(0.00, 0.08, 0.25, 0.17),
    "cheekbone": RegionTone(0.00, 0.08, 0.04, 0.10),
    "under_eye": RegionTone(0.18, 0.13, 0.06, 0.10, 0.03),
    "inner_eye": RegionTone(0.08, 0.07, 0.08, 0.07),
    "lids": RegionTone(0.15, 0.12, 0.20, 0.13, 0.02),
    "eye_rims": RegionTone(-0.10, 0.07, 0.45, 0.20),
    "forehead": RegionTone(0.12, 0.12, 0.10, 0.12, 0.03),
    "glabella": RegionTone(0.02, 0.05, 0.03, 0.07),
    "temple": RegionTone(0.06, 0.08, -0.02, 0.07, 0.03),
    "nose": RegionTone(0.02, 0.07, 0.26, 0.16),
    "nose_tip": RegionTone(0.00, 0.05, 0.08, 0.10),
    "nose_wing": RegionTone(0.03, 0.04, 0.16, 0.10),
    "nose_bridge": RegionTone(0.00, 0.05, -0.04, 0.07),
    "mouth_ring": RegionTone(0.12, 0.13, 0.02, 0.08, 0.04),
    "mouth_corner": RegionTone(0.06, 0.07, 0.04, 0.07),
    "chin": RegionTone(0.04, 0.08, 0.10, 0.10),
    "jaw": RegionTone(0.02, 0.08, -0.03, 0.08),
    "ears": RegionTone(0.00, 0.08, 0.35, 0.16),
    "neck": RegionTone(0.05, 0.16, -0.06, 0.16),
    "throat": RegionTone(0.00, 0.07, -0.04, 0.08),
    "scalp": RegionTone(-0.10, 0.07, 0.00, 0.07),
    "lips": RegionTone(0.06, 0.16, 1.40, 0.21, -0.20, -0.12),
}
# Blotches that are no region: grain (m), spread of log melanin, spread of log haemoglobin.
NOISE_OCTAVES = ((0.045, 0.05, 0.07), (0.018, 0.035, 0.05))
# What a unit of log haemoglobin is worth in colour difference against a unit of log melanin.
HAEMOGLOBIN_WEIGHT = 0.6
# How much the components care about other skin than the core's.
ELSEWHERE_WEIGHT = {"neck": 0.3, "scalp": 0.1, "ears": 0.4}


@dataclass(frozen=True)
class AlbedoPriorConfig:
    """What the build may vary.

    Args:
        seed: of the noise and of the population's levels.
        n_noise: noise fields that enter the covariance.
        n_levels: tones drawn for the population's mean and spread.
    """

    seed: int = 7
    n_noise: int = 128
    n_levels: int = 60_000


def build_albedo_prior(
    surface: SkinSurface, config: AlbedoPriorConfig, provenance: Mapping[str, str] | None = None
) -> AlbedoPrior:
    """Build the prior (CPU, float32) from the skin's surface; deterministic.

    Args:
        surface: of the size that the prior's maps shall have, square and even; left and right are averaged.
        config: see there.
        provenance: kept in the prior.

    Raises:
        ValueError: the surface is not square with an even side, or no texel is core skin.
    """
    whole = _symmetric(surface)
    fields = skin_fields(whole)
    half = whole.mask.shape[-1] // 2
    fields = {name: value[:, :half] for name, value in fields.items()}
    positions, mask = whole.positions_m[..., :half], whole.mask[:, :half]
    core = fields["core_skin"].double()
    if not core.sum() > 0:
        raise ValueError("no texel of the surface is core skin: are its positions in metres, with the eyes at 0?")
    generator = torch.Generator().manual_seed(config.seed)
    tones = sample_tones(balanced_groups(config.n_levels, generator), generator).double()
    mean, drift, factors = _covariance_factors(fields, positions, config, generator)
    level_mean, level_std = tones.mean(0), tones.std(0)
    drift, factors = _centre(drift, core), _centre(factors, core)
    # The mean face's level is its median over the core skin, so that tone is what a median of the decoded map shows.
    mean = mean - mean[:, core > 0.5].median(dim=1).values[:, None, None]
    levels = torch.zeros(2, 2, *mask.shape, dtype=torch.float64)
    for channel in range(2):
        levels[channel, channel] = level_std[channel]
    levels[0] += drift
    spatial = _principal_maps(factors, _importance(fields, mask), SKIN_COMPONENTS - 2)
    return AlbedoPrior(
        log_mean=(mean + level_mean[:, None, None]).float(),
        log_basis=torch.cat([levels, spatial]).float(),
        layer_maps=_soften(torch.stack([fields[name] for name in LAYERS])),
        fields=torch.stack([fields[name] for name in STORED_FIELDS]).float(),
        positions_m=positions.float(),
        mask=mask,
        level_mean=level_mean.float(),
        level_std=level_std.float(),
        field_names=STORED_FIELDS,
        texel_m=_texel_size(positions, core),
        provenance=dict(provenance or {}),
    )


def _symmetric(surface: SkinSurface) -> SkinSurface:
    """Average left and right in float64, carry everything beyond the atlas's border, and soften the region masks."""
    height, width = surface.mask.shape
    if height != width or width % 2:
        raise ValueError(f"the surface must be square with an even side; got {height} x {width}")
    mask = surface.mask & surface.mask.flip(-1)
    nearest = _nearest_inside(mask)
    positions = surface.positions_m.double()
    mirrored = positions.flip(-1) * positions.new_tensor([-1.0, 1.0, 1.0])[:, None, None]
    positions = _extrapolate(0.5 * (positions + mirrored), mask, nearest)
    texel_mm = 1000 * _texel_size(positions, mask.double())
    regions = {}
    for name, weights in surface.regions.items():
        filled = _fill(0.5 * (weights + weights.flip(-1)).double(), nearest)
        blurred = ndimage.gaussian_filter(filled.numpy(), REGION_BLUR_MM / texel_mm, mode="nearest")
        regions[name] = torch.from_numpy(blurred)
    return SkinSurface(positions_m=positions, mask=mask, regions=regions)


def _soften(half_maps: Float[Tensor, "layer height half"]) -> Float[Tensor, "layer height half"]:
    """Blur by a texel, over the mid-line: borders of hair are narrower than a texel where the atlas is coarse."""
    whole = unfold_mirror(half_maps).numpy()
    blurred = ndimage.gaussian_filter(whole, LAYER_BLUR_TEXELS, axes=(1, 2), mode="nearest")
    return torch.from_numpy(blurred[..., : half_maps.shape[-1]]).float()


def _nearest_inside(mask: Bool[Tensor, "height width"]) -> np.ndarray:
    """Row and column of the nearest texel inside the mask, for each texel: [2, height, width]."""
    return ndimage.distance_transform_edt(~mask.numpy(), return_distances=False, return_indices=True)


def _fill(values: Tensor, nearest: np.ndarray) -> Tensor:
    """Give texels outside the atlas the value of the nearest texel inside."""
    return values[..., torch.from_numpy(nearest[0]).long(), torch.from_numpy(nearest[1]).long()]


def _extrapolate(values: Tensor, mask: Bool[Tensor, "height width"], nearest: np.ndarray) -> Tensor:
    """Carry a map on beyond the atlas by reflection in its border's points, so that it has no kink there.

    Bilinear look-ups at the border use the first texels outside: with the nearest value alone, points on either side
    of the atlas's cut, which are one point of the head, would see different noise.
    """
    height, width = mask.shape
    row, column = np.indices((height, width))
    reflected = np.stack([(2 * nearest[0] - row).clip(0, height - 1), (2 * nearest[1] - column).clip(0, width - 1)])
    inside = mask.numpy()[reflected[0], reflected[1]]
    carried = 2 * _fill(values, nearest) - _fill(values, reflected)
    near = torch.from_numpy(inside & (np.hypot(nearest[0] - row, nearest[1] - column) <= EXTRAPOLATED_TEXELS))
    return torch.where(near, carried, _fill(values, nearest))


def _texel_size(positions: Float[Tensor, "3 height width"], weight: Float[Tensor, "height width"]) -> float:
    """Median width in metres of the texels where ``weight`` is above one half."""
    across = (positions[:, :, 1:] - positions[:, :, :-1]).norm(dim=0)[:-1]
    down = (positions[:, 1:] - positions[:, :-1]).norm(dim=0)[:, :-1]
    inside = weight[:-1, :-1] > 0.5
    return float((across * down).sqrt()[inside].median())


def _covariance_factors(
    fields: Mapping[str, Tensor], positions: Tensor, config: AlbedoPriorConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and drift [2, height, half] of the two log maps, and maps [factor, 2, height, half] whose sum of outer
    products is the covariance of what is left.
    """
    mean = torch.zeros(2, *positions.shape[1:], dtype=torch.float64)
    drift, factors = mean.clone(), []
    for name, tone in REGION_TONES.items():
        field = fields[name]
        mean += torch.stack([tone.melanin * field, tone.haemoglobin * field])
        drift += torch.stack([tone.melanin_drift * field, tone.haemoglobin_drift * field])
        nothing = torch.zeros_like(field)
        factors.append(torch.stack([tone.melanin_std * field, nothing]))
        factors.append(torch.stack([nothing, tone.haemoglobin_std * field]))
    rows = torch.stack(factors)
    for grain, melanin, haemoglobin in NOISE_OCTAVES:
        noise = solid_noise(positions, grain, generator, config.n_noise, 2)
        spread = noise.new_tensor([melanin, haemoglobin])[:, None, None] / math.sqrt(config.n_noise)
        rows = torch.cat([rows, noise * spread])
    return mean, drift, rows


def _centre(maps: Float[Tensor, "*shape height half"], core: Float[Tensor, "height half"]) -> Tensor:
    """Take away each map's mean over the core skin: the level belongs to the first two coefficients alone."""
    return maps - ((maps * core).sum((-2, -1)) / core.sum())[..., None, None]


def _importance(fields: Mapping[str, Tensor], mask: Tensor) -> Float[Tensor, "2 height half"]:
    """Weight of each texel and chromophore in the components: squared colour difference, by eye."""
    weight = mask.double()
    for name, value in ELSEWHERE_WEIGHT.items():
        weight = weight * (1 + (value - 1) * fields[name])
    return torch.stack([weight, HAEMOGLOBIN_WEIGHT**2 * weight])


def _principal_maps(
    factors: Float[Tensor, "factor 2 height half"], weight: Float[Tensor, "2 height half"], count: int
) -> Float[Tensor, "component 2 height half"]:
    """The ``count`` strongest weighted components, each as the mean map of faces one standard deviation along it.

    With covariance XᵀX (rows of X are the factors) and weighted rows Y = X sqrt(w), the eigenvectors of the small
    matrix Y Yᵀ mix the factors into components; mixing the *unweighted* rows gives the regression of the map on the
    component, which is defined where the weight is 0, too.
    """
    weighted = (factors * weight.sqrt()).flatten(1)
    values, vectors = torch.linalg.eigh(weighted @ weighted.T)
    mixture = vectors[:, values.argsort(descending=True)[:count]]
    # An eigenvector's sign is arbitrary: let each component's largest values be positive.
    maps = torch.einsum("fk,fchw->kchw", mixture, factors)
    sign = torch.where((maps**3 * weight).sum((-3, -2, -1)) < 0, -1.0, 1.0)
    return maps * sign[:, None, None, None]
