"""Baselines on a face whose albedo and light are known exactly."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from facealbedo.assets import load_face_model
from facealbedo.assets.prior import load_albedo_prior
from facealbedo.assets.refiner import load_refiner
from facealbedo.core.evaluate.methods import BASELINES, FittedFace, refine_with, select_methods
from facealbedo.core.fit.light import openness_shading
from facealbedo.core.metrics.albedo import mean_delta_e
from facealbedo.core.metrics.leakage import light_correlation
from facealbedo.core.metrics.masks import EvaluationError
from facealbedo.core.networks.presets import PRESETS, build_refiner
from facealbedo.core.render.uv import atlas_texels, bake_region, bake_vertices
from facealbedo.core.train.checkpoint import weights_to_bytes
from facealbedo.core.types import Lighting, UVObservation

SIZE = 256


@pytest.fixture(scope="module")
def known() -> tuple[FittedFace, torch.Tensor]:
    """A face lit from the left, and its albedo: the prior with blotches that the prior cannot say."""
    model, prior = load_face_model(), load_albedo_prior()
    coefficients = prior.coeffs_from_tone(torch.tensor([-3.2]), torch.tensor([-3.4]))
    base = prior.decode(coefficients, SIZE).clamp(min=1e-3)
    generator = torch.Generator().manual_seed(2)
    blotches = torch.nn.functional.interpolate(0.15 * torch.randn(1, 3, 16, 16, generator=generator), size=(SIZE, SIZE))
    albedo = base * (blotches + blotches.flip(-1)).exp()
    normals = torch.nn.functional.normalize(bake_vertices(model, model.normals(model.mean[None]), SIZE), dim=1)
    light = torch.zeros(1, 3, 9)
    light[..., 0], light[..., 2], light[..., 3] = 2.2, 0.8, 1.4
    lighting, openness = Lighting(light), torch.ones(1, 1, SIZE, SIZE)
    mask = atlas_texels(model, SIZE).mask[None, None].float()
    region = bake_region(model, "face", SIZE)[None, None]
    texture = albedo * openness_shading(lighting, normals, openness) * mask
    brows, lips = (bake_region(model, name, SIZE)[None, None] for name in ("brows", "lips"))
    observation = UVObservation(texture, mask * region, normals)
    features = torch.maximum(brows, lips)
    skin = (bake_region(model, "core_skin", SIZE)[None, None] > 0.6).float()
    return FittedFace(observation, base, lighting, openness, region, skin, features, lips), albedo


@pytest.mark.parametrize("name", ["quotient", "separation", "optimised"])
def test_light_is_taken_out(known: tuple[FittedFace, torch.Tensor], name: str) -> None:
    face, truth = known
    region = (face.region > 0.9).float()
    errors = {key: float(mean_delta_e(BASELINES[key](face).uv_albedo, truth, region)[0]) for key in BASELINES}
    assert errors[name] < errors["texture"]
    if name != "separation":  # which takes no broad change from the photo, and little of what changes hue so much
        assert errors[name] < 0.6 * errors["prior"]
        assert errors[name] < 0.4 * errors["texture"]
    shading = face.shading()
    correlations = {
        key: abs(float(light_correlation(BASELINES[key](face).uv_albedo, shading, region)[0]))
        for key in ("texture", name)
    }
    assert correlations[name] < 0.5 * correlations["texture"]


@pytest.mark.parametrize("name", ["texture", "quotient", "optimised"])
def test_albedo_times_its_own_light_is_the_photo(known: tuple[FittedFace, torch.Tensor], name: str) -> None:
    face, _ = known
    found = BASELINES[name](face)
    seen = (face.observation.uv_visibility > 0.9).expand(-1, 3, -1, -1)
    again, photo = found.uv_albedo * found.uv_shading, face.observation.uv_texture
    # The quotient is softly limited, which moves bright and dark texels by a few percent.
    assert float((again - photo).abs()[seen].mean()) < 0.06 * float(photo[seen].mean())


def test_a_network_is_one_more_entry(known: tuple[FittedFace, torch.Tensor]) -> None:
    face, _ = known
    torch.manual_seed(0)
    weights = weights_to_bytes(build_refiner(PRESETS["tiny"]), PRESETS["tiny"], {})
    methods = select_methods(["prior", "quotient"], {"mine": weights})
    assert list(methods) == ["prior", "quotient", "mine"]
    found = methods["mine"](face)
    assert found.uv_albedo.shape == found.uv_shading.shape == (1, 3, SIZE, SIZE)
    assert bool(((found.uv_albedo > 0) & (found.uv_albedo <= 1)).all())


def test_unknown_and_taken_names_are_refused() -> None:
    with pytest.raises(EvaluationError, match="no method magic; the baselines are texture, prior"):
        select_methods(["prior", "magic"], {})
    with pytest.raises(EvaluationError, match="weights cannot be called prior"):
        select_methods(["prior"], {"prior": b""})


def test_a_network_leaves_the_skins_tone_to_the_fit(known: tuple[FittedFace, torch.Tensor]) -> None:
    face, _ = known
    brighter = dataclasses.replace(face, lighting=Lighting(0.7 * face.lighting.sh_radiance))
    for one in (face, brighter):
        albedo = refine_with(load_refiner(), one).uv_albedo
        change = ((albedo / one.prior_albedo).log() * one.skin).sum((2, 3)) / one.skin.sum()
        assert change.abs().max() < 5e-3
        assert (albedo / one.prior_albedo).log().abs()[one.skin.expand_as(albedo) > 0].mean() > 0.01
