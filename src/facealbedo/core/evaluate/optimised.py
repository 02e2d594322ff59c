"""Per-photo optimisation of a free texture: what analysis-by-synthesis does without any training.

Albedo (every texel free) and order-2 light are found together so that albedo x openness x shading is the unwrapped
photo, with terms that keep the albedo symmetric, near the statistical prior and smooth. The terms are those of
Dib et al., "Practical face reconstruction via differentiable ray tracing" (Eurographics 2021; the code NextFace); here
everything happens in the atlas, which makes it fast.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import linear_to_srgb
from facealbedo.core.fit.light import openness_shading
from facealbedo.core.types import Lighting, UVObservation


@dataclass(frozen=True)
class OptimisedConfig:
    """Weights and steps of the optimisation.

    Attributes:
        resolution: texels a side of the free texture; the change is enlarged to the map's size.
        steps: of Adam. learning_rate: on log albedo, and on light relative to its ambient part.
        photo: weight of the photometric term (sRGB codes, Charbonnier of this width).
        width: of the Charbonnier penalty.
        symmetry, prior, smoothness: weights of the mean absolute log-ratio's asymmetry, size and gradient.
        light: weight of the light's distance from the fit's, relative.
    """

    resolution: int = 128
    steps: int = 80
    learning_rate: float = 0.04
    photo: float = 10.0
    width: float = 0.02
    symmetry: float = 0.5
    prior: float = 0.1
    smoothness: float = 0.3
    light: float = 0.05


def optimised_albedo(
    observation: UVObservation,
    prior_albedo: Float[Tensor, "1 3 height width"],
    lighting: Lighting,
    openness: Float[Tensor, "1 1 height width"],
    region: Float[Tensor, "1 1 height width"],
    config: OptimisedConfig | None = None,
) -> tuple[Float[Tensor, "1 3 height width"], Lighting]:
    """Return the optimised linear albedo at the observation's resolution, and its light.

    Args:
        observation: linear texture, trust and normals.
        prior_albedo: start and anchor.
        lighting: start and anchor, order 2.
        openness: share of the sky that each texel sees.
        region: factor on the trust.
        config: weights; the defaults when omitted.
    """
    settings = config or OptimisedConfig()
    size = observation.uv_texture.shape[-1]
    factor = max(1, size // settings.resolution)
    texture, prior, normals, sky, trust = (
        F.avg_pool2d(values, factor)
        for values in (
            observation.uv_texture,
            prior_albedo.clamp(min=1e-3),
            observation.uv_normal_view,
            openness,
            observation.uv_visibility * region,
        )
    )
    face = (prior.amax(1, keepdim=True) > 2e-3).to(texture)
    with torch.enable_grad():
        change = torch.zeros_like(prior, requires_grad=True)
        turn = torch.zeros_like(lighting.sh_radiance, requires_grad=True)
        optimiser = torch.optim.Adam([change, turn], lr=settings.learning_rate, betas=(0.9, 0.95))
        normals = F.normalize(normals, dim=1)
        ambient = lighting.sh_radiance[..., :1].detach().clamp(min=1e-3)
        target = linear_to_srgb(texture.clamp(0, 1))
        for step in range(settings.steps):
            for group in optimiser.param_groups:
                group["lr"] = settings.learning_rate * (1 - step / settings.steps)
            light = Lighting(lighting.sh_radiance + ambient * turn)
            image = prior * change.exp() * openness_shading(light, normals, sky)
            loss = _loss(linear_to_srgb(image.clamp(1e-4, 1)) - target, change, turn, trust, face, settings)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
    grown = F.interpolate(change.detach(), size=(size, size), mode="bilinear", align_corners=False)
    found = Lighting(lighting.sh_radiance + ambient * turn.detach())
    return (prior_albedo * grown.exp()).clamp(1e-4, 1), found


def _loss(
    error: Tensor, change: Tensor, turn: Tensor, trust: Tensor, face: Tensor, settings: OptimisedConfig
) -> Tensor:
    """Sum of the weighted terms, means over the face."""
    count = face.sum()

    def mean(values: Tensor) -> Tensor:
        return (values.mean(1, keepdim=True) * face).sum() / count

    photo = ((error.square() + settings.width**2).sqrt() * trust).mean(1).sum() / trust.sum().clamp(min=1)
    along, down = change.diff(dim=-1).abs().mean(), change.diff(dim=-2).abs().mean()
    return (
        settings.photo * photo
        + settings.symmetry * mean((change - change.flip(-1)).abs())
        + settings.prior * mean(change.square())
        + settings.smoothness * (along + down)
        + settings.light * turn.square().mean()
    )
