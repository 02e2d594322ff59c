"""What of an albedo goes with the light: against least squares, and where there is nothing to find."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facealbedo.core.lighting.sh import shading
from facealbedo.core.metrics.leakage import light_correlation
from facealbedo.core.networks import PRESETS, RefinerInput, build_refiner
from facealbedo.core.networks.baked_light import EVEN_VARIANCE, LARGEST_SLOPE, baked_light
from facealbedo.core.networks.refiner import Refiner
from facealbedo.core.types import UVObservation

SIZE = 64


def ramps(direction: tuple[float, float]) -> torch.Tensor:
    """A log light that falls off in one direction of the atlas, wide enough to survive any low pass."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, SIZE), torch.linspace(-1, 1, SIZE), indexing="ij")
    return (direction[0] * rows + direction[1] * columns)[None, None]


def everywhere() -> torch.Tensor:
    return torch.ones(1, 1, SIZE, SIZE)


def skin_texture(seed: int) -> torch.Tensor:
    return 0.1 * torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def test_without_a_limit_it_is_ridge_regression(monkeypatch):
    monkeypatch.setattr("facealbedo.core.networks.baked_light.LARGEST_SLOPE", 1e3)
    light = ramps((0.8, 0.5))
    albedo = 0.07 * ramps((1.0, 0.0)) - 0.05 * ramps((0.0, 1.0)) + skin_texture(0)
    found = baked_light(albedo, light, everywhere(), everywhere())[0, 0].numpy()
    # The two halves of the pattern are this ramp's rows and columns, of any height: a low pass rounds their ends.
    above = (light + light.flip(-1))[0, 0].numpy() / 2
    side = light[0, 0].numpy() - above
    from_above, from_side = (np.polyfit(half.ravel(), found.ravel(), 1)[0] for half in (above, side))
    values = albedo[0, 0].numpy()
    for half, slope in ((above, from_above), (side, from_side)):
        wanted = (values * half).mean() / ((half * half).mean() + EVEN_VARIANCE)
        assert slope == pytest.approx(wanted, abs=0.012)
    assert abs(found.mean()) < 1e-6


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), level=st.floats(-3, 3), strength=st.floats(-3, 3))
def test_neither_level_of_albedo_nor_strength_of_light_matter(seed: int, level: float, strength: float):
    albedo, light = skin_texture(seed), ramps((0.9, -0.4))
    trust = torch.rand(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    plain = baked_light(albedo, light, trust, everywhere())
    torch.testing.assert_close(
        baked_light(albedo + level, light + strength, trust, everywhere()), plain, atol=1e-5, rtol=0
    )


def test_mirrored_faces_give_mirrored_answers():
    albedo, light = skin_texture(1) + 0.1 * ramps((1, 1)), ramps((0.9, -0.4))
    plain = baked_light(albedo, light, everywhere(), everywhere())
    mirrored = baked_light(albedo.flip(-1), light.flip(-1), everywhere(), everywhere())
    torch.testing.assert_close(mirrored, plain.flip(-1), atol=1e-6, rtol=0)


def test_even_light_leaves_everything():
    assert (
        baked_light(ramps((1, 0)), torch.full((1, 1, SIZE, SIZE), 0.3), everywhere(), everywhere()).abs().max() < 1e-6
    )


def test_unseen_skin_far_from_the_seen_is_left():
    trust = everywhere()
    trust[..., SIZE // 3 :] = 0
    found = baked_light(0.2 * ramps((1, 1)), ramps((1, 1)), trust, everywhere())
    assert found[..., : SIZE // 3].abs().max() > 0.02
    assert found[..., SIZE // 2 : 5 * SIZE // 6].abs().max() < 1e-6


def test_no_more_than_a_part_of_the_light_is_taken():
    light = ramps((1.0, 0.0))
    beard = 2.0 * light
    found = baked_light(beard, light, everywhere(), everywhere())
    assert found.abs().max() <= LARGEST_SLOPE * light.abs().max() + 1e-6
    assert found.abs().max() > 0.5 * LARGEST_SLOPE


def lit_face(baked: float) -> RefinerInput:
    """A face lit from above, with part of that light in its prior's albedo."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, SIZE), torch.linspace(-1, 1, SIZE), indexing="ij")
    normals = torch.nn.functional.normalize(torch.stack([columns, -rows, torch.ones_like(rows)]), dim=0)[None]
    light = torch.zeros(1, 3, 9)
    light[:, :, 0], light[:, :, 1] = 3.0, 1.2
    falloff = shading(light, normals)
    prior = 0.4 * (falloff / falloff.mean()) ** baked * skin_texture(2).exp()
    ones = torch.ones(1, 1, SIZE, SIZE)
    return RefinerInput(
        UVObservation((prior * falloff).clamp(max=1.5), ones, normals),
        prior,
        light,
        ones,
        torch.cat([ones, 0 * ones], 1),
    )


def with_and_without() -> tuple[Refiner, Refiner]:
    """The same network twice, one of which leaves the light where it is."""
    torch.manual_seed(0)
    refiner = build_refiner(PRESETS["tiny"])
    left = build_refiner(dataclasses.replace(PRESETS["tiny"], baked_light=False))
    left.load_state_dict(refiner.state_dict())
    return refiner, left


def test_a_network_takes_it_out_of_the_albedo_and_the_render_stays():
    face = lit_face(baked=0.15)
    light = shading(face.sh_radiance, face.observation.uv_normal_view)
    refiner, left = (network.eval() for network in with_and_without())
    with torch.no_grad():
        clean, baked = refiner(face), left(face)
    skin = face.uv_regions[:, :1]
    assert light_correlation(baked.uv_albedo, light, skin) > 0.3
    assert light_correlation(clean.uv_albedo, light, skin).abs() < 0.5 * light_correlation(baked.uv_albedo, light, skin)
    torch.testing.assert_close(
        clean.uv_albedo * clean.uv_log_gain.exp(), baked.uv_albedo * baked.uv_log_gain.exp(), rtol=1e-4, atol=1e-5
    )
    # The skin keeps its tone: the mean log albedo.
    torch.testing.assert_close(
        clean.uv_albedo.log().mean((2, 3)), baked.uv_albedo.log().mean((2, 3)), rtol=0, atol=1e-4
    )


def test_a_network_that_learns_leaves_it():
    refiner, left = (network.train() for network in with_and_without())
    face = lit_face(baked=0.15)
    with torch.no_grad():
        assert torch.equal(refiner(face).uv_albedo, left(face).uv_albedo)
