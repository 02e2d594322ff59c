"""The independent renderer: closed forms, and the project's own renderer where both must agree."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from facealbedo.assets import load_face_model
from facealbedo.core.evaluate.denoise import smooth_light
from facealbedo.core.evaluate.path_tracer import TraceConfig, TracedFace, TraceScene, trace
from facealbedo.core.geometry.rotations import axis_angle_to_matrix
from facealbedo.core.lighting.envmap import EnvironmentMap, project_to_sh, texel_directions
from facealbedo.core.lighting.sh import irradiance, rotate_sh
from facealbedo.core.metrics.masks import EvaluationError
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.sampling import sample_uv
from facealbedo.core.types import Camera, GBuffer

pytest.importorskip("mitsuba", reason="the path tracer is an optional dependency")
SIZE = 64


def scene(environment: torch.Tensor, albedo: torch.Tensor | None = None) -> TraceScene:
    model = load_face_model()
    middle = model.landmarks(model.mean[None])[0].mean(0)
    return TraceScene(
        model=model,
        vertices_view=model.mean - middle + torch.tensor([0.0, 0.0, -0.8]),
        uv_albedo=torch.full((3, 8, 8), 0.5) if albedo is None else albedo,
        camera=Camera(torch.tensor([180.0]), torch.full((1, 2), SIZE / 2), SIZE, SIZE),
        environment=EnvironmentMap(environment),
        world_to_view=torch.eye(3),
        roughness=0.5,
        gloss_strength=1.0,
    )


def geometry(of: TraceScene) -> GBuffer:
    return render_gbuffer(of.model, of.vertices_view[None], of.camera)[1]


def traced(of: TraceScene, samples: int = 32, depth: int = 2) -> TracedFace:
    return trace(of, TraceConfig(samples=samples, gloss_samples=8, max_depth=depth), seed=1)


def test_an_even_sky_gives_albedo_times_openness() -> None:
    even = scene(torch.ones(1, 3, 8, 16))
    buffer = geometry(even)
    image = traced(even).diffuse[None]
    # Skin that faces the camera in the middle of forehead and cheeks sees nearly the whole sky.
    open_skin = buffer.skin_coverage & (buffer.normal_view[:, 2:] > 0.9)
    value = float(image.expand(-1, 3, -1, -1)[open_skin.expand_as(image)].median())
    assert value == pytest.approx(0.5, rel=0.05)
    # Pixels of the outline show both.
    off = torch.nn.functional.max_pool2d(buffer.coverage.float(), 3, 1, 1) == 0
    np.testing.assert_allclose(image[off.expand_as(image)], 1.0, rtol=1e-4)


def test_outline_and_light_agree_with_the_own_renderer() -> None:
    directions = texel_directions(16, torch.zeros(1))
    lobe = 0.3 + 2 * torch.exp(4 * (directions @ torch.tensor([0.8, 0.3, 0.5196]) - 1))
    turn = axis_angle_to_matrix(torch.tensor([[0.1, 0.7, -0.05]]))[0]
    side = replace(scene(lobe.expand(1, 3, -1, -1).contiguous()), world_to_view=turn)
    buffer = geometry(side)
    image = smooth_light(traced(side).diffuse, buffer)
    light = rotate_sh(project_to_sh(side.environment, 4), turn[None, None])
    expected = 0.5 * irradiance(light, buffer.normal_view)[0] / math.pi
    # Away from what shades itself: both renderers must show the same light.
    chosen = (buffer.skin_coverage & (buffer.normal_view[:, 2:] > 0.5))[0].expand(3, -1, -1)
    ratio = image[chosen] / expected[chosen]
    assert float(ratio.median()) == pytest.approx(1.0, abs=0.08)
    assert np.corrcoef(image[chosen], expected[chosen])[0, 1] > 0.9


def test_the_atlas_is_not_flipped() -> None:
    columns = torch.linspace(0.1, 0.9, 64).expand(64, 64)
    albedo = torch.stack([columns, columns.T, torch.full((64, 64), 0.5)])
    mapped = scene(torch.ones(1, 3, 8, 16), albedo)
    buffer = geometry(mapped)
    image = traced(mapped).diffuse
    seen = sample_uv(albedo[None], buffer.uv)[0]
    chosen = (buffer.skin_coverage & (buffer.normal_view[:, 2:] > 0.8))[0, 0]
    for colour in range(2):
        assert np.corrcoef(image[colour][chosen], seen[colour][chosen])[0, 1] > 0.9


def test_the_same_seed_gives_the_same_image() -> None:
    even = scene(torch.ones(1, 3, 8, 16))
    first, second = traced(even, samples=2), traced(even, samples=2)
    assert torch.equal(first.diffuse, second.diffuse)
    assert torch.equal(first.gloss, second.gloss)


def test_a_shifted_camera_is_refused() -> None:
    even = scene(torch.ones(1, 3, 8, 16))
    shifted = replace(even, camera=replace(even.camera, principal_px=torch.tensor([[10.0, 32.0]])))
    with pytest.raises(EvaluationError, match="principal point"):
        traced(shifted)


def test_smoothing_keeps_even_light_and_removes_noise() -> None:
    buffer = geometry(scene(torch.ones(1, 3, 8, 16)))
    even = torch.full((3, SIZE, SIZE), 0.7)
    torch.testing.assert_close(smooth_light(even, buffer), even)
    noise = even + 0.2 * torch.randn(even.shape, generator=torch.Generator().manual_seed(5))
    inside = (-torch.nn.functional.max_pool2d(-buffer.coverage.float(), 5, 1, 2))[0].expand(3, -1, -1) > 0
    facing = (buffer.normal_view[:, 2:] > 0.9)[0].expand(3, -1, -1)
    assert float(smooth_light(noise, buffer)[inside & facing].std()) < 0.1 < float(noise[inside & facing].std())
