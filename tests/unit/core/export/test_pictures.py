"""Maps, overlay and relit pictures of a face whose photo was made from its own albedo and light."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from facealbedo.core.export.config import ExportConfig
from facealbedo.core.export.maps import SHADING_DISPLAY_LEVEL, map_numbers, shading_picture, texture_picture, uv_shading
from facealbedo.core.export.overlay import draw_overlay
from facealbedo.core.export.preview_lights import (
    METERED_SHADING,
    PREVIEW_LIGHTS,
    KeyLight,
    prepare_surroundings,
    preview_lights,
)
from facealbedo.core.export.relit import draw_relit
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.lighting.envmap import EnvironmentMap, texel_directions
from facealbedo.core.render.uv import atlas_texels
from facealbedo.core.types import FaceAsset, Lighting


def evenly_lit(asset: FaceAsset, model: FaceModel, albedo: tuple[float, float, float]) -> FaceAsset:
    """A symmetric, neutral face of one colour in even white light of shading 1."""
    sh = torch.zeros(1, 3, 9)
    sh[..., 0] = 2 * math.sqrt(math.pi)
    colour = torch.tensor(albedo)[None, :, None, None].expand_as(asset.uv_albedo).contiguous()
    return replace(
        asset,
        vertices_world=model.mean[None],
        lighting=Lighting(sh),
        uv_albedo=colour,
        uv_illumination=sh.reshape(1, 27, 1, 1).expand_as(asset.uv_illumination).contiguous(),
    )


def test_even_light_makes_even_shading(asset: FaceAsset, model: FaceModel) -> None:
    even = evenly_lit(asset, model, (0.5, 0.5, 0.5))
    shading = uv_shading(even, model, 64)
    mask = atlas_texels(model, 64).mask
    torch.testing.assert_close(shading[0][:, mask], torch.ones(3, int(mask.sum())), atol=1e-5, rtol=0)
    assert shading[0][:, ~mask].abs().max() == 0
    picture = shading_picture(shading, model, 128)
    assert picture.scale == pytest.approx(SHADING_DISPLAY_LEVEL)
    assert picture.image.shape == (128, 128, 3)
    # sRGB of linear 0.8, everywhere: the picture is filled beyond the atlas.
    assert set(np.unique(picture.image)) == {231}


def test_openness_darkens_the_shading_by_its_share(asset: FaceAsset, model: FaceModel) -> None:
    half = torch.full((model.n_vertices,), 0.5)
    open_sky, hidden = uv_shading(asset, model, 64), uv_shading(asset, model, 64, half)
    torch.testing.assert_close(hidden, 0.5 * open_sky)


def test_overlay_uses_the_same_openness(
    asset: FaceAsset, photo: torch.Tensor, model: FaceModel, tiny: ExportConfig
) -> None:
    half = torch.full((model.n_vertices,), 0.5)
    assert draw_overlay(asset, photo, model, tiny, half).error > 15
    assert draw_overlay(asset, torch.where(photo > 0, 0.5 * photo, 0), model, tiny, half).error < 5


def test_numbers_of_a_known_face(asset: FaceAsset, model: FaceModel) -> None:
    colour = (0.45, 0.28, 0.20)
    even = evenly_lit(asset, model, colour)
    full = replace(even.observation, uv_visibility=torch.ones_like(even.observation.uv_visibility))
    numbers = map_numbers(replace(even, observation=full), model, uv_shading(even, model, 64))
    encoded = np.array([1.055 * c ** (1 / 2.4) - 0.055 for c in colour])
    lightness, _, b = rgb2lab(encoded[None, None])[0, 0]
    assert numbers["albedo_ita_degrees"] == pytest.approx(math.degrees(math.atan((lightness - 50) / b)), abs=0.3)
    assert numbers["albedo_ita_group"] == "intermediate"
    assert numbers["albedo_srgb"] == "#" + "".join(f"{round(255 * c):02x}" for c in encoded)
    assert numbers["visible_percent"] == pytest.approx(100, abs=0.01)
    assert numbers["shading_contrast"] == pytest.approx(1, abs=1e-4)
    assert numbers["shading_median"] == pytest.approx(1, abs=1e-4)


def test_unseen_face_has_no_light_numbers(asset: FaceAsset, model: FaceModel) -> None:
    hidden = replace(asset.observation, uv_visibility=torch.zeros_like(asset.observation.uv_visibility))
    numbers = map_numbers(replace(asset, observation=hidden), model, uv_shading(asset, model, 64))
    assert math.isnan(numbers["shading_contrast"])
    assert numbers["visible_percent"] == 0


def test_shading_times_albedo_is_the_texture_where_it_is_seen(asset: FaceAsset, model: FaceModel) -> None:
    rebuilt = asset.uv_albedo * uv_shading(asset, model, 64)
    seen = asset.observation.uv_visibility[0, 0] > 0.9
    error = (rebuilt - asset.observation.uv_texture)[0][:, seen].abs()
    assert int(seen.sum()) > 300
    assert float(error.median()) < 0.02
    assert texture_picture(asset).shape == (64, 64, 3)


def test_overlay_of_its_own_render_has_no_error(
    asset: FaceAsset, photo: torch.Tensor, model: FaceModel, tiny: ExportConfig
) -> None:
    overlay = draw_overlay(asset, photo, model, tiny)
    assert overlay.overlay.shape == overlay.photo.shape == (96, 96, 3)
    assert overlay.error < 4
    assert draw_overlay(asset, 0.5 * photo, model, tiny).error > 15
    # Beyond the head the photo is untouched.
    np.testing.assert_array_equal(overlay.overlay[0, 0], overlay.photo[0, 0])
    assert np.abs(overlay.overlay.astype(int) - overlay.photo).max() > 20


def test_large_photos_are_shrunk_with_their_camera(
    asset: FaceAsset, photo: torch.Tensor, model: FaceModel, tiny: ExportConfig
) -> None:
    whole = draw_overlay(asset, photo, model, tiny)
    small = draw_overlay(asset, photo, model, replace(tiny, overlay_px=48))
    assert small.overlay.shape == (48, 48, 3)
    assert small.error == pytest.approx(whole.error, abs=3)


def test_photo_of_another_size_is_refused(asset: FaceAsset, model: FaceModel, tiny: ExportConfig) -> None:
    with pytest.raises(ValueError, match="camera"):
        draw_overlay(asset, torch.zeros(3, 90, 96), model, tiny)


@pytest.fixture(scope="module")
def symmetric(asset: FaceAsset, model: FaceModel) -> dict[str, np.ndarray]:
    """Relit pictures of the mean face, by light."""
    config = ExportConfig(relit_px=64)
    relit = draw_relit(evenly_lit(asset, model, (0.4, 0.25, 0.18)), model, config)
    return dict(zip(relit.lights, (image.astype(float) for image in relit.images), strict=True))


def test_left_light_is_the_mirror_image_of_right_light(symmetric: dict[str, np.ndarray]) -> None:
    left, right = symmetric["left"], symmetric["right"][:, ::-1]
    assert np.abs(left - right).mean() < 1.5
    assert left[:, :32].mean() > left[:, 32:].mean() + 15


def test_top_light_leaves_the_chin_dark_and_colours_come_from_their_sides(symmetric: dict[str, np.ndarray]) -> None:
    top = symmetric["top"]
    assert top[6:20, 24:40].mean() > top[46:54, 28:36].mean() + 20
    both = symmetric["warm and cool"]
    assert both[24:40, 18:26, 0].mean() > both[24:40, 18:26, 2].mean() + 30
    assert both[24:40, 38:46, 2].mean() > both[24:40, 38:46, 0].mean() + 10


def test_exposure_does_not_follow_the_face(asset: FaceAsset, model: FaceModel, tiny: ExportConfig) -> None:
    light, dark = (draw_relit(evenly_lit(asset, model, (a, a, a)), model, tiny) for a in (0.5, 0.05))
    middle = np.s_[12:22, 12:20]
    for first, second in zip(light.images, dark.images, strict=True):
        assert first[middle].mean() > second[middle].mean() + 25


def test_light_of_the_photo_gives_back_the_albedo_under_even_light(
    asset: FaceAsset, model: FaceModel, symmetric: dict[str, np.ndarray]
) -> None:
    # The forehead sees nearly all of its sky, so albedo 0.4 under shading 1 stays 0.4 (sRGB 170).
    forehead = symmetric["light of the photo"][8:16, 28:36]
    assert forehead[..., 0].mean() == pytest.approx(170, abs=6)
    assert forehead[..., 1].mean() == pytest.approx(137, abs=6)


def test_surroundings_are_metered_and_keep_their_energy() -> None:
    directions = texel_directions(16, torch.zeros(()))
    sky = 0.2 + directions[..., 1:2].clamp(min=0)
    radiance = sky.expand(-1, -1, 3).permute(2, 0, 1).clone()
    radiance[:, 4, 12] = torch.tensor([90.0, 80.0, 60.0])
    surroundings = prepare_surroundings("x", EnvironmentMap(radiance[None]))
    towards = torch.tensor(surroundings.sun.direction)
    assert float(towards @ directions[4, 12]) > 0.999
    assert surroundings.sun.colour[0] > surroundings.sun.colour[2] > 0
    # Sun and rest together shade surfaces that face the camera as metered.
    facing = directions.reshape(-1, 3)[directions.reshape(-1, 3)[:, 2] > 0.5]
    cosine = (facing @ surroundings.directions.T).clamp(min=0)
    rest = cosine @ surroundings.energy / math.pi
    sun = (facing @ towards).clamp(min=0)[:, None] * torch.tensor(surroundings.sun.colour)
    shading = (rest + sun) @ torch.tensor([0.2126, 0.7152, 0.0722])
    assert float(shading.mean()) == pytest.approx(METERED_SHADING, rel=0.02)


def test_even_surroundings_look_like_even_light(asset: FaceAsset, model: FaceModel) -> None:
    even = prepare_surroundings("even", EnvironmentMap(torch.full((1, 3, 8, 16), 5.0)))
    assert max(even.sun.colour) < 1e-6
    relit = draw_relit(evenly_lit(asset, model, (0.4, 0.4, 0.4)), model, ExportConfig(relit_px=64), [even])
    assert relit.lights[-2:] == ("even", "surroundings 2")
    forehead = relit.images[-2][8:14, 26:34].mean() / 255
    linear = ((forehead + 0.055) / 1.055) ** 2.4
    # Diffuse 0.4 x 0.6, and about 0.02 to 0.05 x 0.6 of gloss.
    assert 0.235 < linear < 0.285


def test_more_surroundings_than_places_are_refused() -> None:
    even = prepare_surroundings("even", EnvironmentMap(torch.ones(1, 3, 8, 16)))
    with pytest.raises(ValueError, match="room for 2"):
        preview_lights([even] * 3)
    assert len(preview_lights()) == len(PREVIEW_LIGHTS) == 8


def test_samples_of_a_key_fill_its_round_face() -> None:
    key = KeyLight((0.3, 0.9, -0.2), (1.0, 1.0, 1.0), 15.0)
    samples = key.samples(64)
    axis = torch.nn.functional.normalize(torch.tensor(key.direction), dim=0)
    angles = (samples @ axis).clamp(-1, 1).acos().rad2deg()
    assert float(angles.max()) <= 15.0
    assert float(angles.max()) > 13.0
    torch.testing.assert_close(torch.nn.functional.normalize(samples.mean(dim=0), dim=0), axis, atol=0.02, rtol=0)
