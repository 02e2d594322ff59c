"""Thousands of simulated pictures a second, as tone features only: what the tone estimator is trained on.

No picture is rendered. A face is some hundred points of the atlas with the normals of a random head, the albedo of a
random draw of the prior, natural light, a camera's response; the features are taken from the points' colours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import ita_degrees, linear_rgb_to_lab, luminance
from facealbedo.core.fabricate.camera_response import apply_response, sample_response
from facealbedo.core.fabricate.natural_light import NaturalLight, sample_natural_light
from facealbedo.core.face_model.albedo_prior import AlbedoPrior
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.fit.surroundings import SurroundingsConfig
from facealbedo.core.fit.tone import tone_rgb
from facealbedo.core.fit.tone_features import (
    CORE,
    EYES,
    REGIONS,
    SkinPoints,
    Surroundings,
    mean_over_lids,
    tone_features,
)
from facealbedo.core.geometry.rotations import axis_angle_to_matrix
from facealbedo.core.lighting.envmap import EnvironmentMap
from facealbedo.core.lighting.sh import irradiance, positive
from facealbedo.core.render.uv import bake_region, bake_vertices
from facealbedo.core.types import TensorRecord

# Linear diffuse albedo of the eye white.
EYE_WHITE_ALBEDO = (0.58, 0.52, 0.48)
# Light on what is taken for white but is lid or rim, relative to the eye's.
_LID_SHADE = 0.5
# Rows among the regions.
_LIPS = 1 + REGIONS.index("lips")
_EYES = 1 + len(REGIONS)


@dataclass(frozen=True)
class ToneSimulationConfig:
    """What is simulated.

    Attributes:
        faces: how many pictures.
        heads: how many different heads and poses.
        resolution: side of the atlas maps from which points are taken.
        gloss: mean strength of the skin's mirror reflection; exponential.
        region_log_sd: how far the luminance of a whole region is off (make-up, beard, misfit); colours by half of it.
        point_log_sd: spread of single points: pores, wrinkles, cast shadows, whatever the light model leaves over.
        lips_chance: how often the lips are seen.
        eye_white_chance: how often the eye white is measured.
        eye_white_log_sd: how far its log luminance is off in both eyes (median picture; some are much worse, and some
            better); each eye by four fifths of it more.
        eye_white_yellow_sd: spread of the log of its blue: whites yellow.
        eye_white_lid: largest share of what is taken for white that is lid.
        clutter_log_sd: how much the background's log luminance differs from the light behind the face (hair, clothes,
            walls).
        low_key_share: share of pictures that are darker than any meter makes them; low_key_log, low_key_log_sd: by how
            much, natural log. Without them every dim picture of light skin would be one of dark skin.
        seed: of everything.
    """

    faces: int = 72_000
    heads: int = 300
    resolution: int = 32
    gloss: float = 0.05
    region_log_sd: float = 0.15
    point_log_sd: float = 0.12
    lips_chance: float = 0.85
    eye_white_chance: float = 0.75
    eye_white_log_sd: float = 0.25
    eye_white_yellow_sd: float = 0.3
    eye_white_lid: float = 0.6
    clutter_log_sd: float = 0.8
    low_key_share: float = 0.05
    low_key_log: float = -0.5
    low_key_log_sd: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class ToneStatistics(TensorRecord):
    """Features and truth of simulated pictures."""

    features: Float[Tensor, "face feature"]
    log_melanin: Float[Tensor, "face"]
    log_haemoglobin: Float[Tensor, "face"]

    def ita_degrees(self) -> Float[Tensor, "face"]:
        """True ITA of the core skin."""
        return ita_degrees(linear_rgb_to_lab(tone_rgb(self.log_melanin, self.log_haemoglobin)))


@dataclass(frozen=True)
class _Heads(TensorRecord):
    """Normals and trust of random heads at the chosen texels."""

    normal: Float[Tensor, "head point 3"]
    trust: Float[Tensor, "head point"]


def simulate_tone_statistics(
    model: FaceModel,
    prior: AlbedoPrior,
    openness: Float[Tensor, "vertex"],
    environments: EnvironmentMap,
    environments_sh: Float[Tensor, "environment 3 25"],
    config: ToneSimulationConfig | None = None,
) -> ToneStatistics:
    """Simulate pictures and return their features.

    Args:
        model: whose heads.
        prior: whose tones, in equal numbers of each ITA group.
        openness: share of the sky that each vertex sees.
        environments: natural light; leave out of it what the estimator is to be tested on.
        environments_sh: their SH of order 4.
        config: sizes and chances.
    """
    settings = config or ToneSimulationConfig()
    generator = torch.Generator().manual_seed(settings.seed)
    regions = torch.stack([bake_region(model, name, settings.resolution).flatten() for name in (CORE, *REGIONS, EYES)])
    chosen = torch.nonzero(regions.amax(0) > 0.3)[:, 0]
    sky = bake_vertices(model, openness[None, :, None], settings.resolution)[0].flatten()[chosen]
    heads = _random_heads(model, chosen, settings, generator)
    small = prior.at_resolution(settings.resolution)
    batches = []
    for start in range(0, settings.faces, 1000):
        count = min(1000, settings.faces - start)
        light = sample_natural_light(environments, environments_sh, count, generator)
        coeffs = prior.sample(count, generator)
        albedo = small.decode(coeffs).flatten(2)[..., chosen]
        albedo = albedo * _region_errors(regions[:, chosen], count, settings, generator)
        features = _simulate(albedo, light, heads, regions[:, chosen], sky, generator, settings)
        melanin, haemoglobin = prior.tone_of(coeffs)
        batches.append((features, melanin, haemoglobin))
    features, melanin, haemoglobin = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return ToneStatistics(features, melanin, haemoglobin)


def _region_errors(
    regions: Float[Tensor, "region point"], count: int, settings: ToneSimulationConfig, generator: torch.Generator
) -> Float[Tensor, "batch 3 point"]:
    """Factor on the albedo of each region: what the prior does not know of faces."""
    level = torch.randn(count, len(regions), 1, generator=generator)
    colour = torch.randn(count, len(regions), 3, generator=generator) * 0.5
    return torch.einsum("brc,rp->bcp", settings.region_log_sd * (level + colour), regions).exp()


def _random_heads(
    model: FaceModel, chosen: Tensor, settings: ToneSimulationConfig, generator: torch.Generator
) -> _Heads:
    """Draw heads, turn them, and keep the normals at the chosen texels."""
    normals, trusts = [], []
    n_identity = model.identity_basis.shape[0]
    for start in range(0, settings.heads, 50):
        count = min(50, settings.heads - start)
        identity = torch.randn(count, n_identity, generator=generator) * 0.45
        active = torch.rand(count, model.n_expression, generator=generator)
        expression = torch.where(active > 0.9, torch.rand(active.shape, generator=generator) * 0.5, 0.0)
        angles = torch.randn(count, 3, generator=generator) * torch.tensor([0.12, 0.25, 0.06])
        vertices = model.decode(identity, expression) @ axis_angle_to_matrix(angles).transpose(1, 2)
        normal = bake_vertices(model, model.normals(vertices), settings.resolution).flatten(2)[..., chosen]
        normal = torch.nn.functional.normalize(normal, dim=1).transpose(1, 2)
        normals.append(normal)
        # A distant camera: the cosine to it is the normal's z.
        trusts.append(((normal[..., 2] - 0.3) / 0.2).clamp(0, 1))
    return _Heads(torch.cat(normals), torch.cat(trusts))


def _simulate(
    albedo: Float[Tensor, "batch 3 point"],
    light: NaturalLight,
    heads: _Heads,
    regions: Float[Tensor, "region point"],
    sky: Float[Tensor, "point"],
    generator: torch.Generator,
    settings: ToneSimulationConfig,
) -> Float[Tensor, "batch feature"]:
    count = len(albedo)
    which = torch.randint(len(heads.normal), (count,), generator=generator)
    normal, trust = heads.normal[which], heads.trust[which]
    shading = positive(irradiance(light.sh_radiance, normal) / math.pi).transpose(1, 2) * sky
    radiance = albedo * shading + _gloss(light, normal, settings, generator).transpose(1, 2)
    weight = (trust * regions[0])[:, None]
    weight = weight / weight.sum(2, keepdim=True).clamp(min=1e-6)
    mean_shading = (shading * weight).sum(2)
    background = _background(light, mean_shading, settings, generator)
    response = sample_response((radiance * weight).sum(2), background, mean_shading, generator)
    response = replace(response, gain=response.gain * _low_key(count, settings, generator))
    noise = (settings.point_log_sd * torch.randn(count, 1, radiance.shape[2], generator=generator)).exp()
    colour = apply_response(response, radiance * noise).transpose(1, 2)
    eye_shading = mean_over_lids(shading, trust, regions[_EYES])
    skin = (albedo * weight).sum(2)
    eye, reliability = _eye_white(skin, settings, generator)
    surroundings = Surroundings(
        eye_white=apply_response(response, eye * eye_shading),
        eye_white_reliability=reliability,
        background=apply_response(response, background),
        background_reliability=torch.ones(count),
    )
    hidden = torch.rand(count, 1, generator=generator) > settings.lips_chance
    trust = torch.where(hidden & (regions[_LIPS] > 0), 0.0, trust)
    points = SkinPoints(
        colour=colour,
        trust=trust,
        regions=regions[:_EYES],
        shading=luminance(shading.transpose(1, 2)),
        eye_shading=luminance(eye_shading),
    )
    return tone_features(points, surroundings)


def _low_key(count: int, settings: ToneSimulationConfig, generator: torch.Generator) -> Float[Tensor, "batch 1"]:
    """Factor on the exposure: 1 for most pictures."""
    chosen = torch.rand(count, 1, generator=generator) < settings.low_key_share
    log = settings.low_key_log + settings.low_key_log_sd * torch.randn(count, 1, generator=generator)
    return torch.where(chosen, log, 0.0).exp()


def _gloss(
    light: NaturalLight, normal: Tensor, settings: ToneSimulationConfig, generator: torch.Generator
) -> Float[Tensor, "batch point 3"]:
    """A broad mirror lobe of the brightest side of the light: what oily skin adds."""
    luminance_sh = light.sh_radiance.mean(1)
    strongest = torch.nn.functional.normalize(luminance_sh[:, [3, 1, 2]], dim=-1)
    halfway = torch.nn.functional.normalize(strongest + strongest.new_tensor([0.0, 0.0, 1.0]), dim=-1)
    cosine = (normal * halfway[:, None]).sum(-1).clamp(min=0)
    sharpness = torch.rand(len(normal), 1, generator=generator) * 25 + 6
    strength = -torch.rand(len(normal), 1, generator=generator).clamp(min=1e-6).log() * settings.gloss
    ambient = light.sh_radiance[..., 0] / (2 * math.sqrt(math.pi))
    # Fresnel and the environment's mean: a haze over everything, besides the lobe.
    return ((strength * cosine**sharpness) + 0.02)[..., None] * ambient.clamp(min=0)[:, None]


def _background(
    light: NaturalLight, mean_shading: Tensor, settings: ToneSimulationConfig, generator: torch.Generator
) -> Float[Tensor, "batch 3"]:
    """Radiance of what surrounds the face: the light behind it, or hair, clothes and walls lit like the face."""
    count = len(mean_shading)
    reflectance = (math.log(0.2) + settings.clutter_log_sd * torch.randn(count, 1, generator=generator)).exp()
    tint = (0.15 * torch.randn(count, 3, generator=generator)).exp()
    things = mean_shading * reflectance * tint
    share = torch.rand(count, 1, generator=generator)
    return light.background.clamp(min=1e-3) * share + things * (1 - share)


def _eye_white(
    skin: Float[Tensor, "batch 3"], settings: ToneSimulationConfig, generator: torch.Generator
) -> tuple[Float[Tensor, "batch 3"], Float[Tensor, "batch"]]:
    """Draw what is measured as the eye white's albedo, and how well both eyes agree; 0: not measured.

    Whites differ and yellow, lashes shade them by an unknown amount, and part of what is taken for white is lid.
    """
    count = len(skin)

    def normal(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=generator)

    quality = (0.5 * normal(1)).exp() * settings.eye_white_log_sd
    eyes = 0.8 * quality * normal(2)
    level = quality * normal(1) + eyes.mean(1, keepdim=True) + 0.15 * normal(1)
    yellow = settings.eye_white_yellow_sd * normal(1) * level.new_tensor([0.0, 0.0, 1.0])
    white = level.new_tensor(EYE_WHITE_ALBEDO) * (level + yellow + 0.05 * normal(3)).exp()
    lid = settings.eye_white_lid * torch.rand(count, 1, generator=generator) ** 2
    agreement = (1 - (eyes[:, 0] - eyes[:, 1]).abs() / SurroundingsConfig().max_eye_difference).clamp(min=0)
    measured = torch.rand(count, generator=generator) < settings.eye_white_chance
    return torch.lerp(white, _LID_SHADE * skin, lid), torch.where(measured, agreement, 0.0)
