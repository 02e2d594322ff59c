from __future__ import annotations

import pytest
import torch

from facealbedo.assets import load_face_model
from facealbedo.assets.environments import load_environments
from facealbedo.assets.occlusion import load_occlusion
from facealbedo.core.lighting.envmap import EnvironmentMap
from facealbedo.core.render import preview
from facealbedo.core.render.uv import atlas_texels
from facealbedo.core.types import Camera, FaceAsset, FaceCoefficients, Lighting, Pose, UVObservation

SMALL = preview.PreviewConfig(size=64, supersampling=2)


@pytest.fixture(scope="module")
def asset() -> FaceAsset:
    model = load_face_model()
    mask = atlas_texels(model, 64).mask
    albedo = torch.tensor([0.5, 0.35, 0.25]).view(1, 3, 1, 1) * mask
    empty = torch.zeros(1, 3, 64, 64)
    return FaceAsset(
        coefficients=FaceCoefficients(torch.zeros(1, 80), torch.zeros(1, 52), torch.zeros(1, 10)),
        pose=Pose(torch.eye(3)[None], torch.zeros(1, 3)),
        camera=Camera(torch.ones(1), torch.zeros(1, 2), 1, 1),
        lighting=Lighting(torch.zeros(1, 3, 9)),
        vertices_world=model.mean[None],
        observation=UVObservation(empty, empty[:, :1], empty),
        prior_albedo=albedo,
        uv_albedo=albedo,
        uv_illumination=torch.zeros(1, 27, 8, 8),
    )


def even_sky(value: float = 1.0) -> EnvironmentMap:
    return EnvironmentMap(torch.full((1, 3, 16, 32), value))


def test_even_sky_shows_the_albedo(asset: FaceAsset) -> None:
    config = preview.PreviewConfig(size=64, supersampling=1, roughness=None)
    image = preview.relight(asset, even_sky(), load_face_model(), config=config)
    assert image.shape == (1, 3, 64, 64)
    forehead = image[0, :, 20, 32]
    torch.testing.assert_close(forehead, torch.tensor([0.5, 0.35, 0.25]), atol=5e-3, rtol=0)
    torch.testing.assert_close(image[0, :, 0, 0], torch.full((3,), config.background))


def test_gloss_adds_and_occlusion_takes(asset: FaceAsset) -> None:
    model = load_face_model()
    matte = preview.relight(asset, even_sky(), model, config=preview.PreviewConfig(size=64, roughness=None))
    glossy = preview.relight(asset, even_sky(), model, config=SMALL)
    shadowed = preview.relight(asset, even_sky(), model, load_occlusion(), config=SMALL)
    assert (glossy - matte).min() > -1e-6
    assert 0.01 < float((glossy - matte)[0, 0, 20, 32]) < 0.05
    assert (shadowed - glossy).max() < 0.02
    assert (glossy - shadowed).max() > 0.1


def test_light_from_one_side_lights_that_side(asset: FaceAsset) -> None:
    radiance = torch.zeros(1, 3, 32, 64)
    radiance[..., 8:24, 8:24] = 3.0  # around +x, which is right in the image
    image = preview.relight(asset, EnvironmentMap(radiance), load_face_model(), load_occlusion(), config=SMALL)[0]
    assert image[:, 20:40, 38:46].mean() > 3 * image[:, 20:40, 18:26].mean()


def test_symmetric_face_in_symmetric_light_gives_a_symmetric_picture(asset: FaceAsset) -> None:
    radiance = torch.rand(1, 3, 16, 32, generator=torch.Generator().manual_seed(0))
    symmetric = EnvironmentMap(radiance + radiance.flip(-1))
    image = preview.relight(asset, symmetric, load_face_model(), load_occlusion(), config=SMALL)[0]
    assert (image - image.flip(-1)).abs().mean() < 2e-3


def test_turntable_turns_the_way_it_says(asset: FaceAsset) -> None:
    model = load_face_model()
    pictures = list(preview.render_turntable(asset, even_sky(), model, yaws_degrees=(-60.0, 0.0, 60.0), config=SMALL))
    assert len(pictures) == 3
    torch.testing.assert_close(pictures[0], pictures[2].flip(-1), atol=0.35, rtol=0)
    assert (pictures[0] - pictures[2].flip(-1)).abs().mean() < 3e-3
    assert (pictures[0] - pictures[1]).abs().mean() > 0.02
    # Turned to the right of the image, the nose leads to the right: more head behind it, to the left.
    covered = (pictures[2][0] - SMALL.background).abs().amax(0) > 1e-3
    middle_row = covered[34].nonzero()[:, 0]
    assert middle_row.numel() > 10


def test_one_environment_for_each_face(asset: FaceAsset) -> None:
    environments = load_environments()
    two = asset._map(lambda tensor: tensor.expand(2, *tensor.shape[1:]))
    both = EnvironmentMap(torch.cat([environments["park"].radiance, environments["studio"].radiance]))
    model = load_face_model()
    together = preview.relight(two, both, model, config=SMALL)
    for index, name in enumerate(("park", "studio")):
        alone = preview.relight(asset, environments[name], model, config=SMALL)
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-5, rtol=1e-4)
