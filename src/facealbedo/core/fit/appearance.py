"""Skin colour, light and trust from an unwrapped photo: the second half of the prior generation.

Tone comes first, from the learned estimator; given the tone, the light follows from the pixels, and then the smaller
coefficients of the albedo prior. So a face's overall brightness is settled where evidence for it is weighed, not by
whichever of albedo and light a least-squares fit happens to move.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import luminance
from facealbedo.core.face_model.albedo_prior import LAYERS, SKIN_COMPONENTS, AlbedoPrior
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.fit.light import LightFit, LightFitConfig, fit_light, openness_shading
from facealbedo.core.fit.occluders import OccluderConfig, OccluderMaps, occluder_maps, own_skin
from facealbedo.core.fit.tone import Tone, ToneEstimator
from facealbedo.core.fit.tone_features import CORE, REGIONS, SkinPoints, Surroundings, tone_features
from facealbedo.core.render.uv import atlas_texels, bake_region, bake_vertices
from facealbedo.core.types import Lighting, TensorRecord, UVObservation

TONE_RESOLUTION = 32
_COEFF_RESOLUTION = 64
_LIGHT_RESOLUTION = 64
# Tone is the estimator's, the log gain is for textures that were divided by a light; neither is fitted here.
_FITTED = (*range(2, SKIN_COMPONENTS), *range(SKIN_COMPONENTS, SKIN_COMPONENTS + len(LAYERS)))


@dataclass(frozen=True)
class AppearanceConfig:
    """Weights of the appearance fit.

    Attributes:
        light: of the light fit.
        coefficient_steps: Gauss-Newton steps on the smaller albedo coefficients.
        residual_sd: standard deviation of log texels about the model.
        independent_texels: how many independent measurements a fully seen face counts for; texels err together.
        occluders: when a texel is not the face's own skin.
    """

    light: LightFitConfig = LightFitConfig()
    coefficient_steps: int = 3
    residual_sd: float = 0.20
    independent_texels: float = 150.0
    occluders: OccluderConfig = OccluderConfig()


@dataclass(frozen=True)
class AppearanceMaps(TensorRecord):
    """Maps of the face model that every fit at one resolution needs.

    * ``openness``: share of the sky seen, 1 outside the atlas; ``core``: where tone and light are read.
    * ``face``: the landmark oval without eye rims and nostrils. ``occluders``: where hair is looked for.
    * ``tone_regions``: `CORE` and `REGIONS` at `TONE_RESOLUTION`, flattened.
    """

    openness: Float[Tensor, "1 1 height width"]
    core: Float[Tensor, "1 1 height width"]
    face: Float[Tensor, "1 1 height width"]
    occluders: OccluderMaps
    tone_regions: Float[Tensor, "region texel"]


@dataclass(frozen=True)
class AppearanceFit(TensorRecord):
    """What a photo says of skin and light.

    * ``albedo_coeffs``: of the prior. ``prior_albedo``: decoded at the working resolution, linear.
    * ``lighting``: order-2 radiance in the view frame. ``tone``: with the spread to be expected.
    * ``trust``: visibility, less where something else than skin seems to cover the face.
    * ``log_residual``: mean |log(texture / (albedo * shading))| over the core skin.
    * ``exposure``: mean luminance of the shading over the seen core skin: what a white face would show.
    """

    albedo_coeffs: Float[Tensor, "batch albedo"]
    prior_albedo: Float[Tensor, "batch 3 height width"]
    lighting: Lighting
    tone: Tone
    trust: Float[Tensor, "batch 1 height width"]
    log_residual: Float[Tensor, "batch"]
    exposure: Float[Tensor, "batch"]


def appearance_maps(model: FaceModel, openness: Float[Tensor, "vertex"], resolution: int) -> AppearanceMaps:
    """Bake the maps for one working resolution.

    Args:
        model: the face model.
        openness: share of the sky that each vertex sees.
        resolution: of the observation, even.
    """

    def region(name: str) -> Tensor:
        return bake_region(model, name, resolution)[None, None]

    mask = atlas_texels(model, resolution).mask[None, None]
    sky = bake_vertices(model, openness[None, :, None], resolution)
    return AppearanceMaps(
        openness=torch.where(mask, (sky + sky.flip(-1)) / 2, 1.0).clamp(min=0.05),
        core=region(CORE),
        face=region("face") * (1 - region("eye_rims")) * (1 - region("nostrils")),
        occluders=occluder_maps(model),
        tone_regions=torch.stack([bake_region(model, name, TONE_RESOLUTION).flatten() for name in (CORE, *REGIONS)]),
    )


def fit_appearance(
    observation: UVObservation,
    surroundings: Surroundings,
    maps: AppearanceMaps,
    prior: AlbedoPrior,
    estimator: ToneEstimator,
    config: AppearanceConfig | None = None,
) -> AppearanceFit:
    """Fit tone, light and albedo coefficients to unwrapped photos.

    Args:
        observation: at the resolution of ``maps``, a power of two from 128 up.
        surroundings: eye white and background of the same photos.
        maps: of the face model.
        prior: the albedo prior.
        estimator: of the tone.
        config: weights; the defaults when omitted.
    """
    settings = config or AppearanceConfig()
    resolution = observation.uv_texture.shape[-1]
    tone = estimator.estimate(tone_features(_skin_points(observation, maps), surroundings))
    coeffs = prior.coeffs_from_tone(tone.log_melanin, tone.log_haemoglobin)
    texture, normals, visibility = observation.uv_texture, observation.uv_normal_view, observation.uv_visibility
    albedo = prior.decode(coeffs, resolution)
    light = _light(observation, albedo, visibility * maps.core, maps, settings)
    shading = openness_shading(light.lighting, normals, maps.openness)
    own = own_skin(texture, visibility, shading, albedo, maps.occluders, settings.occluders)
    coeffs = _fit_coefficients(coeffs, texture, shading, visibility * own * maps.face, prior, settings)
    albedo = prior.decode(coeffs, resolution)
    weights = visibility * own * maps.core
    light = _light(observation, albedo, weights, maps, settings)
    shading = openness_shading(light.lighting, normals, maps.openness)
    own = own_skin(texture, visibility, shading, albedo, maps.occluders, settings.occluders)
    total = weights.sum((1, 2, 3)).clamp(min=1e-6)
    level = luminance(shading.movedim(1, -1))[:, None]
    return AppearanceFit(
        albedo_coeffs=coeffs,
        prior_albedo=albedo,
        lighting=light.lighting,
        tone=tone,
        trust=visibility * own,
        log_residual=light.log_residual,
        exposure=(level * weights).sum((1, 2, 3)) / total,
    )


def _skin_points(observation: UVObservation, maps: AppearanceMaps) -> SkinPoints:
    """Average the maps down to the resolution at which the estimator was trained."""
    factor = observation.uv_texture.shape[-1] // TONE_RESOLUTION
    weight = observation.uv_visibility
    share = F.avg_pool2d(weight, factor)
    safe = share.clamp(min=1e-6)
    colour = F.avg_pool2d(observation.uv_texture * weight, factor) / safe
    return SkinPoints(
        colour=colour.flatten(2).transpose(1, 2),
        trust=share.flatten(1),
        regions=maps.tone_regions,
    )


def _light(
    observation: UVObservation, albedo: Tensor, weights: Tensor, maps: AppearanceMaps, settings: AppearanceConfig
) -> LightFit:
    """Fit the light to averages of texels: light this smooth needs no more, and it is many times faster."""
    factor = albedo.shape[-1] // _LIGHT_RESOLUTION
    share = F.avg_pool2d(weights, factor)

    def average(values: Tensor) -> Tensor:
        return F.avg_pool2d(values * weights, factor) / share.clamp(min=1e-6)

    normals = F.normalize(average(observation.uv_normal_view), dim=1)
    openness = average(maps.openness)
    texture, albedo = average(observation.uv_texture), average(albedo).clamp(min=1e-3)
    return fit_light(texture, albedo, normals, share, openness, settings.light)


def _fit_coefficients(
    coeffs: Tensor, texture: Tensor, shading: Tensor, seen: Tensor, prior: AlbedoPrior, settings: AppearanceConfig
) -> Float[Tensor, "batch albedo"]:
    """Gauss-Newton with the unit-normal prior on the coefficients that place colour, not level."""
    factor = texture.shape[-1] // _COEFF_RESOLUTION
    small = prior.at_resolution(_COEFF_RESOLUTION)
    weight = F.avg_pool2d(seen, factor)
    safe = weight.clamp(min=1e-6)
    observed = F.avg_pool2d(texture * seen, factor) / safe
    lit = F.avg_pool2d(shading * seen, factor) / safe
    target = (observed.clamp(min=2e-3) / lit.clamp(min=2e-3)).log().flatten(1)
    precision = weight.expand_as(observed).flatten(1)
    scale = settings.independent_texels / (weight.shape[-1] ** 2 * settings.residual_sd**2) / 0.3
    step = 0.05
    moves = torch.zeros(len(_FITTED), coeffs.shape[1], dtype=coeffs.dtype, device=coeffs.device)
    moves[torch.arange(len(_FITTED)), torch.tensor(_FITTED)] = step
    identity = torch.eye(len(_FITTED), dtype=coeffs.dtype, device=coeffs.device)
    start = coeffs
    for _ in range(settings.coefficient_steps):
        base = small.decode(coeffs).clamp(min=1e-4).log().flatten(1)
        moved = (coeffs[:, None] + moves).flatten(0, 1)
        changed = small.decode(moved).clamp(min=1e-4).log().reshape(len(coeffs), len(_FITTED), -1)
        jacobian = (changed - base[:, None]) / step
        residual = (target - base).clamp(-1.5, 1.5)
        robust = precision * scale / (1 + (residual / (2 * settings.residual_sd)) ** 2)
        gram = torch.einsum("bin,bn,bjn->bij", jacobian, robust, jacobian) + identity
        offset = coeffs[:, list(_FITTED)] - start[:, list(_FITTED)]
        right = torch.einsum("bin,bn,bn->bi", jacobian, robust, residual) - offset
        change = torch.linalg.solve(gram, right).clamp(-1.5, 1.5)
        coeffs = coeffs.index_add(1, torch.tensor(_FITTED, device=coeffs.device), change)
    return coeffs
