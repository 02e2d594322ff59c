"""Skin colour, light and trust from an unwrapped photo: the second half of the prior generation.

Tone comes first, from the learned estimator; given the tone, the light follows from the pixels, and then the smaller
coefficients of the albedo prior. So a face's overall brightness is settled where evidence for it is weighed, not by
whichever of albedo and light a least-squares fit happens to move. A beard is believed only where light, shade and the
rest of the prior explain the lower face clearly worse: skin in shade is not hair, least of all where skin is dark or
smooth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import luminance
from facealbedo.core.face_model.albedo_prior import COEFFICIENT_NAMES, LAYERS, SKIN_COMPONENTS, AlbedoPrior
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.fit.glasses import FRAME_PX, GlassesConfig, GlassesMaps, glasses, glasses_maps
from facealbedo.core.fit.light import LightFit, LightFitConfig, fit_light, openness_shading
from facealbedo.core.fit.occluders import OccluderConfig, OccluderMaps, occluder_maps, own_skin
from facealbedo.core.fit.strands import Coarseness, StrandMaps, coarseness, strand_maps
from facealbedo.core.fit.tone import Tone, ToneEstimator
from facealbedo.core.fit.tone_features import (
    CORE,
    EYES,
    REGIONS,
    SkinPoints,
    Surroundings,
    mean_over_lids,
    tone_features,
    without_false_white,
)
from facealbedo.core.lighting.sh import sh_basis
from facealbedo.core.render.uv import atlas_texels, bake_region, bake_vertices
from facealbedo.core.types import Lighting, TensorRecord, UVObservation

TONE_RESOLUTION = 32
_COEFF_RESOLUTION = 64
_LIGHT_RESOLUTION = 64
_BEARD = COEFFICIENT_NAMES.index("beard")
# Tone is the estimator's, the log gain is for textures that were divided by a light; neither is fitted here. The beard
# is decided first, on its own.
_SMALLER = tuple(k for k in range(2, SKIN_COMPONENTS + len(LAYERS)) if k != _BEARD)
# Mean and standard deviation of the beard's coefficient in the two halves of the prior's faces.
_BEARDLESS, _BEARDED = (-1.0, 0.25), (0.9, 0.8)
# Directions of log colour in which light may err: level, yellow against blue, green against purple.
_LEVEL_AND_TINTS = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (-0.5, 1.0, -0.5))


@dataclass(frozen=True)
class AppearanceConfig:
    """Weights of the appearance fit.

    Attributes:
        light: of the light fit.
        coefficient_steps: Gauss-Newton steps on the smaller albedo coefficients.
        residual_sd: standard deviation of log texels about the model.
        independent_texels: how many independent measurements a fully seen face counts for; texels err together.
        beard_evidence: by how many natural units of log likelihood a bearded face must explain the photo better than a
            beardless one before a beard is believed.
        strand_log: local log contrast of the lower face at which it may be hair; half of it is bare skin's. The
            smoother the lower face, the more evidence it takes, up to ``smooth_evidence`` more.
        coarser_log, coarser_evidence: a lower face whose contrast exceeds that of the other skin by more than this log
            ratio is evidence of itself: so many units for each unit of the log ratio beyond, at most eight.
        beard_channels: weights of red, green, blue in that comparison; they sum to 3. Shade on skin is reddened by
            light from skin to skin, which takes blue from it as hair would; hair takes the red as well.
        light_sd, tint_sd: how far the light's level and colour may be off while beards are compared, natural log, for
            each spherical harmonic of the normal, for the log openness, and for what faces half down.
        usual_residual: the standard deviation is at least this multiple of the median residual of the beardless face:
            what a face's model errs by elsewhere is no evidence of a beard.
        occluders: when a texel is not the face's own skin.
        glasses: when frames of glasses are believed.
    """

    light: LightFitConfig = LightFitConfig()
    coefficient_steps: int = 3
    residual_sd: float = 0.20
    independent_texels: float = 150.0
    beard_evidence: float = 4.5
    strand_log: float = 0.05
    smooth_evidence: float = 20.0
    coarser_log: float = 0.3
    coarser_evidence: float = 20.0
    beard_channels: tuple[float, float, float] = (2.0, 1.0, 0.0)
    light_sd: float = 0.3
    tint_sd: float = 0.1
    usual_residual: float = 1.5
    occluders: OccluderConfig = OccluderConfig()
    glasses: GlassesConfig = GlassesConfig()


@dataclass(frozen=True)
class AppearanceMaps(TensorRecord):
    """Maps of the face model that every fit at one resolution needs.

    * ``openness``: share of the sky seen, 1 outside the atlas; ``core``: where tone and light are read.
    * ``lids``: whose light the eyes stand in.
    * ``face``: the landmark oval without eye rims and nostrils. ``occluders``: where hair is looked for; ``glasses``:
      where frames are; ``strands``: where a beard may grow.
    * ``tone_regions``: `CORE` and `REGIONS` at `TONE_RESOLUTION`, flattened.
    """

    openness: Float[Tensor, "1 1 height width"]
    core: Float[Tensor, "1 1 height width"]
    lids: Float[Tensor, "1 1 height width"]
    face: Float[Tensor, "1 1 height width"]
    occluders: OccluderMaps
    glasses: GlassesMaps
    strands: StrandMaps
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
        lids=region(EYES),
        face=region("face") * (1 - region("eye_rims")) * (1 - region("nostrils")),
        occluders=occluder_maps(model),
        glasses=glasses_maps(model),
        strands=strand_maps(model),
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
    observation = _without_frames(observation, maps, settings)
    points = _skin_points(observation, _mid_tone_shading(observation, maps, prior, settings), maps)
    tone = estimator.estimate(tone_features(points, without_false_white(points, surroundings)))
    coeffs = prior.coeffs_from_tone(tone.log_melanin, tone.log_haemoglobin)
    texture, normals, visibility = observation.uv_texture, observation.uv_normal_view, observation.uv_visibility
    albedo = prior.decode(coeffs, resolution)
    light = _light(observation, albedo, visibility * maps.core, maps, settings)
    shading = openness_shading(light.lighting, normals, maps.openness)
    own = own_skin(texture, visibility, shading, albedo, maps.occluders, settings.occluders)
    face = replace(observation, uv_visibility=visibility * own * maps.face)
    coeffs = _fit_coefficients(coeffs, face, shading, maps, prior, settings)
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


def _without_frames(observation: UVObservation, maps: AppearanceMaps, settings: AppearanceConfig) -> UVObservation:
    """Return the observation with frames of glasses called unseen."""
    visibility, side = observation.uv_visibility, observation.uv_visibility.shape[-1]
    frames = glasses(observation.uv_texture, visibility, maps.glasses, settings.glasses)
    if side < FRAME_PX:
        frames = F.adaptive_max_pool2d(frames, side)
    frames = F.interpolate(frames, size=(side, side), mode="bilinear", align_corners=False)
    return replace(observation, uv_visibility=visibility * (1 - frames))


def _mid_tone_shading(
    observation: UVObservation, maps: AppearanceMaps, prior: AlbedoPrior, settings: AppearanceConfig
) -> Float[Tensor, "batch 1 height width"]:
    """Luminance of the light as it would be on skin of the middle tone: right up to a factor, which is enough."""
    texture, visibility = observation.uv_texture, observation.uv_visibility
    middle = prior.decode(texture.new_zeros(len(texture), len(COEFFICIENT_NAMES)), texture.shape[-1])
    light = _light(observation, middle, visibility * maps.core, maps, settings)
    shading = openness_shading(light.lighting, observation.uv_normal_view, maps.openness)
    return luminance(shading.movedim(1, -1))[:, None]


def _skin_points(observation: UVObservation, shading: Tensor, maps: AppearanceMaps) -> SkinPoints:
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
        shading=F.avg_pool2d(shading, factor).flatten(1),
        eye_shading=mean_over_lids(shading.flatten(2), weight.flatten(1), maps.lids.flatten())[:, 0],
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


@dataclass(frozen=True)
class _LitTexels:
    """What the albedo coefficients are fitted to, ``texel`` counting the texels of each colour in turn.

    * ``log_albedo``: log of texture over shading. ``precision``: weight of each in [0, 3].
    * ``residual_sd``: standard deviation about the model, a face.
    * ``light``: change of the log shading for a standard deviation of each way in which the light may be off.
    """

    log_albedo: Float[Tensor, "batch texel"]
    precision: Float[Tensor, "batch texel"]
    residual_sd: Float[Tensor, "batch 1"]
    light: Float[Tensor, "batch way texel"]


def _fit_coefficients(
    coeffs: Tensor,
    face: UVObservation,
    shading: Tensor,
    maps: AppearanceMaps,
    prior: AlbedoPrior,
    settings: AppearanceConfig,
) -> Float[Tensor, "batch albedo"]:
    """Decide on a beard, then fit the other coefficients that place colour, not level."""
    factor = shading.shape[-1] // _COEFF_RESOLUTION
    small = prior.at_resolution(_COEFF_RESOLUTION)
    seen = face.uv_visibility
    weight = F.avg_pool2d(seen, factor)

    def average(values: Tensor) -> Tensor:
        return F.avg_pool2d(values * seen, factor) / weight.clamp(min=1e-6)

    observed, lit = average(face.uv_texture).clamp(min=2e-3), average(shading).clamp(min=2e-3)
    normals = F.normalize(average(face.uv_normal_view), dim=1)
    openness = average(maps.openness.expand_as(seen)).clamp(min=0.05)
    channels = weight.new_tensor(settings.beard_channels)[:, None, None]
    texels = _LitTexels(
        log_albedo=(observed / lit).log().flatten(1),
        precision=(weight * channels).flatten(1),
        residual_sd=weight.new_full((len(weight), 1), settings.residual_sd),
        light=_light_errors(normals, openness, settings),
    )
    needed = _needed_evidence(coarseness(face.uv_texture, seen, maps.strands), settings)
    start = coeffs.index_copy(1, _indices((_BEARD,), coeffs), _beard(coeffs, texels, needed, small, settings))
    even = replace(texels, precision=weight.expand_as(observed).flatten(1), light=texels.light[:, :0])
    return _gauss_newton(start, (1.0,) * len(_SMALLER), _SMALLER, even, small, settings)[0]


def _needed_evidence(lower: Coarseness, settings: AppearanceConfig) -> Float[Tensor, "batch"]:
    """Return how much better a bearded face must explain the photo, given how coarse the lower face is."""
    hairy = (2 * lower.level / settings.strand_log - 1).clamp(0, 1)
    coarser = (settings.coarser_evidence * (lower.log_ratio - settings.coarser_log)).clamp(0, 8)
    return settings.beard_evidence + settings.smooth_evidence * (1 - hairy) - coarser * hairy


def _beard(
    coeffs: Tensor,
    texels: _LitTexels,
    needed: Float[Tensor, "batch"],
    prior: AlbedoPrior,
    settings: AppearanceConfig,
) -> Float[Tensor, "batch 1"]:
    """Fit a beardless and a bearded face, each with light that may be off, and return the coefficient of the likelier.

    Shade that follows normals and openness is left to the light; hair has its place, its borders and its strands:
    ``needed`` is how much better the bearded face must be.
    """
    fitted = (*_SMALLER, _BEARD)

    def fit(mode: tuple[float, float], about: _LitTexels) -> tuple[Tensor, Tensor, Tensor]:
        start = coeffs.index_fill(1, _indices((_BEARD,), coeffs), mode[0])
        return _gauss_newton(start, (1.0,) * len(_SMALLER) + mode[1:], fitted, about, prior, settings)

    residual = fit(_BEARDLESS, texels)[2]
    usual = settings.usual_residual * _weighted_median(residual.abs(), texels.precision)
    about = replace(texels, residual_sd=torch.maximum(texels.residual_sd, usual))
    bare, bare_cost, _ = fit(_BEARDLESS, about)
    bearded, bearded_cost, _ = fit(_BEARDED, about)
    believed = bare_cost - bearded_cost > needed
    return torch.where(believed, bearded[:, _BEARD], bare[:, _BEARD])[:, None]


def _gauss_newton(
    start: Tensor,
    sds: tuple[float, ...],
    fitted: tuple[int, ...],
    texels: _LitTexels,
    prior: AlbedoPrior,
    settings: AppearanceConfig,
) -> tuple[Float[Tensor, "batch albedo"], Float[Tensor, "batch"], Float[Tensor, "batch texel"]]:
    """Fit coefficients, normal about ``start``, and the light's errors; Cauchy's robust loss.

    Returns:
        Coefficients, the negative log posterior (up to a constant of the face), and residuals.
    """
    places, ways = _indices(fitted, start), texels.light.shape[1]
    stiff = torch.cat([start.new_tensor(sds) ** -2, start.new_ones(ways)])
    width = 2 * texels.residual_sd
    count = settings.independent_texels / (_COEFF_RESOLUTION**2 * 0.3)
    precision = texels.precision * count / texels.residual_sd**2
    found = start.new_zeros(len(start), len(stiff))
    base, jacobian = _linearised(start, places, prior)
    residual = texels.log_albedo - base
    for _ in range(settings.coefficient_steps):
        rows = torch.cat([jacobian, texels.light], dim=1)
        limited = residual.clamp(-1.5, 1.5)
        robust = precision / (1 + (limited / width) ** 2)
        gram = torch.einsum("bin,bn,bjn->bij", rows, robust, rows) + torch.diag(stiff)
        right = torch.einsum("bin,bn,bn->bi", rows, robust, limited) - stiff * found
        found = found + torch.linalg.solve(gram, right).clamp(-1.5, 1.5)
        coeffs = start.index_add(1, places, found[:, : len(fitted)])
        base, jacobian = _linearised(coeffs, places, prior)
        residual = texels.log_albedo - base - torch.einsum("bi,bin->bn", found[:, len(fitted) :], texels.light)
    misfit = (precision * width**2 * torch.log1p((residual / width) ** 2)).sum(1)
    return coeffs, 0.5 * (misfit + (stiff * found**2).sum(1)), residual


def _linearised(
    coeffs: Tensor, places: Tensor, prior: AlbedoPrior
) -> tuple[Float[Tensor, "batch texel"], Float[Tensor, "batch fitted texel"]]:
    """Return the log albedo and its change for a unit of each of the coefficients at ``places``."""
    step = 0.05
    moves = step * torch.eye(coeffs.shape[1], dtype=coeffs.dtype, device=coeffs.device)[places]
    moved = (coeffs[:, None] + torch.cat([torch.zeros_like(moves[:1]), moves])).flatten(0, 1)
    values = prior.decode(moved).clamp(min=1e-4).log().reshape(len(coeffs), len(places) + 1, -1)
    return values[:, 0], (values[:, 1:] - values[:, :1]) / step


def _light_errors(normals: Tensor, openness: Tensor, settings: AppearanceConfig) -> Float[Tensor, "batch way texel"]:
    """Return level and tints, each along harmonics of the normal (1 for the constant), log openness, attached shade.

    What faces down lies in the attached shade of light from above; its edge is too sharp for order 2.
    """
    harmonics = sh_basis(normals.flatten(2).transpose(1, 2), 2)
    shade = 2 * (-normals[:, 1:2].flatten(2)).clamp(min=0)
    smooth = torch.cat([(harmonics / harmonics[..., :1]).transpose(1, 2), openness.flatten(2).log(), shade], dim=1)
    sds = smooth.new_tensor([settings.light_sd, settings.tint_sd, settings.tint_sd])
    colours = smooth.new_tensor(_LEVEL_AND_TINTS) * sds[:, None]
    return torch.einsum("bsn,wc->bswcn", smooth, colours).flatten(3).flatten(1, 2)


def _weighted_median(values: Tensor, weight: Tensor) -> Float[Tensor, "batch 1"]:
    """Return the median along the texels; the smallest value where nothing has weight."""
    ordered, order = values.sort(dim=1)
    below = weight.gather(1, order).cumsum(1)
    middle = (below < 0.5 * below[:, -1:]).sum(1, keepdim=True)
    return ordered.gather(1, middle)


def _indices(places: tuple[int, ...], like: Tensor) -> Tensor:
    return torch.tensor(places, device=like.device)
