"""Unseen lips take the colour of seen ones; scalp, ears and neck stay the prior's."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facealbedo.assets import load_face_model
from facealbedo.core.refine.unseen import complete_lips, keep_outside
from facealbedo.core.render.uv import bake_region

SIZE = 256
COLOUR = torch.tensor([0.7, 0.4, 0.5])[:, None, None]


@pytest.fixture(scope="module")
def lips() -> Tensor:
    return bake_region(load_face_model(), "lips", SIZE)[None, None]


def refined(prior: Tensor, seen: Tensor, lips: Tensor) -> Tensor:
    """Prior, with lips of another colour where they are seen, as a refinement leaves it."""
    return prior * torch.where(lips * seen > 0.5, COLOUR, 1.0)


def test_the_inside_of_an_open_mouth_gets_the_colour_of_the_lips(lips: Tensor) -> None:
    prior = torch.full((1, 3, SIZE, SIZE), 0.4)
    rows = (lips[0, 0] > 0.5).any(1).nonzero().flatten()
    inner = torch.ones(1, 1, SIZE, SIZE)
    inner[..., rows[len(rows) // 3] : rows[2 * len(rows) // 3], :] = 0
    made = complete_lips(refined(prior, inner, lips), prior, inner, (lips > 0.5).float())
    inside = ((lips > 0.5) & (inner == 0)).expand_as(made)
    expected = (0.4 * COLOUR).expand_as(made[0])[None]
    torch.testing.assert_close(made[inside], expected[inside], rtol=0.02, atol=0)


def test_a_covered_half_gets_the_other_half_mirrored(lips: Tensor) -> None:
    prior = torch.full((1, 3, SIZE, SIZE), 0.4)
    left = torch.ones(1, 1, SIZE, SIZE)
    left[..., : SIZE // 2] = 0
    spot = refined(prior, left, lips)
    spot[..., SIZE // 2 + 8 : SIZE // 2 + 12] *= 0.5
    hard = (lips > 0.5).float()
    made = complete_lips(spot, prior, left, hard)
    inside = hard.expand_as(made) > 0
    torch.testing.assert_close(made[inside], made.flip(-1)[inside], rtol=1e-4, atol=0)
    assert torch.equal(made[~inside], spot[~inside])


def test_lips_that_nobody_sees_stay_as_they_are(lips: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)
    albedo, prior = torch.rand(2, 3, SIZE, SIZE, generator=generator) * 0.5 + 0.1, torch.full((2, 3, SIZE, SIZE), 0.4)
    torch.testing.assert_close(complete_lips(albedo, prior, torch.zeros(2, 1, SIZE, SIZE), lips), albedo)


def test_outside_the_face_is_the_prior_in_the_tone_of_the_skin() -> None:
    model, generator = load_face_model(), torch.Generator().manual_seed(0)
    face = (bake_region(model, "face", SIZE)[None, None] > 0.5).float()
    skin = (bake_region(model, "core_skin", SIZE)[None, None] > 0.6).float()
    prior = torch.rand(1, 3, SIZE, SIZE, generator=generator) * 0.4 + 0.1
    # A beard or brow is no change of tone, one of all skin is.
    dark = prior * torch.where(face * (1 - skin) > 0, 0.3, 1.0)
    torch.testing.assert_close(
        keep_outside(dark * COLOUR, prior, face, skin), torch.where(face > 0, dark, prior) * COLOUR
    )
    guess = torch.where(face > 0, dark, 0.9)
    torch.testing.assert_close(keep_outside(guess, prior, face, skin), torch.where(face > 0, dark, prior))
