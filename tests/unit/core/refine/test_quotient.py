"""The classical refinement against known answers."""

from __future__ import annotations

import pytest
import torch

from facealbedo.core.refine.pyramid import blend_multiband, pull_push
from facealbedo.core.refine.quotient import QuotientConfig, quotient_albedo
from facealbedo.core.types import UVObservation

SIZE = 64


def observation(texture: torch.Tensor, visibility: torch.Tensor) -> UVObservation:
    normals = torch.zeros_like(texture)
    normals[:, 2] = 1
    return UVObservation(uv_texture=texture, uv_visibility=visibility, uv_normal_view=normals)


def smooth_map(generator: torch.Generator, low: float, high: float, cells: int = 4) -> torch.Tensor:
    coarse = torch.rand(1, 3, cells, cells, generator=generator)
    fine = torch.nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic", align_corners=False)
    return (low + (high - low) * fine).clamp(low, high)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_fully_seen_face_gives_texture_over_shading_when_all_is_believed(generator: torch.Generator) -> None:
    albedo = smooth_map(generator, 0.25, 0.45).mean(1, keepdim=True) * torch.tensor([1.1, 1.0, 0.9]).view(1, 3, 1, 1)
    shading = smooth_map(generator, 0.5, 1.5)
    prior = torch.full_like(albedo, 0.35)
    believe = QuotientConfig(even_share=1, uneven_share=1)
    seen = observation(albedo * shading, torch.ones(1, 1, SIZE, SIZE))
    result = quotient_albedo(seen, shading, prior, believe)
    # m * tanh(r / m) differs from r by r^3 / (3 m^2): level up to 0.25 of 0.5 and -0.34 of 1.1, hue up to 0.11 of 0.5.
    log_error = (result.uv_albedo.log() - albedo.log()).abs()
    assert log_error.max() < 0.03
    assert log_error.median() < 0.003


def test_light_from_one_side_is_believed_less_than_what_both_sides_share() -> None:
    prior = torch.full((1, 3, SIZE, SIZE), 0.3)
    across = torch.linspace(-0.2, 0.2, SIZE).expand(1, 3, SIZE, SIZE)
    down = across.transpose(2, 3)
    seen = torch.ones(1, 1, SIZE, SIZE)
    config = QuotientConfig()
    inner = (slice(None), slice(None), slice(16, 48), slice(16, 48))
    for offset, share in ((across, config.uneven_share), (down, config.even_share)):
        albedo = quotient_albedo(observation(prior * offset.exp(), seen), torch.ones_like(prior), prior).uv_albedo
        # The soft limit takes less than 2 % of an offset of 0.1.
        torch.testing.assert_close((albedo / prior).log()[inner], share * offset[inner], atol=2e-3, rtol=0.03)


def test_a_mole_stays_and_a_highlight_keeps_the_hue_of_the_skin() -> None:
    prior = torch.tensor([0.5, 0.3, 0.2]).view(1, 3, 1, 1).expand(1, 3, SIZE, SIZE)
    texture = prior.clone()
    texture[..., 20, 20] *= 0.5
    texture[..., 40, 40] *= 1.8
    seen = observation(texture, torch.ones(1, 1, SIZE, SIZE))
    albedo = quotient_albedo(seen, torch.ones_like(prior), prior).uv_albedo
    ratio = albedo / prior
    assert ratio[..., 20, 20].max() < 0.6
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), atol=1e-4, rtol=1e-4)


def test_unseen_face_gives_the_prior(generator: torch.Generator) -> None:
    prior = smooth_map(generator, 0.1, 0.6)
    texture = torch.rand(1, 3, SIZE, SIZE, generator=generator)
    result = quotient_albedo(observation(texture, torch.zeros(1, 1, SIZE, SIZE)), torch.ones_like(prior), prior)
    torch.testing.assert_close(result.uv_albedo, prior)
    assert result.confidence.max() == 0


