"""Detailed faces: tone kept, determinism across resolutions, every option seen, no seams."""

from __future__ import annotations

import pytest
import torch

from facealbedo.assets import load_face_model
from facealbedo.assets.prior import load_albedo_prior
from facealbedo.core.colour import delta_e_2000, ita_degrees, linear_rgb_to_lab, luminance
from facealbedo.core.face_model.albedo_prior import LAYERS, SKIN_COMPONENTS, AlbedoPrior
from facealbedo.core.face_model.skin import skin_albedo, skin_colour
from facealbedo.core.face_model.skin_detail import DETAIL_LAYERS, DetailConfig, DetailedAlbedo, sample_detailed_albedo
from facealbedo.core.render.sampling import sample_uv

PLAIN = DetailConfig(freckled=0.0, mole_rate=0.0, blemish_rate=0.0, made_up=0.0, grey_haired=0.0)


@pytest.fixture(scope="module")
def prior() -> AlbedoPrior:
    return load_albedo_prior()


def _draw(prior: AlbedoPrior, n: int, resolution: int, config: DetailConfig, seed: int = 0) -> DetailedAlbedo:
    coeffs = prior.sample(n, torch.Generator().manual_seed(seed))
    return sample_detailed_albedo(prior, coeffs, torch.Generator().manual_seed(seed + 1), resolution, config)


def _lab(maps: torch.Tensor) -> torch.Tensor:
    return linear_rgb_to_lab(maps.movedim(1, -1))


def test_maps_are_plausible_and_complete(prior: AlbedoPrior) -> None:
    faces = _draw(prior, 6, 128, DetailConfig())
    assert faces.uv_albedo.shape == (6, 3, 128, 128)
    assert faces.layer_alpha.shape == (6, len(DETAIL_LAYERS), 128, 128)
    assert faces.uv_albedo.min() > 0.003
    assert faces.uv_albedo.max() < 0.8
    assert faces.layer_alpha.min() >= 0
    assert faces.layer_alpha.max() <= 1
    # Not mirror images: that is what the detail is for.
    assert (faces.uv_albedo - faces.uv_albedo.flip(-1)).abs().mean() > 1e-3


def test_tone_is_that_of_the_coefficients(prior: AlbedoPrior) -> None:
    coeffs = prior.sample(24, torch.Generator().manual_seed(3))
    coeffs[:, SKIN_COMPONENTS : SKIN_COMPONENTS + len(LAYERS)] = -30.0
    faces = sample_detailed_albedo(prior, coeffs, torch.Generator().manual_seed(4), 128)
    core = (prior.field("core_skin", 128) > 0.5).flatten()
    median = linear_rgb_to_lab(faces.uv_albedo.flatten(2)[:, :, core].median(-1).values)
    tone = linear_rgb_to_lab(prior.base_tone(coeffs))
    difference = delta_e_2000(median, tone)
    assert difference.mean() < 0.6
    assert difference.max() < 1.6
    assert (ita_degrees(median) - ita_degrees(tone)).mean().abs() < 1.0


def test_skin_is_what_its_chromophores_say(prior: AlbedoPrior) -> None:
    faces = _draw(prior, 2, 64, PLAIN)
    bare = (faces.layer_alpha.amax(1) == 0).expand(2, 64, 64)
    melanin, blood = faces.log_chromophores.double().exp().unbind(1)
    for face in range(2):
        exact = skin_albedo(
            melanin[face].clamp(0.001, 0.98).numpy(),
            blood[face].clamp(0.003, 0.6).numpy(),
            float(faces.eumelanin_share[face]),
            float(faces.oxygenation[face]),
        )
        error = delta_e_2000(linear_rgb_to_lab(torch.from_numpy(exact)), _lab(faces.uv_albedo.double())[face])
        assert bare[face].float().mean() > 0.2
        assert error[bare[face]].max() < 0.15


def test_same_face_at_every_resolution(prior: AlbedoPrior) -> None:
    config = DetailConfig(freckled=1.0, mole_rate=3.0, made_up=1.0, patch_rate=3.0)
    coarse, fine = _draw(prior, 3, 256, config), _draw(prior, 3, 512, config)
    torch.testing.assert_close(coarse.oxygenation, fine.oxygenation)
    mask = prior.field("core_skin", 256) > 0.5
    shrunk = torch.nn.functional.avg_pool2d(fine.uv_albedo, 2)
    assert delta_e_2000(_lab(shrunk), _lab(coarse.uv_albedo))[:, mask].mean() < 0.8
    other = _draw(prior, 3, 256, config, seed=5)
    assert delta_e_2000(_lab(other.uv_albedo), _lab(coarse.uv_albedo))[:, mask].mean() > 3


def test_same_seed_same_face(prior: AlbedoPrior) -> None:
    first, second = (_draw(prior, 2, 64, DetailConfig()) for _ in range(2))
    assert torch.equal(first.uv_albedo, second.uv_albedo)


def _plain_and_with(prior: AlbedoPrior, **changes: float) -> tuple[DetailedAlbedo, DetailedAlbedo]:
    """The same light faces with and without one kind of detail."""
    coeffs = prior.sample(4, torch.Generator().manual_seed(8), groups=torch.tensor([0, 0, 1, 1]))
    coeffs[:, SKIN_COMPONENTS + 1] = -4.0
    settings = dict.fromkeys(("freckled", "mole_rate", "blemish_rate", "made_up", "grey_haired"), 0.0)
    draws = [
        sample_detailed_albedo(prior, coeffs, torch.Generator().manual_seed(9), 256, DetailConfig(**(settings | extra)))
        for extra in ({}, changes)
    ]
    return draws[0], draws[1]


