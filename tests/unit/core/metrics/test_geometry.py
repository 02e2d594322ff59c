"""Vertex errors against SciPy and invariances."""

from __future__ import annotations

import pytest
import torch
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from facealbedo.core.metrics.geometry import align, vertex_error_mm
from facealbedo.core.metrics.masks import EvaluationError


def points(seed: int, count: int = 50) -> torch.Tensor:
    return 0.1 * torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_motion_and_size_do_not_count() -> None:
    face = points(1)
    turn = torch.from_numpy(Rotation.from_euler("xyz", [20, -35, 10], degrees=True).as_matrix())
    moved = 1.3 * face @ turn.T + torch.tensor([0.1, -0.2, 0.5])
    everything = torch.ones(50, dtype=torch.bool)
    assert vertex_error_mm(moved, face, everything)["vertex_mean_mm"] < 1e-6
    assert vertex_error_mm(moved, face, everything, scale=False)["vertex_mean_mm"] > 10


def test_alignment_is_as_good_as_procrustes() -> None:
    face, other = points(2), points(2) + 0.3 * points(3)
    left, right, disparity = procrustes(face.numpy(), other.numpy())
    moved = align(other, face, scale=True)
    spread = (face - face.mean(0)).square().sum()
    assert float((moved - face).square().sum() / spread) == pytest.approx(disparity, rel=1e-6)
    assert left.shape == right.shape


def test_a_reflection_is_no_motion() -> None:
    face = points(4)
    mirrored = face * torch.tensor([-1.0, 1.0, 1.0])
    assert vertex_error_mm(mirrored, face, torch.ones(50, dtype=torch.bool))["vertex_mean_mm"] > 10


def test_only_chosen_vertices_count_and_they_must_be_enough() -> None:
    face = points(5)
    broken = face.clone()
    broken[:5] += 1.0
    chosen = torch.arange(50) >= 5
    assert vertex_error_mm(broken, face, chosen)["vertex_p90_mm"] < 1e-6
    with pytest.raises(EvaluationError, match="at least four"):
        vertex_error_mm(face, face, torch.arange(50) < 3)
