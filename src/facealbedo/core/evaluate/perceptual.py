"""LPIPS when its weights are on this machine; otherwise it is reported as not available, never replaced."""

from __future__ import annotations

import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

BACKBONE_FILE = "alexnet-owt-7be5be79.pth"


def lpips_objection() -> str | None:
    """Return why LPIPS cannot be computed here, or None if it can."""
    if importlib.util.find_spec("torchmetrics") is None:
        return "not available: torchmetrics is not installed"
    if not (Path(torch.hub.get_dir()) / "checkpoints" / BACKBONE_FILE).is_file():
        return f"not available: torchvision's AlexNet weights ({BACKBONE_FILE}) are not in torch's cache"
    return None


def lpips(image: Float[Tensor, "1 3 height width"], reference: Float[Tensor, "1 3 height width"]) -> float:
    """Return LPIPS (AlexNet) of two sRGB images in [0, 1]; call it only without an objection."""
    with torch.no_grad():
        return float(_network()(image.clamp(0, 1), reference.clamp(0, 1)))


@lru_cache(maxsize=1)
def _network() -> Any:
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity  # noqa: PLC0415 (optional)

    return LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True)
