"""Albedo errors against colour-science and closed forms."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from facealbedo.core.colour import linear_to_srgb
from facealbedo.core.face_model.skin import skin_colour
from facealbedo.core.metrics.albedo import (
    albedo_errors,
    albedo_spread,
    alignment_scale,
    mean_delta_e,
    relative_l1,
    skin_ita,
    spread_over_lights,
)
from facealbedo.core.metrics.masks import EvaluationError, check_same_size
from facealbedo.core.metrics.transfer import check_linear

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import colour


def skin_maps(seed: int, count: int = 2, size: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    melanin = -4.5 + 3 * torch.rand(count, size, size, generator=generator)
    return skin_colour(melanin, torch.full_like(melanin, -3.4))


def lab_of(linear: np.ndarray) -> np.ndarray:
    return colour.XYZ_to_Lab(colour.RGB_to_XYZ(linear, "sRGB", apply_cctf_decoding=False))


def test_mean_delta_e_is_that_of_colour_science() -> None:
    first, second = skin_maps(1), skin_maps(2)
    mask = (torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(4)) > 0.5).float()
    pairs = zip(first, second, mask, strict=True)
    expected = []
    for one, other, chosen in pairs:
        labs = [lab_of(values.movedim(0, -1).double().numpy()) for values in (one, other)]
        expected.append(colour.delta_E(*labs, method="CIE 2000")[chosen[0].bool().numpy()].mean())
    np.testing.assert_allclose(mean_delta_e(first, second, mask), expected, rtol=2e-3)


def test_ita_is_that_of_the_mean_colour() -> None:
    albedo = skin_maps(5)
    lab = lab_of(albedo.mean((2, 3)).double().numpy())
    expected = np.rad2deg(np.arctan((lab[:, 0] - 50) / lab[:, 2]))
    np.testing.assert_allclose(skin_ita(albedo, torch.ones(1, 1, 12, 12)), expected, atol=0.15)


def test_a_wrong_exposure_disappears_when_aligned_and_only_then() -> None:
    truth = skin_maps(6)
    mask = torch.ones(1, 1, 12, 12)
    errors = albedo_errors(truth * 0.5, truth, mask, mask)
    torch.testing.assert_close(errors.scale, torch.full((2,), 2.0))
    torch.testing.assert_close(errors.relative_l1, torch.full((2,), 0.5))
    assert float(errors.delta_e_aligned.max()) < 1e-2
    assert float(errors.delta_e.min()) > 5
    torch.testing.assert_close(errors.ita_aligned, errors.ita_true, atol=1e-2, rtol=0)
    assert errors.row(0)["ita_error"] == pytest.approx(abs(float(errors.ita[0] - errors.ita_true[0])))


def test_alignment_and_relative_error_are_scale_free() -> None:
    first, second = skin_maps(7), skin_maps(8)
    mask = torch.ones(1, 1, 12, 12)
    torch.testing.assert_close(alignment_scale(3 * first, second, mask), alignment_scale(first, second, mask) / 3)
    torch.testing.assert_close(relative_l1(3 * first, 3 * second, mask), relative_l1(first, second, mask))


def test_spread_is_zero_for_equal_maps_and_grows_with_their_difference() -> None:
    one = skin_maps(9, count=1)
    mask = torch.ones(1, 1, 12, 12)
    assert albedo_spread(one.expand(4, -1, -1, -1), mask) < 0.05
    little, much = (torch.cat([one * (1 - step), one, one * (1 + step)]) for step in (0.02, 0.2))
    assert 0.1 < albedo_spread(little, mask) * 5 < albedo_spread(much, mask)


def test_sizes_must_agree() -> None:
    with pytest.raises(EvaluationError, match=r"truth: sizes differ, \[2, 3, 12, 12\] and \[2, 3, 14, 14\]"):
        check_same_size(skin_maps(1), skin_maps(1, size=14), "truth")


def test_srgb_codes_given_as_linear_are_named() -> None:
    melanin = torch.linspace(-4.6, -1.2, 12)[:, None, None]
    linear = skin_colour(melanin, torch.full_like(melanin, -3.3))[:, :, 0, 0] * 0.95
    check_linear(linear, "truth")
    with pytest.raises(EvaluationError, match="truth: the values are sRGB-encoded"):
        check_linear(linear_to_srgb(linear), "truth")
    with pytest.raises(EvaluationError, match="255"):
        check_linear(linear * 255, "truth")


def test_spread_in_one_colour_is_that_of_the_pattern():
    generator = torch.Generator().manual_seed(3)
    one = torch.rand(1, 3, 16, 16, generator=generator) * 0.4 + 0.2
    mask = torch.ones(1, 1, 16, 16)
    tints = torch.rand(5, 3, 1, 1, generator=generator) * 0.5 + 0.75
    tinted = spread_over_lights(one * tints, mask, mask)
    assert tinted["spread"] > 2
    assert tinted["spread_one_colour"] < 1e-3
    patterns = one * (1 + 0.2 * torch.randn(5, 1, 16, 16, generator=generator).clamp(-2, 2))
    spread = [spread_over_lights(maps, mask, mask)["spread_one_colour"] for maps in (patterns, patterns * tints)]
    assert spread[0] > 1
    assert spread[1] == pytest.approx(spread[0], rel=0.15)
