from __future__ import annotations

import pytest
import torch
from torch.nn.functional import normalize

from facealbedo.core.losses.pigment import pigment_loss
from facealbedo.core.networks.pigment import (
    PigmentConfig,
    coarse_part,
    detail_part,
    fine_part,
    pigment_detail,
    shading_axis,
)

B, S = 2, 96
AXIS = normalize(torch.tensor([0.45, 0.6, 0.66]), dim=0)


@pytest.fixture
def trust() -> torch.Tensor:
    return torch.ones(B, 1, S, S)


def noise(seed: int, size: float = 0.2) -> torch.Tensor:
    return size * torch.randn(B, 1, S, S, generator=torch.Generator().manual_seed(seed))


def test_axis_is_the_first_eigenvector(trust):
    detail = noise(0) * AXIS[:, None, None] + noise(1, 0.02) * torch.tensor([1.0, -1.0, 0.0])[:, None, None]
    flat = detail[0].flatten(1).double()
    expected = torch.linalg.eigh(flat @ flat.T)[1][:, -1].float()
    found = shading_axis(detail, trust)[0]
    assert found.min() > 0
    assert abs(float(found @ expected)) > 0.9995


def test_a_face_without_detail_has_a_grey_axis(trust):
    torch.testing.assert_close(shading_axis(torch.zeros(B, 3, S, S), trust), torch.full((B, 3), 3**-0.5))


