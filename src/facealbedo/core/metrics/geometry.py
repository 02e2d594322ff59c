"""Error of face geometry, millimetres."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from facealbedo.core.metrics.masks import EvaluationError, check_same_size

Vertices = Float[Tensor, "vertex 3"]


def vertex_error_mm(
    predicted_m: Vertices, truth_m: Vertices, chosen: Bool[Tensor, "vertex"], scale: bool = True
) -> dict[str, float]:
    """Return mean, median and 90th percentile of the distance between corresponding vertices.

    The prediction is first moved onto the truth by the best rigid motion over the chosen vertices; with ``scale`` by
    the best similarity (a single photo does not show a face's size).

    Raises:
        EvaluationError: different topology, or fewer than four vertices.
    """
    check_same_size(predicted_m, truth_m, "vertices")
    if int(chosen.sum()) < 4:
        raise EvaluationError("at least four vertices are needed to align two faces")
    moved = align(predicted_m[chosen].double(), truth_m[chosen].double(), scale)
    distance = 1000 * (moved - truth_m[chosen].double()).norm(dim=1)
    return {
        "vertex_mean_mm": float(distance.mean()),
        "vertex_median_mm": float(distance.median()),
        "vertex_p90_mm": float(distance.quantile(0.9)),
    }


def align(points: Float[Tensor, "point 3"], onto: Float[Tensor, "point 3"], scale: bool) -> Float[Tensor, "point 3"]:
    """Move points onto others by the least-squares rigid motion or similarity.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991.
    """
    centre, target = points.mean(0), onto.mean(0)
    left, right = points - centre, onto - target
    u, singular, vt = torch.linalg.svd(left.T @ right)
    sign = torch.ones(3).to(points)
    sign[2] = torch.sign(torch.linalg.det(u @ vt))
    rotation = u @ torch.diag(sign) @ vt
    factor = (singular * sign).sum() / left.square().sum() if scale else 1.0
    return factor * left @ rotation + target
