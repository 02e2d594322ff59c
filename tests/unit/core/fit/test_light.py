"""The light fit against lights that are known."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facealbedo.core.fit.light import fit_light, keep_positive, openness_shading
from facealbedo.core.lighting.sh import irradiance, mirror_sh
from facealbedo.core.types import Lighting

SIZE = 48


def hemisphere() -> torch.Tensor:
    """Normals of a ball seen from the front, as a map; outside the disc they look at the camera."""
    line = torch.linspace(-0.95, 0.95, SIZE)
    y, x = torch.meshgrid(-line, line, indexing="ij")
    z = (1 - x**2 - y**2).clamp(min=0.05).sqrt()
    normals = torch.stack([x, y, z])[None]
    return normals / normals.norm(dim=1, keepdim=True)


def side_light() -> torch.Tensor:
    """White ambient light with a warm lamp from the left; its irradiance is positive everywhere."""
    light = torch.zeros(1, 3, 9)
    light[..., 0] = 2 * math.sqrt(math.pi)
    light[..., 3] = torch.tensor([-1.1, -1.0, -0.9])
    light[..., 1] = 0.6
    light[..., 7] = -0.2
    return light


def observe(light: torch.Tensor, albedo: torch.Tensor, openness: torch.Tensor) -> torch.Tensor:
    return albedo * openness_shading(Lighting(light), hemisphere(), openness)


def test_known_light_comes_back() -> None:
    albedo = torch.full((1, 3, SIZE, SIZE), 0.4) * torch.tensor([1.0, 0.7, 0.5]).view(1, 3, 1, 1)
    openness = torch.linspace(0.5, 1, SIZE).view(1, 1, 1, SIZE).expand(1, 1, SIZE, SIZE)
    weights = torch.ones(1, 1, SIZE, SIZE)
    fit = fit_light(observe(side_light(), albedo, openness), albedo, hemisphere(), weights, openness)
    expected = irradiance(side_light(), hemisphere())
    found = irradiance(fit.lighting.sh_radiance, hemisphere())
    # The ridge costs a little; without it the system is solved exactly.
    assert ((found - expected).abs() / expected).mean() < 0.02
    assert fit.log_residual.item() < 0.02


def test_highlights_and_occluders_are_distrusted() -> None:
    albedo = torch.full((1, 3, SIZE, SIZE), 0.3)
    openness = torch.ones(1, 1, SIZE, SIZE)
    image = observe(side_light() * 0.5, albedo, openness)
    image[..., :14, :14] = 0.01  # a dark fringe
    image[..., 20:25, 20:25] += 0.5  # a highlight
    fit = fit_light(image, albedo, hemisphere(), torch.ones(1, 1, SIZE, SIZE), openness)
    expected = irradiance(side_light() * 0.5, hemisphere())
    found = irradiance(fit.lighting.sh_radiance, hemisphere())
    assert ((found - expected).abs() / expected).mean() < 0.05
    assert fit.trust[..., :14, :14].max() < 0.2
    assert fit.trust[..., 20:25, 20:25].max() < 0.3
    assert fit.trust[..., 30:, 30:].min() > 0.8


def test_a_third_of_dark_hair_does_not_draw_the_light_down() -> None:
    """With weights relative to what is observed, dark texels would count most and the face would be the outlier."""
    albedo = torch.full((1, 3, SIZE, SIZE), 0.3)
    openness = torch.ones(1, 1, SIZE, SIZE)
    image = observe(side_light() * 0.5, albedo, openness)
    hair = torch.rand(1, 1, SIZE // 3, SIZE, generator=torch.Generator().manual_seed(3))
    image[..., : SIZE // 3, :] = 0.008 * (1 + hair)
    fit = fit_light(image, albedo, hemisphere(), torch.ones(1, 1, SIZE, SIZE), openness)
    found, expected = (irradiance(light, hemisphere()) for light in (fit.lighting.sh_radiance, side_light() * 0.5))
    # What the hair hides is extrapolated; where skin is seen the light is right.
    seen = (slice(None), slice(None), slice(SIZE // 3, None))
    assert ((found - expected).abs() / expected)[seen].mean() < 0.05
    assert fit.trust[..., : SIZE // 3, :].mean() < 0.1


def test_exposure_scales_the_light_alone() -> None:
    albedo = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 0.3 + 0.2
    openness = torch.ones(1, 1, SIZE, SIZE)
    image = observe(side_light() * 0.5, albedo, openness)
    arguments = (albedo, hemisphere(), torch.ones(1, 1, SIZE, SIZE), openness)
    one, half = fit_light(image, *arguments), fit_light(image / 2, *arguments)
    torch.testing.assert_close(half.lighting.sh_radiance, one.lighting.sh_radiance / 2, rtol=0.02, atol=0.02)


def test_mirrored_face_gives_mirrored_light() -> None:
    generator = torch.Generator().manual_seed(2)
    albedo = torch.rand(1, 3, SIZE, SIZE, generator=generator) * 0.3 + 0.2
    openness = torch.rand(1, 1, SIZE, SIZE, generator=generator) * 0.5 + 0.5
    weights = torch.rand(1, 1, SIZE, SIZE, generator=generator)
    image = observe(side_light() * 0.5, albedo, openness)
    fit = fit_light(image, albedo, hemisphere(), weights, openness)
    mirrored = fit_light(image.flip(-1), albedo.flip(-1), hemisphere(), weights.flip(-1), openness.flip(-1))
    torch.testing.assert_close(mirrored.lighting.sh_radiance, mirror_sh(fit.lighting.sh_radiance), atol=1e-3, rtol=1e-3)


def test_nothing_seen_gives_white_ambient_light() -> None:
    maps = torch.rand(2, 3, SIZE, SIZE)
    nothing = torch.zeros(2, 1, SIZE, SIZE)
    fit = fit_light(maps, maps + 0.1, hemisphere().expand(2, -1, -1, -1), nothing, torch.ones(1, 1, SIZE, SIZE))
    shading = irradiance(fit.lighting.sh_radiance, hemisphere().expand(2, -1, -1, -1)) / math.pi
    torch.testing.assert_close(shading, torch.ones_like(shading))


@settings(max_examples=30, deadline=None)
@given(values=st.lists(st.floats(-5, 5), min_size=27, max_size=27))
def test_irradiance_is_positive_in_every_direction(values: list[float]) -> None:
    light = torch.tensor(values).reshape(1, 3, 9)
    light[..., 0] = light[..., 0].abs() + 0.1
    kept = keep_positive(light, 0.05)
    directions = torch.randn(1, 4000, 3, generator=torch.Generator().manual_seed(0))
    values_seen = irradiance(kept, directions / directions.norm(dim=-1, keepdim=True))
    mean = kept[..., 0] * math.sqrt(math.pi) / 2
    # The check grid is finite: a hair below the bound is allowed between its nodes.
    assert (values_seen / mean[:, None]).min() > 0.03
    unchanged = keep_positive(kept, 0.03)
    torch.testing.assert_close(unchanged, kept, rtol=0.02, atol=0.02)
