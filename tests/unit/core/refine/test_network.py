"""What refinement adds to the network's answer."""

from __future__ import annotations

import torch

from facealbedo.core.networks.records import RefinerInput
from facealbedo.core.refine.network import _beard_of_other_side
from facealbedo.core.types import UVObservation

SIZE = 256


def test_a_beard_is_completed_from_the_other_side_and_a_mole_is_not() -> None:
    """Seen is the left half: it has a beard, a brow and a mole."""
    seen = torch.zeros(1, 1, SIZE, SIZE)
    seen[..., : SIZE // 2] = 1
    pigment, regions = torch.zeros(1, 3, SIZE, SIZE), torch.zeros(1, 2, SIZE, SIZE)
    pigment[..., 160:200, 40:110] = -0.7
    pigment[..., 60:80, 40:110] = -0.7
    pigment[..., 120:122, 60:62] = -0.7
    regions[:, 1, 60:80, 40:110] = 1
    flat = torch.full((1, 3, SIZE, SIZE), 0.4)
    face = RefinerInput(
        UVObservation(flat, seen, flat), flat, torch.ones(1, 3, 9), torch.ones(1, 1, SIZE, SIZE), regions, pigment
    )
    gates = torch.cat([seen, 0 * seen], dim=1)
    found = _beard_of_other_side(face, pigment, gates)
    assert found[..., : SIZE // 2].abs().max() == 0
    torch.testing.assert_close(found[..., 170:190, 156:206], torch.full((1, 3, 20, 50), -0.7))
    assert found[..., 60:80, :].abs().max() == 0
    assert found[..., 118:124, :].abs().max() < 0.2
    assert _beard_of_other_side(face, pigment, 0 * gates).abs().max() == 0
