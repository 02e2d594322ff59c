"""The face mask on painted atlases: what is painted over must go, and only that."""

from __future__ import annotations

import math

import pytest
import torch

from facealbedo.assets import load_face_model
from facealbedo.assets.prior import load_albedo_prior
from facealbedo.core.fit.light import openness_shading
from facealbedo.core.fit.occluders import RESOLUTION, OccluderMaps, occluder_maps, own_skin
from facealbedo.core.render.uv import bake_region, bake_vertices
from facealbedo.core.types import Lighting

SIZE = 256
# Log melanin and haemoglobin fractions of light and of very dark skin.
TONES = {"light": (math.log(0.02), math.log(0.04)), "dark": (math.log(0.30), math.log(0.04))}


@pytest.fixture(scope="module")
def maps() -> OccluderMaps:
    return occluder_maps(load_face_model())


@pytest.fixture(scope="module")
def shading() -> torch.Tensor:
    """Daylight from above and a little from the left on the mean face."""
    model = load_face_model()
    normals = bake_vertices(model, model.normals(model.mean[None]), SIZE)
    light = torch.zeros(1, 3, 9)
    light[..., 0], light[..., 1], light[..., 2], light[..., 3] = 3.0, 0.6, 0.8, -0.3
    return openness_shading(
        Lighting(light), torch.nn.functional.normalize(normals, dim=1), torch.ones(1, 1, SIZE, SIZE)
    )


def region(name: str) -> torch.Tensor:
    return bake_region(load_face_model(), name, SIZE) > 0.5


def skin(tone: str) -> torch.Tensor:
    prior = load_albedo_prior()
    melanin, blood = TONES[tone]
    return prior.decode(prior.coeffs_from_tone(torch.tensor([melanin]), torch.tensor([blood])), SIZE)


