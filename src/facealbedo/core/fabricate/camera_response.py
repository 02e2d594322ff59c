"""What a camera and its user make of radiance: exposure, white balance, tone curve, saturation.

Everything is per picture; the same `CameraResponse` can be applied to pixels, texels or mean colours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import linear_to_srgb, luminance, srgb_to_linear
from facealbedo.core.types import TensorRecord


@dataclass(frozen=True)
class CameraConfig:
    """How pictures are taken.

    Attributes:
        scene_target, face_target: linear luminance that metering on the scene or on the face brings it to.
        white_target: linear luminance that metering on the incoming light (or a photographer's eye: dark skin is to
            look dark, light skin light) gives to a white card in the face's place.
        face_share, scene_share: mean shares of the first two kinds of metering, the rest is the third; each picture
            has its own.
        exposure_log_sd: standard deviation of the log exposure that remains.
        balance_low, balance_high: white balance removes a share of the light's colour between these.
        balance_log_sd: its error, a colour.
        contrast_sd, saturation_sd: spread of the tone curve's S and of the saturation.
    """

    scene_target: float = 0.20
    face_target: float = 0.26
    white_target: float = 0.80
    face_share: float = 0.10
    scene_share: float = 0.06
    exposure_log_sd: float = 0.25
    balance_low: float = 0.3
    balance_high: float = 1.0
    balance_log_sd: float = 0.10
    contrast_sd: float = 0.35
    saturation_sd: float = 0.2


@dataclass(frozen=True)
class CameraResponse(TensorRecord):
    """Of each picture: ``gain`` on linear RGB, S of the tone curve, saturation, highlight roll-off in [0, 1]."""

    gain: Float[Tensor, "batch 3"]
    contrast: Float[Tensor, "batch"]
    saturation: Float[Tensor, "batch"]
    rolloff: Float[Tensor, "batch"]


def sample_response(
    face_rgb: Float[Tensor, "batch 3"],
    background_rgb: Float[Tensor, "batch 3"],
    light_rgb: Float[Tensor, "batch 3"],
    generator: torch.Generator,
    config: CameraConfig | None = None,
) -> CameraResponse:
    """Draw how each picture is taken.

    Args:
        face_rgb: mean radiance of the face.
        background_rgb: mean radiance of what stands behind it.
        light_rgb: mean shading of the face: the colour that white balance aims to remove.
        generator: on the CPU.
        config: targets and spreads.
    """
    settings = config or CameraConfig()
    count = len(face_rgb)

    def normal(scale: float) -> Tensor:
        return torch.randn(count, generator=generator) * scale

    face, scene, incident = (luminance(colour).clamp(min=1e-4) for colour in (face_rgb, background_rgb, light_rgb))
    # The face fills a good part of a portrait's metering field.
    whole = (0.6 * scene.log() + 0.4 * face.log()).exp()
    on_face = (settings.face_share + normal(0.12)).clamp(0, 1)
    on_scene = (settings.scene_share + normal(0.10)).clamp(0, 1) * (1 - on_face)
    log_gain = (
        on_face * (settings.face_target / face).log()
        + on_scene * (settings.scene_target / whole).log()
        + (1 - on_face - on_scene) * (settings.white_target / incident).log()
        + normal(settings.exposure_log_sd)
    )
    low, high = settings.balance_low, settings.balance_high
    share = low + (high - low) * torch.rand(count, generator=generator)
    colour = light_rgb / luminance(light_rgb)[:, None].clamp(min=1e-4)
    error = torch.randn(count, 3, generator=generator) * settings.balance_log_sd
    balance = (-share[:, None] * colour.clamp(min=0.05).log() + error).exp()
    balance = balance / luminance(balance * colour)[:, None]
    return CameraResponse(
        gain=log_gain.exp()[:, None] * balance,
        contrast=normal(settings.contrast_sd) + 0.15,
        saturation=(1.05 + normal(settings.saturation_sd)).clamp(0.6, 1.6),
        rolloff=torch.rand(count, generator=generator),
    )


def apply_response(response: CameraResponse, radiance: Float[Tensor, "batch 3 *space"]) -> Tensor:
    """Return the *linear* value of the developed picture's sRGB codes, in [0, 1]; same shape as ``radiance``.

    The picture is exposed, its highlights rolled off, saturation and an S-curve applied to the encoded values.
    """
    trailing = (1,) * (radiance.ndim - 2)

    def shaped(values: Tensor) -> Tensor:
        return values.reshape(values.shape[0], -1, *trailing)

    exposed = radiance.clamp(min=0) * shaped(response.gain)
    # Extended Reinhard with white at 4, blended with plain clipping.
    rolled = exposed * (1 + exposed / 16) / (1 + exposed) * 1.25
    exposed = torch.lerp(exposed, torch.minimum(rolled, exposed), shaped(response.rolloff))
    grey = luminance(exposed.movedim(1, -1)).unsqueeze(1)
    saturated = (grey + (exposed - grey) * shaped(response.saturation)).clamp(0, 1)
    encoded = linear_to_srgb(saturated)
    curved = encoded + shaped(response.contrast) * encoded * (1 - encoded) * (2 * encoded - 1)
    return srgb_to_linear(curved.clamp(0, 1))