def test_unseen_half_is_the_mirror_of_the_seen_half(generator: torch.Generator) -> None:
    albedo = smooth_map(generator, 0.2, 0.5)
    albedo = (albedo + albedo.flip(-1)) / 2
    visibility = torch.zeros(1, 1, SIZE, SIZE)
    visibility[..., : SIZE // 2] = 1
    prior = torch.full_like(albedo, 0.3)
    result = quotient_albedo(observation(albedo, visibility), torch.ones_like(albedo), prior)
    right, left = result.uv_albedo[..., SIZE // 2 + 4 :], result.uv_albedo.flip(-1)[..., SIZE // 2 + 4 :]
    # The mirrored half is trusted to 0.8; the rest is the smooth extension of the ratio.
    assert (right.log() - left.log()).abs().mean() < 0.03
    # The seen half itself differs from the prior; filling with the prior would give 0 here.
    assert (right.log() - torch.tensor(0.3).log()).abs().mean() > 0.05


def test_garbage_where_nothing_is_seen_never_leaks(generator: torch.Generator) -> None:
    visibility = torch.zeros(1, 1, SIZE, SIZE)
    visibility[..., 16:48, 16:48] = 1
    prior = torch.full((1, 3, SIZE, SIZE), 0.3)
    clean = torch.full((1, 3, SIZE, SIZE), 0.4)
    dirty = torch.where(visibility > 0, clean, torch.rand(1, 3, SIZE, SIZE, generator=generator) * 50)
    shading = torch.ones_like(clean)
    first = quotient_albedo(observation(clean, visibility), shading, prior).uv_albedo
    second = quotient_albedo(observation(dirty, visibility), shading, prior).uv_albedo
    torch.testing.assert_close(first, second)


def test_no_seam_at_the_border_of_the_seen_part() -> None:
    visibility = torch.zeros(1, 1, SIZE, SIZE)
    visibility[..., 8:40, 8:56] = 1
    prior = torch.full((1, 3, SIZE, SIZE), 0.3)
    texture = torch.full((1, 3, SIZE, SIZE), 0.45)
    albedo = quotient_albedo(observation(texture, visibility), torch.ones_like(texture), prior).uv_albedo
    steps = torch.cat([albedo.diff(dim=-1).abs().flatten(), albedo.diff(dim=-2).abs().flatten()])
    # A hard border would step by 0.15 in one texel.
    assert steps.max() < 0.015


def test_mirrored_input_gives_mirrored_output(generator: torch.Generator) -> None:
    texture, shading, prior = (smooth_map(generator, 0.2, 0.9, 8) for _ in range(3))
    visibility = (torch.rand(1, 1, SIZE, SIZE, generator=generator) > 0.4).float()
    result = quotient_albedo(observation(texture, visibility), shading, prior).uv_albedo
    mirrored = quotient_albedo(observation(texture.flip(-1), visibility.flip(-1)), shading.flip(-1), prior.flip(-1))
    torch.testing.assert_close(mirrored.uv_albedo, result.flip(-1), atol=1e-6, rtol=1e-5)


def test_exposure_cancels(generator: torch.Generator) -> None:
    texture, shading, prior = (smooth_map(generator, 0.2, 0.45) for _ in range(3))
    visibility = torch.ones(1, 1, SIZE, SIZE)
    first = quotient_albedo(observation(texture, visibility), shading, prior).uv_albedo
    second = quotient_albedo(observation(texture * 2, visibility), shading * 2, prior).uv_albedo
    torch.testing.assert_close(first, second)


def test_size_must_be_divisible_by_64() -> None:
    maps = torch.ones(1, 3, 96, 96)
    with pytest.raises(ValueError, match="divisible by 64"):
        quotient_albedo(observation(maps, maps[:, :1]), maps, maps)


def test_pull_push_reproduces_a_constant_from_one_texel() -> None:
    weights = torch.zeros(1, 1, 32, 32)
    weights[..., 5, 7] = 1
    values = torch.full((1, 2, 32, 32), torch.nan)
    values[..., 5, 7] = 0.7
    torch.testing.assert_close(pull_push(values, weights, 5), torch.full((1, 2, 32, 32), 0.7))


def test_multiband_blend_of_equal_maps_is_the_map(generator: torch.Generator) -> None:
    image = torch.rand(2, 3, 32, 32, generator=generator)
    weight = torch.rand(2, 1, 32, 32, generator=generator)
    torch.testing.assert_close(blend_multiband((image, image), (weight, 1 - weight), 4), image)