def grain(seed: int = 0) -> torch.Tensor:
    """Pores and noise: a twentieth of the level."""
    noise = torch.randn(1, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return (0.05 * noise).exp()


def strands(level: float, hue: tuple[float, float, float]) -> torch.Tensor:
    """Hair: coarse streaks of one hue, reflectance about ``level``."""
    noise = torch.randn(1, 1, SIZE, 1, generator=torch.Generator().manual_seed(7)).transpose(2, 3)
    return level * (0.5 * noise).exp() * torch.tensor(hue).view(1, 3, 1, 1)


def fringe(rows: float = 0.35) -> torch.Tensor:
    """Hair around the face and over the upper part of the forehead."""
    face = region("face")
    top = int(face.any(1).nonzero().min())
    brows = int(region("brows").any(1).nonzero().min())
    place = ~face & ~region("neck") & ~region("beard")
    place[: top + round(rows * 2 * (brows - top))] = True
    return place


def mask(texture: torch.Tensor, shading: torch.Tensor, albedo: torch.Tensor, maps: OccluderMaps) -> torch.Tensor:
    return own_skin(texture, torch.ones(1, 1, SIZE, SIZE), shading, albedo, maps)[0, 0]


def inner(place: torch.Tensor, texels: int = 4) -> torch.Tensor:
    """Shrink a place, away from its blurred border."""
    width = 2 * texels + 1
    return -torch.nn.functional.max_pool2d(-place[None, None].float(), width, 1, texels)[0, 0] > 0.5


@pytest.mark.parametrize("tone", TONES)
def test_a_bare_face_is_its_own_skin(tone: str, shading: torch.Tensor, maps: OccluderMaps) -> None:
    albedo = skin(tone)
    texture = albedo * shading * grain()
    # At the very border the prior's own hairline begins.
    assert mask(texture, shading, albedo, maps)[inner(region("face"), 6)].min() > 0.95


@pytest.mark.parametrize(
    ("tone", "level", "hue"),
    [
        ("light", 0.02, (1.0, 0.9, 0.8)),
        ("light", 0.30, (1.3, 1.0, 0.35)),
        ("dark", 0.008, (1.0, 1.0, 1.0)),
        ("dark", 0.35, (1.0, 1.0, 1.0)),
    ],
    ids=["black on light", "blond on light", "black on dark", "white on dark"],
)
def test_a_fringe_goes_and_the_cheeks_stay(
    tone: str, level: float, hue: tuple[float, float, float], shading: torch.Tensor, maps: OccluderMaps
) -> None:
    albedo = skin(tone)
    place = fringe()
    texture = torch.where(place, strands(level, hue), albedo) * shading * grain()
    found = mask(texture, shading, albedo, maps)
    face = region("face")
    assert found[inner(place) & face].mean() < 0.2
    assert found[inner(~place, 8) & face].mean() > 0.95


def test_hair_that_does_not_reach_the_face_takes_nothing_of_it(shading: torch.Tensor, maps: OccluderMaps) -> None:
    albedo = skin("light")
    place = fringe(rows=0.0) & inner(~region("face"), 6)
    texture = torch.where(place, strands(0.02, (1.0, 0.9, 0.8)), albedo) * shading * grain()
    assert mask(texture, shading, albedo, maps)[inner(region("face"))].min() > 0.9


@pytest.mark.parametrize("tone", TONES)
def test_a_black_beard_and_brows_are_the_face_s_own(tone: str, shading: torch.Tensor, maps: OccluderMaps) -> None:
    albedo = skin(tone)
    beard = region("beard") | region("brows")
    texture = torch.where(beard, strands(0.012, (1.0, 0.9, 0.8)), albedo) * shading * grain()
    assert mask(texture, shading, albedo, maps)[inner(beard) & region("face")].mean() > 0.95


def test_hair_and_scarf_at_the_jaw_go_when_the_chin_is_bare(shading: torch.Tensor, maps: OccluderMaps) -> None:
    albedo = skin("light")
    face, u = region("face"), torch.arange(SIZE)
    outermost = face & ~inner(face, 7) & (u < SIZE // 2) & (torch.arange(SIZE)[:, None] > SIZE // 3)
    place = (fringe(rows=0.0) & ~face) | outermost & region("beard")
    texture = torch.where(place, strands(0.02, (1.0, 0.9, 0.8)), albedo) * shading * grain()
    found = mask(texture, shading, albedo, maps)
    assert found[inner(outermost & region("beard"), 2)].mean() < 0.3
    assert found[region("chin") & inner(face, 10)].mean() > 0.95


@pytest.mark.parametrize("tone", TONES)
def test_gloss_and_red_shade_are_skin(tone: str, shading: torch.Tensor, maps: OccluderMaps) -> None:
    albedo = skin(tone)
    v, u = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    cheeks = inner(region("cheeks"), 3)
    glossy, shady = cheeks & (u < SIZE // 2), cheeks & (u > SIZE // 2) & (v > 0)
    texture = albedo * shading * grain()
    # Gloss doubles the level with the light's own colour; skin shines red into its own shade.
    level = texture.mean(1, keepdim=True)
    texture = torch.where(glossy, texture + level, texture)
    texture = torch.where(shady, texture * torch.tensor([0.40, 0.30, 0.25]).view(1, 3, 1, 1), texture)
    found = mask(texture, shading, albedo, maps)
    assert found[glossy].mean() > 0.9
    assert found[shady].mean() > 0.9


@pytest.mark.parametrize("tone", TONES)
def test_dark_glasses_go_with_what_they_cover(tone: str, shading: torch.Tensor, maps: OccluderMaps) -> None:
    albedo = skin(tone)
    up = torch.nn.functional.interpolate(maps.glasses, size=(SIZE, SIZE))[0, 0] > 0.5
    texture = torch.where(up, torch.tensor(0.004), albedo * shading) * grain()
    found = mask(texture, shading, albedo, maps)
    assert found[inner(up) & region("face")].mean() < 0.1
    assert found[region("chin")].mean() > 0.95


def test_mirrored_photo_gives_the_mirrored_mask(shading: torch.Tensor, maps: OccluderMaps) -> None:
    albedo = skin("light")
    place = fringe() & (torch.arange(SIZE) < 150)
    texture = torch.where(place, strands(0.02, (1.0, 0.9, 0.8)), albedo) * shading * grain()
    first = mask(texture, shading, albedo, maps)
    second = mask(texture.flip(-1), shading.flip(-1), albedo.flip(-1), maps)
    # Symmetric up to the side on which convolutions of an even width begin.
    assert (first - second.flip(-1)).abs().mean() < 0.01


def test_exposure_and_batching_change_nothing(shading: torch.Tensor, maps: OccluderMaps) -> None:
    albedo = torch.cat([skin("light"), skin("dark")])
    texture = torch.where(fringe(), strands(0.1, (1.3, 1.0, 0.35)), albedo) * shading * grain()
    seen = torch.ones(2, 1, SIZE, SIZE)
    both = own_skin(texture, seen, shading.expand(2, -1, -1, -1), albedo, maps)
    brighter = own_skin(2 * texture, seen, 2 * shading.expand(2, -1, -1, -1), albedo, maps)
    torch.testing.assert_close(both, brighter, atol=1e-3, rtol=1e-3)
    alone = own_skin(texture[:1], seen[:1], shading, albedo[:1], maps)
    torch.testing.assert_close(both[:1], alone, atol=1e-5, rtol=1e-5)


def test_nothing_seen_is_trusted_and_finite(shading: torch.Tensor, maps: OccluderMaps) -> None:
    nothing = torch.zeros(1, 1, SIZE, SIZE)
    found = own_skin(torch.rand(1, 3, SIZE, SIZE), nothing, shading, skin("light"), maps)
    assert torch.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1


def test_places_are_symmetric(maps: OccluderMaps) -> None:
    assert maps.band.shape[-2:] == (RESOLUTION, RESOLUTION)
    for place in (maps.skin, maps.band, maps.depth, maps.passable, maps.glasses, maps.frames):
        assert (place != place.flip(-1)).float().mean() < 0.01


def test_size_must_be_divisible(maps: OccluderMaps) -> None:
    small = torch.ones(1, 3, 64, 64)
    with pytest.raises(ValueError, match="divisible by 128"):
        own_skin(small, small[:, :1], small, small, maps)
