from __future__ import annotations

import dataclasses
import math
import subprocess
import sys

import pytest
import torch

from facealbedo.assets.environments import load_environments
from facealbedo.core.fit.light import LightFitConfig, fit_light
from facealbedo.core.lighting.sh import shading
from facealbedo.core.metrics.leakage import correlation
from facealbedo.core.train.fabricate import EXACT_FITS, FabricateConfig, FaceFabricator, make_pool
from facealbedo.core.train.illuminate import LitFace, illuminate
from tests.unit.core.train.crops import SIZE


@pytest.fixture(scope="module")
def fabricator(stage) -> FaceFabricator:
    def fit(texture, albedo, normals, weights, openness):
        return fit_light(texture, albedo, normals, weights, openness, LightFitConfig(iterations=2)).lighting.sh_radiance

    pool = make_pool(stage.prior, 6, SIZE, torch.Generator().manual_seed(0))
    return FaceFabricator(stage, pool, load_environments().sh_radiance, fit, size=SIZE)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_generator_decides_everything(fabricator):
    one, two = fabricator.make(4, generator()), fabricator.make(4, generator())
    assert torch.equal(one.photo_srgb, two.photo_srgb)
    assert torch.equal(one.face.sh_radiance, two.face.sh_radiance)
    assert not torch.equal(one.photo_srgb, fabricator.make(4, generator(1)).photo_srgb)


def test_faces_are_exposed_as_cameras_do_and_nothing_is_broken(fabricator):
    scene = fabricator.make(16, generator(2))
    for tensor in (scene.photo_srgb, scene.face.sh_radiance, scene.face.prior_albedo, scene.truth.uv_albedo):
        assert tensor.isfinite().all()
    assert scene.photo_srgb.min() >= 0
    assert scene.photo_srgb.max() <= 1
    mask = scene.face_mask
    assert (mask.sum((1, 2, 3)) > 30).all()
    level = (scene.photo_srgb * mask).sum((1, 2, 3)) / (3 * mask.sum((1, 2, 3)))
    assert 0.2 < level.median() < 0.75
    assert scene.truth.known.tolist() == [1.0] * 16


def test_the_fits_light_explains_the_photo(fabricator):
    """Shading by the fitted light correlates with the photo's own log brightness on most faces."""
    scene = fabricator.make(16, generator(3))
    seen = (scene.face.observation.uv_visibility > 0.5).float() * fabricator.stage.skin_region
    lit = scene.face.fitted_shading().clamp(min=1e-3).log().mean(1, keepdim=True)
    texture = scene.face.observation.uv_texture.clamp(min=1e-3).log().mean(1, keepdim=True)
    assert correlation(lit, texture, seen).median() > 0.4


def test_prior_errs_and_truth_varies(fabricator):
    scene = fabricator.make(16, generator(4))
    ratio = (scene.truth.uv_albedo.clamp(min=1e-3) / scene.face.prior_albedo).log().mean(1, keepdim=True)
    skin = fabricator.stage.skin_region
    offset = (ratio * skin).sum((1, 2, 3)) / skin.sum()
    assert 0.05 < offset.std() < 0.8


def lit_face(**changes: torch.Tensor) -> LitFace:
    ones, shape = torch.ones(1, 1, 2, 2), (1, 3, 2, 2)
    up = torch.tensor([0.0, 0.0, 1.0])[None, :, None, None].expand(shape)
    ambient = torch.zeros(1, 3, 25)
    ambient[..., 0] = 2 * math.sqrt(math.pi)
    face = LitFace(
        albedo=torch.full(shape, 0.5), normal=up, position=-up, openness=ones, cavity=ones, surroundings=ambient,
        lamp_direction=torch.tensor([[0.0, 0.0, 1.0]]), lamp_colour=torch.zeros(1, 3), lamp_seen=ones,
        lamp_exponent=torch.tensor([20.0]), gloss=torch.zeros(1),
    )  # fmt: skip
    return dataclasses.replace(face, **changes)


def test_exact_fits_have_the_tone_and_the_layers_of_the_truth(fabricator):
    skin = fabricator.stage.skin_region

    def errors(config: FabricateConfig) -> tuple[float, float]:
        """Of the tone, and of the pattern in it; natural log."""
        scene = dataclasses.replace(fabricator, config=dataclasses.replace(config, warp=0.0)).make(12, generator(6))
        ratio = (scene.face.prior_albedo / scene.truth.uv_albedo.clamp(min=1e-3)).log().mean(1, keepdim=True)
        tone = (ratio * skin).sum((1, 2, 3)) / skin.sum()
        pattern = ((ratio - tone[:, None, None, None]) * fabricator.stage.face_region).abs().mean((1, 2, 3))
        return float(tone.abs().mean()), float(pattern.mean())

    exact, erring = errors(EXACT_FITS), errors(FabricateConfig())
    assert exact[0] < 0.05
    assert erring[0] > 0.1
    assert exact[1] < 0.7 * erring[1]


def test_even_light_makes_albedo_and_a_lamp_adds_its_cosine():
    image, shade = illuminate(lit_face())
    torch.testing.assert_close(shade, torch.ones(1, 3, 2, 2))
    torch.testing.assert_close(image, torch.full((1, 3, 2, 2), 0.5))
    tilted = lit_face(
        lamp_direction=torch.tensor([[0.6, 0.0, 0.8]]), lamp_colour=torch.tensor([[1.0, 2.0, 3.0]]),
        cavity=torch.full((1, 1, 2, 2), 0.5),
    )  # fmt: skip
    expected = 1 + torch.tensor([0.4, 0.8, 1.2])[None, :, None, None].expand(1, 3, 2, 2)
    torch.testing.assert_close(illuminate(tilted)[1], expected)


def test_even_surroundings_are_mirrored_by_the_fresnel_factor():
    """Straight on, skin mirrors 2.8 % of radiance 1 (order 0 alone passes the rough mirror whole)."""
    image, _ = illuminate(lit_face(gloss=torch.ones(1)))
    torch.testing.assert_close(image, torch.full((1, 3, 2, 2), 0.528), atol=1e-4, rtol=0)


def test_shading_is_that_of_the_lighting_module():
    light = torch.randn(1, 3, 25, generator=generator()) * 0.1
    light[..., 0] = 3.0
    light[..., 9:] = 0
    normals = torch.nn.functional.normalize(torch.randn(1, 3, 2, 2, generator=generator(1)), dim=1)
    found = illuminate(lit_face(surroundings=light, normal=normals))[1]
    torch.testing.assert_close(found, shading(light[..., :9], normals), atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_compiled_illumination_is_the_same():
    """In a process of its own: the checks of shapes that the tests switch on cannot be compiled."""
    code = """
import torch
from facealbedo.core.train.illuminate import LitFace, illuminate
one = torch.ones(1, 1, 4, 4)
three = torch.rand(1, 3, 4, 4)
face = LitFace(three, three, -three, one, one, torch.rand(1, 3, 25), torch.rand(1, 3), torch.rand(1, 3), one,
               torch.tensor([9.0]), torch.ones(1))
for here, there in zip(torch.compile(illuminate, backend='aot_eager', fullgraph=True)(face), illuminate(face)):
    torch.testing.assert_close(here, there)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
