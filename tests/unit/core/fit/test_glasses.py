"""Frames of glasses: found with all their lines, on all skins; wrinkles and single lines are none."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
import torch

from facealbedo.assets import load_face_model
from facealbedo.core.fit.glasses import FRAME_PX, GlassesMaps, _unbroken, glasses, glasses_maps, landmarks_in_atlas
from facealbedo.core.render.uv import bake_region

SKINS = {"light": (0.55, 0.36, 0.28), "dark": (0.06, 0.03, 0.02)}
V, U = torch.meshgrid(torch.arange(FRAME_PX) + 0.5, torch.arange(FRAME_PX) + 0.5, indexing="ij")


@pytest.fixture(scope="module")
def maps() -> GlassesMaps:
    return glasses_maps(load_face_model())


@pytest.fixture(scope="module")
def eyes() -> torch.Tensor:
    """Middles of the lids of the right and the left eye, texels."""
    at = torch.from_numpy(landmarks_in_atlas(load_face_model(), FRAME_PX))
    return torch.stack([at[[33, 133, 159, 145]].mean(0), at[[263, 362, 386, 374]].mean(0)])


def rims(eyes: torch.Tensor, radius: float = 25.0, width: float = 2.4) -> torch.Tensor:
    """Round rims about both eyes."""
    distance = torch.stack([torch.hypot(U - x, V - y) for x, y in eyes.tolist()])
    return ((distance - radius).abs() < width / 2).any(0)


def bridge(eyes: torch.Tensor, width: float = 2.4) -> torch.Tensor:
    """A bow from rim to rim across the nose."""
    height = eyes[:, 1].mean() - 6 + 0.02 * (U - FRAME_PX / 2) ** 2
    inner = (eyes[0, 0] + 22 < U) & (eyes[1, 0] - 22 > U)
    return ((height - V).abs() < width / 2) & inner


def photo(skin: str, lines: torch.Tensor, factor: tuple[float, float, float]) -> torch.Tensor:
    """Skin with pores in light from the left; lines by factors on red, green and blue."""
    pores = (0.05 * torch.randn(1, 1, FRAME_PX, FRAME_PX, generator=torch.Generator().manual_seed(0))).exp()
    light = 0.6 + 0.8 * (1 - U / FRAME_PX)
    plain = torch.tensor(SKINS[skin]).view(1, 3, 1, 1) * pores * light
    return torch.where(lines, plain * torch.tensor(factor).view(1, 3, 1, 1), plain)


def found(texture: torch.Tensor, maps: GlassesMaps, seen: torch.Tensor | None = None) -> torch.Tensor:
    visibility = torch.ones(1, 1, FRAME_PX, FRAME_PX) if seen is None else seen
    return glasses(texture, visibility, maps)[0, 0]


@pytest.mark.parametrize("skin", SKINS)
def test_thin_frames_are_found_as_a_whole(skin: str, maps: GlassesMaps, eyes: torch.Tensor) -> None:
    frame = rims(eyes) | bridge(eyes)
    mask = found(photo(skin, frame, (0.4, 0.5, 0.6)), maps)
    assert mask[frame & (maps.place[0, 0] > 0)].mean() > 0.9
    # Little else is lost.
    assert (mask * maps.place[0, 0]).sum() < 3.5 * (frame & (maps.place[0, 0] > 0)).sum()


@pytest.mark.parametrize("skin", SKINS)
def test_bare_faces_wear_none(skin: str, maps: GlassesMaps, eyes: torch.Tensor) -> None:
    assert found(photo(skin, torch.zeros(FRAME_PX, FRAME_PX, dtype=torch.bool), (1.0, 1.0, 1.0)), maps).max() == 0
    assert found(photo(skin, rims(eyes), (0.4, 0.5, 0.6)), maps).max() == 0, "bags under the eyes"
    assert found(photo(skin, bridge(eyes), (0.4, 0.5, 0.6)), maps).max() == 0, "a frown"


def test_red_wrinkles_are_no_frames(maps: GlassesMaps, eyes: torch.Tensor) -> None:
    wrinkles = rims(eyes) | bridge(eyes)
    assert found(photo("light", wrinkles, (0.92, 0.75, 0.65)), maps).max() == 0


def test_one_eye_is_enough_when_the_other_is_hidden(maps: GlassesMaps, eyes: torch.Tensor) -> None:
    frame = rims(eyes) | bridge(eyes)
    seen = (FRAME_PX * 0.53 > U).float()[None, None]
    mask = found(photo("light", frame, (0.3, 0.3, 0.3)), maps, seen)
    assert mask[frame & (maps.place[0, 0] > 0) & (seen[0, 0] > 0)].mean() > 0.85


def test_mirrored_photo_gives_the_mirrored_mask(maps: GlassesMaps, eyes: torch.Tensor) -> None:
    texture = photo("light", rims(eyes) | bridge(eyes), (0.4, 0.5, 0.6))
    torch.testing.assert_close(found(texture.flip(-1), maps).flip(-1), found(texture, maps), atol=0.05, rtol=0)


def test_frames_run_outside_brows_and_lids(maps: GlassesMaps) -> None:
    for name in ("brows", "lids"):
        own = bake_region(load_face_model(), name, FRAME_PX) > 0.5
        assert maps.place[0, 0][own].max() == 0


def test_the_unbroken_line_is_the_best_of_all() -> None:
    response = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(3))
    for field, strength in zip(response, _unbroken(response), strict=True):
        ways = [way for way in product(range(4), repeat=5) if all(abs(a - b) < 2 for a, b in pairwise(way))]
        values = torch.stack([field[list(way), range(5)] for way in ways])
        climbs = torch.tensor([[abs(a - b) for a, b in pairwise(way)] for way in ways]).sum(1)
        best = (values.sum(1) - 0.02 * climbs).argmax()
        torch.testing.assert_close(strength, values[best].quantile(0.3))
