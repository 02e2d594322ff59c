from __future__ import annotations

import torch
from torch.nn.functional import normalize

from facealbedo.core.refine.separation import separate_albedo
from facealbedo.core.types import UVObservation

S = 128
ONES = torch.ones(1, 1, S, S)


def observe(texture: torch.Tensor, trust: torch.Tensor = ONES) -> UVObservation:
    return UVObservation(texture, trust, normalize(torch.ones(1, 3, S, S), dim=1))


def flat(*colour: float) -> torch.Tensor:
    return torch.tensor(colour)[None, :, None, None].expand(1, 3, S, S).contiguous()


PRIOR = flat(0.42, 0.26, 0.19)
SHADING = flat(0.8, 0.8, 0.8)


def test_a_photo_of_the_prior_gives_the_prior():
    found = separate_albedo(observe(PRIOR * SHADING), SHADING, PRIOR, ONES, ONES * 0)
    torch.testing.assert_close(found, PRIOR, atol=1e-4, rtol=1e-4)


def test_wrong_light_strength_and_side_light_stay_out():
    side = torch.linspace(0.3, 2.0, S)[None, None, None, :]
    found = separate_albedo(observe(PRIOR * SHADING * side), SHADING, PRIOR, ONES, ONES * 0)
    inner = (found / PRIOR)[..., 24:-24].log()
    assert inner.abs().max() < 0.05


def test_a_brown_spot_stays_and_a_highlight_goes():
    grey = 1 + 0.5 * torch.rand(1, 1, S, S, generator=torch.Generator().manual_seed(0))
    photo = PRIOR * SHADING * grey
    spot, gloss = (..., slice(40, 46), slice(40, 46)), (..., slice(80, 86), slice(80, 86))
    photo[spot] *= torch.tensor([0.9, 0.6, 0.4])[None, :, None, None]
    photo[gloss] *= 1.5
    found = separate_albedo(observe(photo), SHADING, PRIOR, ONES, ONES * 0)
    ratio = (found / PRIOR).log()
    assert ratio[spot].mean((2, 3))[0, 2] < -0.18
    assert ratio[spot].mean((2, 3))[0, 2] < ratio[spot].mean((2, 3))[0, 0] - 0.15
    assert ratio[gloss].mean().abs() < 0.12


def test_brows_keep_their_darkness():
    features = torch.zeros(1, 1, S, S)
    features[..., 34:38, 30:60] = 1
    photo = PRIOR * SHADING * (1 - 0.8 * features)
    found = separate_albedo(observe(photo), SHADING, PRIOR, ONES * (1 - features), features)
    assert (found / PRIOR).log()[..., 35:37, 35:55].mean() < -0.6


def test_the_unseen_side_takes_the_detail_of_the_other():
    trust = torch.zeros(1, 1, S, S)
    trust[..., : S // 2] = 1
    # Wrinkles show what shading looks like on this face.
    photo = PRIOR * SHADING * (1 + 0.4 * torch.rand(1, 1, S, S, generator=torch.Generator().manual_seed(0)))
    photo[..., 60:66, 20:26] *= torch.tensor([0.9, 0.5, 0.4])[None, :, None, None]
    found = separate_albedo(observe(photo, trust), SHADING, PRIOR, ONES, ONES * 0)
    ratio = (found / PRIOR).log()
    own, other = ratio[..., 60:66, 20:26], ratio.flip(-1)[..., 60:66, 20:26]
    assert own[:, 2].mean() < own[:, 0].mean() - 0.2
    torch.testing.assert_close(other, 0.9 * own, atol=1e-4, rtol=1e-3)
