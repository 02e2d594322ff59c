"""Was an albedo map stored as sRGB codes although it is said to be linear? Skin's own colours tell."""

from __future__ import annotations

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import linear_to_srgb
from facealbedo.core.face_model.skin import skin_colour
from facealbedo.core.metrics.masks import EvaluationError

# How much nearer to encoded than to linear skin (mean distance of log colours) a set must lie to be refused.
_MARGIN = 0.02


def check_linear(colours: Float[Tensor, "face 3"], what: str) -> None:
    """Raise if mean skin colours look like sRGB codes: they lie on the curve of encoded skin, not of linear skin.

    Args:
        colours: mean skin colour of each face, said to be linear.
        what: names the data in the message.

    Raises:
        EvaluationError: they are nearer to encoded skin, or not finite, or outside [0, 1].
    """
    if not bool(colours.isfinite().all()) or float(colours.max()) > 1.5 or float(colours.min()) < 0:
        raise EvaluationError(f"{what}: colours must be finite and in [0, 1]; divide 8-bit codes by 255")
    linear, encoded = skin_distances(colours)
    if encoded + _MARGIN < linear:
        raise EvaluationError(
            f"{what}: the values are sRGB-encoded, not linear (mean log distance from linear skin {linear:.2f}, from "
            f"encoded skin {encoded:.2f}); decode them with srgb_to_linear, or declare the files as sRGB"
        )


def skin_distances(colours: Float[Tensor, "face 3"]) -> tuple[float, float]:
    """Return the mean distances of log colours from all linear skin colours, and from the same encoded."""
    table = _skin_table().to(colours)
    logs = colours.clamp(min=1e-4).log()
    nearest = [torch.cdist(logs, skin.clamp(min=1e-4).log()).amin(1) for skin in (table, linear_to_srgb(table))]
    return float(nearest[0].mean()), float(nearest[1].mean())


@lru_cache(maxsize=1)
def _skin_table() -> Float[Tensor, "tone 3"]:
    """Linear colours of facial skin over log melanin and log haemoglobin."""
    tones = torch.cartesian_prod(torch.linspace(-5.1, -0.7, 48), torch.linspace(-3.8, -3.0, 5))
    return skin_colour(tones[:, :1, None], tones[:, 1:, None])[:, :, 0, 0]
