"""A small reconstructed face without a fit: random identity, an expression, a checkered albedo, light from one side."""

from __future__ import annotations

import math

import pytest
import torch

from facealbedo.assets import load_face_model
from facealbedo.core.export.config import ExportConfig
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.geometry.projection import world_to_view
from facealbedo.core.geometry.rotations import euler_degrees_to_matrix
from facealbedo.core.lighting.sh import irradiance, positive, sh_basis
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.sampling import sample_bilinear
from facealbedo.core.render.uv import unwrap
from facealbedo.core.types import Camera, FaceAsset, FaceCoefficients, Lighting, Pose

MAP_PX = 64
PHOTO_PX = 96
TINY = ExportConfig(relit_px=32, preview_px=16, overlay_px=96)


def make_asset(model: FaceModel, *, seed: int = 0, smile: float = 0.6) -> tuple[FaceAsset, torch.Tensor]:
    """Return a face of batch 1 and the photo that its own albedo, light and camera make."""
    generator = torch.Generator().manual_seed(seed)
    identity = torch.randn(1, model.n_identity, generator=generator) * model.identity_sampling_std
    expression = torch.zeros(1, model.n_expression)
    for name in ("mouthSmileLeft", "mouthSmileRight", "jawOpen"):
        expression[0, model.expression_names.index(name)] = smile
    vertices = model.decode(identity, expression)
    pose = Pose(
        euler_degrees_to_matrix(*(torch.tensor([a]) for a in (12.0, -5.0, 3.0))), torch.tensor([[0, 0.02, -0.7]])
    )
    camera = Camera(torch.tensor([2.2 * PHOTO_PX]), torch.tensor([[PHOTO_PX / 2.0] * 2]), PHOTO_PX, PHOTO_PX)
    sh = torch.zeros(1, 3, 9)
    sh[..., 0] = 2.0
    sh += 0.5 * sh_basis(torch.nn.functional.normalize(torch.tensor([-0.6, 0.5, 0.6]), dim=0), 2)
    squares = (torch.arange(MAP_PX)[:, None] // 8 + torch.arange(MAP_PX)[None] // 8) % 2
    albedo = torch.tensor([0.45, 0.28, 0.20])[None, :, None, None] * (1 - 0.3 * squares)
    photo, fragments, vertices_view = _render(model, vertices, pose, camera, sh, albedo)
    observation = unwrap(model, photo, vertices_view, camera, fragments, MAP_PX)
    light = sh.reshape(1, 27, 1, 1).expand(1, 27, 4, 4).contiguous()
    coefficients = FaceCoefficients(identity, expression, torch.zeros(1, 10))
    asset = FaceAsset(coefficients, pose, camera, Lighting(sh), vertices, observation, albedo, albedo.clone(), light)
    return asset, photo[0]


def _render(model, vertices, pose, camera, sh, albedo):
    vertices_view = world_to_view(vertices, pose)
    fragments, gbuffer = render_gbuffer(model, vertices_view, camera)
    shading = positive(irradiance(sh, gbuffer.normal_view) / math.pi)
    skin = sample_bilinear(albedo, gbuffer.uv.permute(0, 2, 3, 1) * MAP_PX)
    photo = torch.where(gbuffer.skin_coverage, skin * shading, 0.1)
    return photo, fragments, vertices_view


@pytest.fixture(scope="session")
def model() -> FaceModel:
    return load_face_model()


@pytest.fixture(scope="session")
def face(model: FaceModel) -> tuple[FaceAsset, torch.Tensor]:
    return make_asset(model)


@pytest.fixture(scope="session")
def asset(face: tuple[FaceAsset, torch.Tensor]) -> FaceAsset:
    return face[0]


@pytest.fixture(scope="session")
def photo(face: tuple[FaceAsset, torch.Tensor]) -> torch.Tensor:
    return face[1]


@pytest.fixture(scope="session")
def tiny() -> ExportConfig:
    return TINY