def test_freckles_are_brown_spots_on_nose_and_cheeks(prior: AlbedoPrior) -> None:
    plain, freckled = _plain_and_with(prior, freckled=1.0)
    change = (freckled.log_chromophores - plain.log_chromophores)[:, 0]
    zone = prior.field("freckle_zone")
    assert change.min() >= -1e-5
    assert 0.005 < (change[:, zone > 0.6] > 0.2).float().mean() < 0.4
    assert change[:, zone < 0.01].max() < 0.1
    torch.testing.assert_close(freckled.log_chromophores[:, 1], plain.log_chromophores[:, 1])


def test_moles_and_blemishes_are_small_spots(prior: AlbedoPrior) -> None:
    plain, spotted = _plain_and_with(prior, mole_rate=8.0)
    darker = (spotted.log_chromophores - plain.log_chromophores)[:, 0] > 0.5
    assert 0 < darker.float().mean() < 0.005
    assert darker.flatten(1).any(1).all()
    plain, spotted = _plain_and_with(prior, blemish_rate=8.0)
    redder = (spotted.log_chromophores - plain.log_chromophores)[:, 1] > 0.15
    assert 0 < redder.float().mean() < 0.01


def test_patches_stain_parts_of_the_face_and_leave_its_tone(prior: AlbedoPrior) -> None:
    plain, stained = _plain_and_with(prior, patch_rate=6.0)
    change = stained.log_chromophores - plain.log_chromophores
    core = prior.field("core_skin", 256)
    torch.testing.assert_close((change * core).sum((-2, -1)) / core.sum(), torch.zeros(4, 2), atol=1e-5, rtol=0)
    # What no patch touches has all of one value, which takes their mean back.
    untouched = change.flatten(2).median(-1).values[..., None, None]
    touched = ((change - untouched).abs() > 0.1).float().mean((-2, -1))
    assert (touched.amax(1) > 0.001).all()
    assert touched.max() < 0.4
    for channel in range(2):
        assert (change - untouched)[:, channel].abs().max() > 0.3
    assert (change - untouched)[:, 0].min() < -0.2  # some are paler


def test_lipstick_stays_on_the_lips(prior: AlbedoPrior) -> None:
    plain, made_up = _plain_and_with(prior, made_up=1.0)
    alpha = made_up.layer_alpha[:, DETAIL_LAYERS.index("lipstick")]
    lips = prior.field("lips")
    assert alpha[:, lips > 0.9].min() > 0.3
    assert alpha[:, lips < 0.2].max() == 0
    assert (plain.layer_alpha[:, DETAIL_LAYERS.index("lipstick")] == 0).all()
    bearded = made_up.albedo_coeffs.clone()
    bearded[:, SKIN_COMPONENTS + 1] = 2.0
    drawn = sample_detailed_albedo(prior, bearded, torch.Generator().manual_seed(9), 64, DetailConfig(made_up=1.0))
    assert (drawn.layer_alpha[:, DETAIL_LAYERS.index("lipstick")] == 0).all()


def test_grey_hair_is_lighter(prior: AlbedoPrior) -> None:
    plain, grey = _plain_and_with(prior, grey_haired=1.0)
    hair = plain.layer_alpha[:, DETAIL_LAYERS.index("scalp")] > 0.3
    change = luminance(grey.uv_albedo.movedim(1, -1)) - luminance(plain.uv_albedo.movedim(1, -1))
    assert hair.any()
    assert change[hair].mean() > 0


def test_no_seam_behind_the_head(prior: AlbedoPrior) -> None:
    """Points on the two sides of the atlas's cut are one point of the head and must have one colour."""
    model = load_face_model()
    source, order = torch.sort(model.uv_source, stable=True)
    twice = (source[1:] == source[:-1]).nonzero()[:, 0]
    assert len(twice) > 10
    faces = _draw(prior, 6, 512, PLAIN)
    uv = model.uv[torch.stack([order[twice], order[twice + 1]])]
    colours = sample_uv(faces.uv_albedo, uv.permute(2, 0, 1)[None].expand(6, -1, -1, -1))
    step = delta_e_2000(*_lab(colours).unbind(1))
    assert step.mean() < 0.5
    assert step.max() < 4.0


def test_nuisances_stay_in_their_bounds(prior: AlbedoPrior) -> None:
    faces = _draw(prior, 40, 16, PLAIN)
    assert 0.65 <= faces.eumelanin_share.min() < faces.eumelanin_share.max() <= 0.80
    assert 0.70 <= faces.oxygenation.min() < faces.oxygenation.max() <= 0.85
    middle = skin_colour(*faces.log_chromophores.unbind(1))
    assert (
        delta_e_2000(
            _lab(middle), _lab(skin_colour(*faces.log_chromophores.unbind(1), faces.eumelanin_share, faces.oxygenation))
        ).max()
        < 1.2
    )


@pytest.mark.gpu
def test_same_on_cuda(prior: AlbedoPrior) -> None:
    coeffs = prior.sample(2, torch.Generator().manual_seed(0))
    here = sample_detailed_albedo(prior, coeffs, torch.Generator().manual_seed(1), 256)
    there = sample_detailed_albedo(prior.to("cuda"), coeffs.cuda(), torch.Generator().manual_seed(1), 256)
    difference = (there.uv_albedo.cpu() - here.uv_albedo).abs()
    assert difference.mean() < 1e-4
    assert difference.max() < 0.05
