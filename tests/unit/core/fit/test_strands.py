"""Coarseness of the lower face: strands count, shade, exposure and single hairs do not."""

from __future__ import annotations

import pytest
import torch

from facealbedo.assets import load_face_model
from facealbedo.core.fit.strands import STRAND_PX, StrandMaps, coarseness, strand_maps
from facealbedo.core.render.uv import bake_region

SEEN = torch.ones(1, 1, STRAND_PX, STRAND_PX)


@pytest.fixture(scope="module")
def maps() -> StrandMaps:
    return strand_maps(load_face_model())


def noise(spread: float, seed: int = 0) -> torch.Tensor:
    """Log contrast of independent texels, of equal size at each."""
    signs = torch.randn(1, 1, STRAND_PX, STRAND_PX, generator=torch.Generator().manual_seed(seed)).sign()
    return (spread * signs).exp().expand(1, 3, -1, -1)


def test_contrast_of_the_lower_face_is_measured_beside_that_of_other_skin(maps: StrandMaps) -> None:
    texture = 0.2 * torch.where(maps.beard > 0, noise(0.12), noise(0.03))
    found = coarseness(texture, SEEN, maps)
    # A texel differs by the spread from a mean of 49 such, itself included.
    assert found.level.item() == pytest.approx(0.12, rel=0.05)
    assert found.log_ratio.item() == pytest.approx(torch.tensor(4.0).log().item(), abs=0.1)


def test_exposure_shade_and_single_hairs_change_nothing(maps: StrandMaps) -> None:
    texture = 0.2 * noise(0.05)
    plain = coarseness(texture, SEEN, maps)
    rows = torch.linspace(1.5, -1.5, STRAND_PX)[:, None].exp()
    shaded = coarseness(0.5 * rows * texture, SEEN, maps)
    assert shaded.level.item() == pytest.approx(plain.level.item(), rel=0.05)
    hairs = torch.rand(STRAND_PX, STRAND_PX, generator=torch.Generator().manual_seed(1)) < 0.004
    few = coarseness(torch.where(hairs, 0.02, texture), SEEN, maps)
    assert few.level.item() == pytest.approx(plain.level.item(), rel=0.3)
    assert abs(few.log_ratio.item() - plain.log_ratio.item()) < 0.1


def test_a_hidden_lower_face_is_smooth(maps: StrandMaps) -> None:
    found = coarseness(0.2 * noise(0.1), SEEN * (1 - maps.beard), maps)
    assert found.level.item() == pytest.approx(1e-3)
    assert found.log_ratio.item() < 0
    nothing = coarseness(0.2 * noise(0.1), 0 * SEEN, maps)
    assert nothing.log_ratio.item() == 0


def test_beard_and_beardless_skin_are_apart(maps: StrandMaps) -> None:
    lips = bake_region(load_face_model(), "lips", STRAND_PX)[None, None] > 0.5
    assert not (maps.beard * maps.skin).any()
    assert not (maps.beard * lips).any()
