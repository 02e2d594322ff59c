from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from facealbedo.assets.pigment import load_pigment_net
from facealbedo.core.colour import srgb_to_linear
from facealbedo.core.lighting.sh import shading
from facealbedo.core.networks.records import RefinerOutput
from facealbedo.core.render.sampling import sample_uv
from facealbedo.core.train.batch import mirror_batch
from facealbedo.core.train.inspect import photo_measures, separated
from facealbedo.core.train.lamp import facing, lamp_diffuse, lamp_visibility
from facealbedo.core.train.scene import concatenate, make_scene, read_atlas
from facealbedo.core.train.step import enlarge, render
from tests.unit.core.train.crops import make_batch


def test_scene_of_a_mirrored_crop_is_the_mirrored_scene(stage):
    batch = make_batch(stage, 3)
    here = make_scene(stage, batch)
    there = make_scene(stage, mirror_batch(stage.model, batch, torch.ones(3, dtype=torch.bool)))
    torch.testing.assert_close(there.photo_srgb, here.photo_srgb.flip(-1))
    seen, mirrored = here.face.observation, there.face.observation
    differs = (mirrored.uv_visibility - seen.uv_visibility.flip(-1)).abs() > 0.05
    assert differs.float().mean() < 0.01
    both = (mirrored.uv_visibility > 0.5) & (seen.uv_visibility.flip(-1) > 0.5)
    error = ((mirrored.uv_texture - seen.uv_texture.flip(-1)).abs() * both).sum() / both.sum()
    assert error < 0.01
    torch.testing.assert_close(there.face.prior_albedo, here.face.prior_albedo.flip(-1), atol=1e-4, rtol=1e-3)


def test_unwrapped_noise_reads_back_as_the_photo(stage):
    scene = make_scene(stage, make_batch(stage, 2))
    texture = scene.face.observation.uv_texture
    photo = srgb_to_linear(scene.photo_srgb)
    smooth = torch.nn.functional.avg_pool2d
    seen = (scene.face_mask > 0.9).float()
    share = smooth(seen, 9, 1)
    again, wanted = (
        smooth(image * seen, 9, 1) / share.clamp(min=0.01) for image in (read_atlas(texture, scene.uv), photo)
    )
    whole = share > 0.99
    assert whole.sum() > 20
    assert ((again - wanted).abs() * whole).sum() / (3 * whole.sum()) < 0.03


def test_read_atlas_is_sample_uv(stage):
    uv_map = torch.rand(2, 3, 16, 16)
    uv = torch.rand(2, 2, 9, 9)
    torch.testing.assert_close(read_atlas(uv_map, uv), sample_uv(uv_map, uv), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("coarse", [1, 4, 8])
def test_enlarge_is_torchs_interpolation(coarse):
    uv_map = torch.rand(2, 27, coarse, coarse, dtype=torch.float64)
    expected = torch.nn.functional.interpolate(uv_map, size=(32, 32), mode="bilinear", align_corners=False)
    torch.testing.assert_close(enlarge(uv_map, 32), expected)


def test_render_of_one_light_is_albedo_times_shading(stage):
    scene = make_scene(stage, make_batch(stage, 2))
    albedo = torch.full_like(scene.face.prior_albedo, 0.4)
    light = scene.face.sh_radiance.reshape(-1, 27, 1, 1).expand(-1, -1, 8, 8)
    empty, gates = torch.zeros_like(albedo[:, :1]), torch.zeros_like(albedo[:, :2])
    image = render(scene, RefinerOutput(albedo, light, torch.full_like(albedo, math.log(2)), gates, empty))
    expected = 0.4 * 2 * shading(scene.face.sh_radiance, scene.normal_view) * scene.openness
    inner = scene.face_mask > 0.9
    # Shaded in the atlas and read, against shaded at the pixel: normals differ a little between texels.
    error = ((image - expected).abs() * inner).sum() / (expected * inner).sum()
    assert error < 0.02


def test_scenes_of_photos_and_truth_go_together(stage):
    scene = make_scene(stage, make_batch(stage, 2))
    both = concatenate(scene, scene)
    assert both.photo_srgb.shape[0] == 4
    assert both.truth is None


def test_a_wall_shades_what_is_behind_it(stage):
    """A square between lamp and points: shaded inside its shadow, lit beside it, half-lit at a soft border."""
    square = torch.tensor([[[-0.05, -0.05, 0.0], [0.05, -0.05, 0.0], [0.05, 0.05, 0.0], [-0.05, 0.05, 0.0]]])
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]])
    place = torch.linspace(-0.1, 0.1, 41)
    points = torch.stack([place, torch.zeros(41), torch.full((41,), -0.05)])[None, :, None, :]
    above = torch.tensor([[0.0, 0.0, 1.0]])
    hard = lamp_visibility(square, triangles, points, above, torch.tensor([1e-4]), stage.rasterizer)[0, 0, 0]
    assert torch.equal(hard[place.abs() < 0.045], torch.zeros(17))
    assert torch.equal(hard[place.abs() > 0.055], torch.ones(20))
    soft = lamp_visibility(square, triangles, points, above, torch.tensor([0.02]), stage.rasterizer)[0, 0, 0]
    assert 0.2 < soft[(place.abs() - 0.05).abs() < 0.003].mean() < 0.8
    # The wall itself is lit.
    on_it = points + torch.tensor([0.0, 0.0, 0.05])[None, :, None, None]
    lit = lamp_visibility(square, triangles, on_it, above, torch.tensor([1e-4]), stage.rasterizer)
    assert lit.min() == 1


