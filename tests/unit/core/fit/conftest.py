"""A small linear face with known answers, and the real face model's landmarks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from facealbedo.core.fit.landmark_groups import LAYOUTS
from facealbedo.core.fit.landmarks import LandmarkBasis, landmark_basis
from facealbedo.core.geometry.projection import project, world_to_view
from facealbedo.core.geometry.rotations import euler_degrees_to_matrix
from facealbedo.core.types import Camera, FaceCoefficients, Pose

MakeFaces = Callable[..., tuple[Tensor, FaceCoefficients, Pose, Camera]]


def synthetic_basis(kind: str, n_identity: int = 6, n_expression: int = 5, seed: int = 0) -> LandmarkBasis:
    """Landmarks scattered over half an ellipsoid the size of a face, moved by smooth random waves of millimetres."""
    layout = LAYOUTS[kind]
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    plane = uniform(layout.n_surface, 2) * 1.6 - 0.8
    # Eye corners where eyes are: the scale of all errors depends on them.
    corners = [index for eye in layout.eye_corners for index in eye]
    plane[corners] = torch.tensor([[-0.65, 0.3], [-0.25, 0.3], [0.65, 0.3], [0.25, 0.3]], dtype=torch.float64)
    height = (1.5 - plane.square().sum(1)).sqrt() - 1
    mean = torch.cat((plane * torch.tensor([0.07, 0.09]), 0.07 * height[:, None]), dim=1)
    mean = mean + torch.tensor([0.003, -0.02, 0.05])  # the pivot is not the origin

    def waves(count: int, size: float) -> Tensor:
        frequency, phase = 60 * (uniform(count, 3, 3) - 0.5), 6.28 * uniform(count, 1, 3)
        direction = uniform(count, 3, 3) - 0.5
        field = torch.sin(mean @ frequency + phase) @ direction
        return size * field / field.norm(dim=-1).mean(dim=1)[:, None, None]

    return LandmarkBasis(
        layout, mean, waves(n_identity, 0.002), waves(n_expression, 0.006), torch.ones(len(mean)).double()
    )


def make_faces(
    basis: LandmarkBasis, count: int, seed: int = 0, turn: float = 25.0, expression: float = 1.0
) -> tuple[Tensor, FaceCoefficients, Pose, Camera]:
    """Random faces of a basis through random cameras: their exact landmarks and what made them."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    identity = 0.5 * torch.randn(count, len(basis.identity), generator=generator, dtype=torch.float64)
    active = uniform(count, len(basis.expression)) < 0.5
    activations = torch.where(active, expression * uniform(count, len(basis.expression)), 0.0)
    coefficients = FaceCoefficients(identity, activations, torch.zeros(count, 0, dtype=torch.float64))
    angles = (uniform(count, 3) * 2 - 1) * turn
    rotation = euler_degrees_to_matrix(*angles.unbind(-1))
    distance = 0.65 * torch.exp(0.1 * torch.randn(count, generator=generator, dtype=torch.float64))
    offset = (uniform(count, 2) - 0.5) * 0.1
    pivot_view = torch.cat((offset, -distance[:, None]), dim=1)
    pose = Pose(rotation, pivot_view - rotation @ basis.pivot)
    principal = torch.tensor([[256.0, 200.0]], dtype=torch.float64).expand(count, 2)
    camera = Camera(distance * (800 + 400 * uniform(count)), principal, height=400, width=512)
    landmarks = project(world_to_view(basis.decode(coefficients), pose), camera)
    return landmarks, coefficients, pose, camera


@pytest.fixture(scope="session")
def face_maker() -> MakeFaces:
    return make_faces


@pytest.fixture(scope="session", params=["mediapipe478", "ibug68"])
def synthetic(request: pytest.FixtureRequest) -> LandmarkBasis:
    return synthetic_basis(request.param)


@pytest.fixture(scope="session")
def synthetic_dense() -> LandmarkBasis:
    return synthetic_basis("mediapipe478")


@pytest.fixture(scope="session")
def real_basis() -> LandmarkBasis:
    from facealbedo.assets import load_face_model

    return landmark_basis(load_face_model())
