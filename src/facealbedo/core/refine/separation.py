"""A refinement without a network that tells pigment from shading: prior x exp(pigment's part of the detail).

Unlike the quotient it takes no level and no smooth change from the photo along the line of shading, so wrinkles,
highlights and side light stay out; see `networks.pigment`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.networks.pigment import PigmentConfig, believed, pigment_detail
from facealbedo.core.types import UVObservation

DARKEST, DARKEST_ALBEDO = 4e-5, 1e-3


@dataclass(frozen=True)
class SeparationConfig:
    """What is believed.

    Attributes:
        pigment: what of the photo's detail is pigment.
        max_log_ratio: largest believable |log(texture / (shading x prior))|; more is softly limited.
        mirror_trust: factor on the trust of mirrored texels.
    """

    pigment: PigmentConfig = PigmentConfig()
    max_log_ratio: float = 2.0
    mirror_trust: float = 0.9


def separate_albedo(
    observation: UVObservation,
    shading: Float[Tensor, "batch 3 height width"],
    prior_albedo: Float[Tensor, "batch 3 height width"],
    skin: Float[Tensor, "skin_batch 1 height width"],
    features: Float[Tensor, "feature_batch 1 height width"],
    config: SeparationConfig | None = None,
    shares: Float[Tensor, "batch 2 rows columns"] | None = None,
) -> Float[Tensor, "batch 3 height width"]:
    """Return complete linear albedo.

    Args:
        observation: linear texture and trust in the atlas.
        shading: irradiance / pi at the texels, linear RGB, in the texture's units.
        prior_albedo: complete linear albedo of the parametric prior, > 0.
        skin: bare skin, where the line of shading is measured.
        features: 1 on brows and lips.
        config: what is believed; the defaults when omitted.
        shares: what share of skin's detail is pigment, see `pigment_detail`.
    """
    settings = config or SeparationConfig()
    trust = observation.uv_visibility
    ratio = _log(observation.uv_texture) - _log(shading) - _log(prior_albedo)
    ratio = settings.max_log_ratio * torch.tanh(ratio / settings.max_log_ratio)
    detail = pigment_detail(ratio, _log(prior_albedo), trust, skin, features, settings.pigment, shares)
    return with_detail(prior_albedo, detail, trust, settings)


def with_detail(
    prior_albedo: Float[Tensor, "batch 3 height width"],
    detail: Float[Tensor, "batch 3 height width"],
    trust: Float[Tensor, "batch 1 height width"],
    config: SeparationConfig | None = None,
) -> Float[Tensor, "batch 3 height width"]:
    """Return the prior with a face's pigment (`pigment_detail`), and its mirror image where only that is seen."""
    change = _complete(detail, believed(trust), config or SeparationConfig())
    return (prior_albedo * change.exp()).clamp(DARKEST_ALBEDO, 1.0)


def _complete(detail: Tensor, trust: Tensor, settings: SeparationConfig) -> Tensor:
    """Own detail where it is seen, the other side's where only that is; none elsewhere. It has no mean, so no seam."""
    other = trust.flip(-1) * settings.mirror_trust
    return detail * trust + detail.flip(-1) * other * (1 - trust)


def _log(values: Tensor) -> Tensor:
    return values.clamp(min=DARKEST).log()