def test_shading_is_taken_out_and_pigment_kept(trust):
    """A colour off the line of shading passes; along it, highlights and folds keep their shares."""
    nothing, evenly = torch.zeros(1, 1, S, S), torch.zeros(B, 3, S, S)
    shade = noise(0) * AXIS[:, None, None]
    spot = torch.zeros(B, 3, S, S)
    redder = normalize(torch.linalg.cross(AXIS, torch.tensor([1.0, 0.0, 0.0])), dim=0) * 0.1
    spot[:, :, 40:44, 40:44] = redder[:, None, None]
    none = PigmentConfig(darker_skin=0.0, darker_brows=0.0, brighter=0.0, hue_clear=10.0)
    found = pigment_detail(shade + spot, evenly, trust, trust, nothing, none)
    kept = fine_part(spot, trust)
    assert (found - kept).abs().mean() < 0.05 * shade.abs().mean()
    inside = (..., slice(41, 43), slice(41, 43))
    torch.testing.assert_close(found[inside], kept[inside], atol=0.02, rtol=0)
    shares = PigmentConfig(darker_skin=0.5, darker_brows=1.0, brighter=0.25)
    half = pigment_detail(shade, evenly, trust, trust, nothing, shares)
    along = (fine_part(shade, trust) * AXIS[:, None, None]).sum(1)
    expected = torch.where(along < 0, 0.5, 0.25) * along
    torch.testing.assert_close((half * AXIS[:, None, None]).sum(1), expected, atol=2e-3, rtol=0)
    every = torch.ones(1, 1, S, S)
    features = pigment_detail(shade, evenly, trust, trust, every, shares)
    whole = detail_part(shade, trust, every)
    dark = ((whole * AXIS[:, None, None]).sum(1) < -0.05)[:, None].expand(-1, 3, -1, -1).clone()
    dark[:, :, S // 2 :] = False  # lips are there
    torch.testing.assert_close(features[dark], whole[dark], atol=4e-3, rtol=0)


def test_light_of_two_colours_leaves_no_rainbow(trust):
    """Where much lies off the line, little of it passes; a lone spot on a face without passes nearly whole."""
    evenly, nothing = torch.zeros(B, 3, S, S), torch.zeros(1, 1, S, S)
    off = normalize(torch.linalg.cross(AXIS, torch.tensor([1.0, 0.0, 0.0])), dim=0)[:, None, None]
    shade = noise(0, 0.5) * AXIS[:, None, None]
    settings = PigmentConfig(darker_skin=0.0, brighter=0.0)
    coloured = pigment_detail(shade + noise(1) * off, evenly, trust, trust, nothing, settings)
    assert coloured.norm(dim=1).max() < 1.1 * settings.hue_skin
    lone = torch.zeros(B, 1, S, S)
    lone[..., 40:43, 40:43] = 0.15
    kept = pigment_detail(shade + lone * off, evenly, trust, trust, nothing, settings)
    assert (kept * off).sum(1)[:, 41, 41].min() > 0.1


def test_a_stock_brow_is_taken_back_where_the_photo_has_none(trust):
    """The prior's brow is dark and the photo's skin even: the ratio is bright there, and that is no highlight."""
    brow = torch.zeros(B, 1, S, S)
    brow[..., 40:46, 30:66] = 1
    ratio = brow.expand(-1, 3, -1, -1) * 0.8
    settings = PigmentConfig(brighter=0.0)
    back = pigment_detail(ratio, -ratio, trust, trust * (1 - brow), brow, settings)
    highlight = pigment_detail(ratio, 0 * ratio, trust, trust * (1 - brow), brow, settings)
    assert back[:, :, 42, 40:56].min() > 0.5
    assert highlight[:, :, 42, 40:56].abs().max() < 0.05


def test_a_stock_brow_goes_with_its_grey(trust):
    """Against the skin's warm colour the prior's grey brow is dark most of all in red: nothing of that must stay."""
    brow = torch.zeros(B, 1, S, S)
    brow[..., 30:36, 30:66] = 1
    ratio = brow * torch.tensor([1.0, 0.7, 0.4]).view(1, 3, 1, 1)
    seen = ratio + noise(4) * (1 - brow)  # the line of shading is grey
    back = pigment_detail(seen, -ratio, trust, trust * (1 - brow), brow, PigmentConfig(brighter=0.0))
    inside = back[:, :, 32, 40:56]
    # Detail is less than the whole, and less by the same part in every channel.
    torch.testing.assert_close(inside[:, 1:] / inside[:, :1], ratio[:, 1:, 32, 40:56], atol=0.06, rtol=0)
    assert inside[:, 0].min() > 0.6


def test_brows_have_no_colour_of_their_own_but_lips_have(trust):
    region = torch.zeros(B, 1, S, S)
    region[..., 26:34, 30:66] = 1
    region[..., 66:74, 30:66] = 1
    colour = torch.tensor([0.3, -0.15, -0.15]).view(1, 3, 1, 1)
    found = pigment_detail(region * colour, torch.zeros(B, 3, S, S), trust, trust * (1 - region), region)
    hue = (found - found.mean(1, keepdim=True)).norm(dim=1)
    assert hue[:, 29:31, 40:56].max() < 0.05
    assert hue[:, 69:71, 40:56].min() > 0.13


def lip_region() -> torch.Tensor:
    region = torch.zeros(B, 1, S, S)
    region[..., 66:78, 30:66] = 1
    return region


def test_dark_lips_stay_dark_and_gloss_on_them_goes_without_an_edge(trust):
    """A bright patch on lips that are darker than the prior's: less of it than of the lips' own darkness is left."""
    region = lip_region()
    patch = torch.zeros(B, 1, S, S)
    patch[..., 72:76, 40:56] = 1
    log_ratio = (-0.4 * region + 0.5 * patch).expand(-1, 3, -1, -1)
    found = pigment_detail(log_ratio, torch.zeros(B, 3, S, S), trust, trust * (1 - region), region).mean(1)
    inside, wet = (..., slice(67, 71), slice(34, 62)), (..., slice(73, 75), slice(44, 52))
    assert -0.45 < found[inside].mean() < -0.2
    assert found[wet].mean() < -0.15
    assert found[wet].mean() - found[inside].mean() < 0.25 * 0.5


def test_light_that_changes_slowly_over_lips_makes_no_step_in_them(trust):
    """Lips brighter than the prior's, one half brighter than the skin around, one darker: nothing jumps between."""
    region = lip_region()
    light = (torch.linspace(-1, 1, S)[None, None, None, :] + 0.2) * region
    found = pigment_detail(
        light.expand(-1, 3, -1, -1), torch.zeros(B, 3, S, S), trust, trust * (1 - region), region
    ).mean(1)
    assert found[:, 70:74, 32:64].diff(dim=-1).abs().max() < 2 / (S - 1)


def test_lips_are_taken_to_be_as_light_as_the_skin_around_at_most(trust):
    region = lip_region()
    dark_prior = -0.3 * region.expand(-1, 3, -1, -1)
    found = pigment_detail(0.8 * region.expand(-1, 3, -1, -1), dark_prior, trust, trust * (1 - region), region)
    inner = (dark_prior + found)[:, :, 70:74, 36:60]
    assert -0.2 < inner.mean() < 0.0


def test_skin_beside_a_brow_does_not_turn_white(trust):
    """Half of a region of brows is dark hair, half bare skin: the skin stays what it is, whatever the hair is."""
    region = torch.zeros(B, 1, S, S)
    region[..., 40:52, 20:76] = 1
    hair = torch.zeros(B, 1, S, S)
    hair[..., 46:52, 20:76] = -1.0
    ratio = hair.expand(-1, 3, -1, -1)
    found = pigment_detail(ratio, 0 * ratio, trust, trust * (1 - region), region)
    assert found[:, :, 41:45, 24:72].abs().max() < 0.05
    assert found[:, :, 47:51, 24:72].max() < -0.5


def test_smooth_light_is_no_detail(trust):
    ramp = torch.linspace(-1, 1, S)[None, None, None, :].expand(B, 3, S, S).contiguous()
    inner = fine_part(ramp, trust)[..., 16:-16]
    assert inner.abs().max() < 1e-3


@pytest.mark.parametrize("size", [64, 512])
def test_low_pass_of_a_constant_is_itself_at_any_size(size):
    weight = torch.rand(1, 1, size, size, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.5
    constant = torch.full((1, 3, size, size), 0.7)
    torch.testing.assert_close(coarse_part(constant, weight), constant)


def test_hidden_texels_count_neither_way(trust):
    hidden = trust.clone()
    hidden[..., :30, :] = 0
    values = noise(3) * AXIS[:, None, None]
    other = torch.where(hidden > 0, values, 5.0)
    found = [pigment_detail(seen, values * 0, hidden, trust, trust * 0) for seen in (values, other)]
    torch.testing.assert_close(*found)


def test_loss_is_zero_at_the_target_and_blind_to_what_is_smooth(trust):
    residual = noise(4) * torch.ones(1, 3, 1, 1)
    target, none = fine_part(residual, trust), trust * 0
    assert pigment_loss(residual, target, trust, none).abs().max() < 1e-6
    assert pigment_loss(residual + 0.5, target, trust, none).abs().max() < 1e-5
    assert pigment_loss(residual * 2, target, trust, none).min() > 0.01