def test_lamp_frames_are_rotations_that_face_the_lamp():
    directions = torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    frames = facing(directions)
    torch.testing.assert_close(frames @ frames.transpose(1, 2), torch.eye(3).expand(50, 3, 3), atol=1e-5, rtol=0)
    assert (torch.linalg.det(frames) > 0.99).all()
    turned = (frames @ directions[..., None])[..., 0]
    torch.testing.assert_close(turned, torch.tensor([0.0, 0.0, 1.0]).expand(50, 3), atol=1e-5, rtol=0)


def test_lamp_shading_is_the_cosine():
    normals = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.6, 0.8], [0.0, 0.0, -1.0]]).T[None, :, None, :]
    found = lamp_diffuse(normals, torch.tensor([[0.0, 0.0, 1.0]]))
    torch.testing.assert_close(found.flatten(), torch.tensor([1.0, 0.8, 0.0]))


def test_many_faces_are_judged_as_one_is(stage):
    """Training judges whole blocks, more than a device holds at once."""
    judging = dataclasses.replace(stage, pigment_net=load_pigment_net())
    face = make_scene(stage, make_batch(stage, 35, seed=13)).face
    together = judging.judged(face).uv_pigment
    assert together.shape == face.prior_albedo.shape
    assert not torch.equal(together, stage.judged(face).uv_pigment)
    for one in (0, 31, 32, 34):
        alone = judging.judged(face[one : one + 1]).uv_pigment
        torch.testing.assert_close(together[one : one + 1], alone, atol=1e-4, rtol=0)


def test_light_of_another_face_is_told_from_a_faces_own(stage):
    """An albedo with a face's own light in it correlates with that light, not with the next face's."""
    scene = make_scene(stage, make_batch(stage, 4, seed=11))
    generator = torch.Generator().manual_seed(12)
    turned = torch.randn(4, 3, 9, generator=generator).mean(1, keepdim=True).expand(4, 3, 9) * 0.25
    light = turned.clone()
    light[:, :, 0] = 3.0
    face = dataclasses.replace(scene.face, sh_radiance=light)
    scene = dataclasses.replace(scene, face=face)
    baked = 0.3 * shading(light, face.observation.uv_normal_view)
    refined = dataclasses.replace(separated(stage.judged(face)), uv_albedo=baked.clamp(min=1e-3))
    found = photo_measures(stage, scene, refined)
    assert found["leakage"].min() > 0.999
    assert found["leakage_elsewhere"].max() < 0.98
    assert found["leakage_elsewhere"].mean() < 0.8
    alone = photo_measures(stage, scene[:1], refined[:1])
    assert alone["leakage_elsewhere"].isnan().all()


def test_detail_of_lips_is_told_from_that_of_brows(stage):
    """A photo below the middle of the atlas, where lips are, and an even colour above."""
    scene = make_scene(stage, make_batch(stage, 3, seed=17))
    texture = scene.face.observation.uv_texture
    half = (torch.arange(texture.shape[-2]) >= texture.shape[-2] // 2)[:, None]
    refined = separated(stage.judged(scene.face))
    lips = dataclasses.replace(refined, uv_albedo=torch.where(half, texture.clamp(min=1e-3), 0.3))
    found = photo_measures(stage, scene, lips)
    assert found["lip_detail"].min() > 0.99
    assert found["brow_detail"].abs().max() < 0.01
    assert (found["feature_detail"] < found["lip_detail"]).all()
    unseen = dataclasses.replace(scene.face.observation, uv_visibility=scene.face.observation.uv_visibility * ~half)
    hidden = dataclasses.replace(scene, face=dataclasses.replace(scene.face, observation=unseen))
    assert photo_measures(stage, hidden, lips)["lip_detail"].isnan().all()
