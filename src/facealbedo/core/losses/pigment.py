"""The term that holds the albedo's detail to what a photo's colours say is pigment."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from facealbedo.core.losses.masked import charbonnier, masked_mean
from facealbedo.core.networks.pigment import detail_part

# The loss is quadratic below this, natural log.
WIDTH = 0.1


def pigment_loss(
    log_residual: Float[Tensor, "batch 3 height width"],
    target: Float[Tensor, "batch 3 height width"],
    trust: Float[Tensor, "batch 1 height width"],
    features: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, "batch"]:
    """Distance of the detail of log(albedo / prior) from `pigment_detail`."""
    return masked_mean(charbonnier(detail_part(log_residual, trust, features) - target, WIDTH), trust)
