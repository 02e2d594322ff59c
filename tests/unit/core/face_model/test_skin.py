"""Skin colour against another implementation, standard tables, published tones, and the physics it must obey."""

from __future__ import annotations

import json
from pathlib import Path

import colour
import numpy as np
import pytest
import torch

from facealbedo.core.colour import (
    D65_WHITE_XYZ,
    ITA_BORDERS,
    RGB_TO_XYZ,
    delta_e_2000,
    ita_degrees,
    linear_rgb_to_lab,
    luminance,
)
from facealbedo.core.face_model import skin, skin_spectra

GOLDEN = Path(__file__).resolve().parents[3] / "golden" / "skin_albedo.json"
# Melanin at the borders of the ITA groups and at -75 degrees, haemoglobin .033 (two digits are known).
BORDER_MELANIN = dict(zip((*ITA_BORDERS, -75.0), (0.0076, 0.020, 0.035, 0.063, 0.19, 0.71), strict=True))


def _lab(rgb: np.ndarray) -> torch.Tensor:
    return linear_rgb_to_lab(torch.from_numpy(np.ascontiguousarray(rgb)))


def test_agrees_with_another_implementation() -> None:
    golden = json.loads(GOLDEN.read_text())
    melanin, haemoglobin = np.array(golden["melanin"])[:, None], np.array(golden["haemoglobin"])[None]
    assert len(golden["tables"]) == 6
    for table in golden["tables"]:
        ours = skin.skin_albedo(melanin, haemoglobin, table["eumelanin_share"], table["oxygenation"])
        np.testing.assert_allclose(ours, np.array(table["linear_rgb"]), rtol=0, atol=1e-6)


def test_observer_and_illuminant_are_the_standard_ones() -> None:
    shape = colour.SpectralShape(380, 730, 10)
    observer = colour.MSDS_CMFS["CIE 1931 2 Degree Standard Observer"].copy().align(shape)
    # The table prints six significant digits at the ends.
    np.testing.assert_allclose(skin_spectra.CIE_1931_2DEG.T, observer.values, rtol=0, atol=3e-5)
    light = colour.SDS_ILLUMINANTS["D65"].copy().align(shape)
    np.testing.assert_allclose(skin_spectra.D65_POWER, light.values, rtol=0, atol=1e-3)


def test_a_perfect_diffuser_is_white() -> None:
    white = np.ones(36) @ skin._SPECTRUM_TO_RGB @ RGB_TO_XYZ.T
    assert white[1] == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(white, D65_WHITE_XYZ, atol=1e-3)  # 730 nm and 10 nm steps, against 1 nm


def test_more_melanin_is_darker_and_more_blood_redder() -> None:
    melanin, haemoglobin = np.geomspace(0.001, 0.98, 200), np.geomspace(0.003, 0.6, 60)
    rgb = skin.skin_albedo(melanin[:, None], haemoglobin[None])
    assert (np.diff(rgb, axis=0) < 0).all()  # every colour channel falls with melanin
    assert (np.diff(rgb, axis=1) < 0).all()  # and with blood
    ita = ita_degrees(_lab(rgb))
    assert (ita.diff(dim=0) < 0).all()
    redness = rgb[..., 0] / rgb[..., 1]
    assert (np.diff(redness[melanin < 0.2][:, haemoglobin < 0.3], axis=1) > 0).all()  # under dark skin it hardly shows
    assert rgb.min() > 0.015
    assert rgb.max() < 0.65


def test_published_melanin_at_the_borders_of_the_groups() -> None:
    for border, melanin in BORDER_MELANIN.items():
        ita = ita_degrees(_lab(skin.skin_albedo(np.array([melanin]), 0.033, 0.74, 0.75)))
        assert ita.item() == pytest.approx(border, abs=1.0)


def test_energy_and_blood_bands() -> None:
    reflectance = skin.skin_reflectance(np.geomspace(0.003, 0.62, 20), 0.05)
    assert ((reflectance > 0) & (reflectance < 1)).all()
    # The W of oxygenated blood: dips at 540 and 580 nm around a bump at 560 nm, in light skin.
    light = dict(zip(skin_spectra.WAVELENGTHS_NM, skin.skin_reflectance(0.003, 0.05, oxygenation=0.85), strict=True))
    assert light[560.0] > light[540.0]
    assert light[560.0] > light[580.0]


def test_fractions_are_checked() -> None:
    with pytest.raises(ValueError, match=r"melanin must lie in \[0, 1\]"):
        skin.skin_albedo(1.2, 0.033)
    with pytest.raises(ValueError, match="oxygenation"):
        skin.skin_albedo(0.1, 0.033, oxygenation=float("nan"))


def _random_skin(faces: int, points: int) -> tuple[torch.Tensor, ...]:
    rng = np.random.default_rng(0)
    melanin = rng.uniform(*np.log(skin.TABLE_MELANIN), (faces, 1, points))
    haemoglobin = rng.uniform(*np.log(skin.TABLE_HAEMOGLOBIN), (faces, 1, points))
    share, oxygen = rng.uniform(*skin.EUMELANIN_SHARE_BOUNDS, faces), rng.uniform(*skin.OXYGENATION_BOUNDS, faces)
    return tuple(torch.from_numpy(value) for value in (melanin, haemoglobin, share, oxygen))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_look_up_is_within_a_tenth_of_a_delta_e(dtype: torch.dtype) -> None:
    melanin, haemoglobin, share, oxygen = _random_skin(40, 2000)
    exact = skin.skin_albedo(
        melanin.exp().numpy(), haemoglobin.exp().numpy(), share[:, None, None].numpy(), oxygen[:, None, None].numpy()
    )
    looked_up = skin.skin_colour(melanin.to(dtype), haemoglobin.to(dtype), share.to(dtype), oxygen.to(dtype))
    assert looked_up.dtype == dtype
    error = delta_e_2000(linear_rgb_to_lab(looked_up.double().movedim(1, -1)), _lab(exact))
    assert error.max() <= 0.1
    assert error.mean() <= 0.04


def test_look_up_default_is_the_middle() -> None:
    melanin, haemoglobin, _, _ = _random_skin(2, 500)
    exact = skin.skin_albedo(melanin.exp().numpy(), haemoglobin.exp().numpy())
    error = delta_e_2000(linear_rgb_to_lab(skin.skin_colour(melanin, haemoglobin).movedim(1, -1)), _lab(exact))
    assert error.max() <= 0.1


def test_look_up_gradients() -> None:
    melanin, haemoglobin, share, oxygen = (value.requires_grad_() for value in _random_skin(3, 8))
    assert torch.autograd.gradcheck(skin.skin_colour, (melanin, haemoglobin, share, oxygen))
    # The slope of the table is that of the physics.
    step = 1e-4
    point = np.array([[[0.1]]])
    slope = (skin.skin_albedo(point * np.exp(step), 0.04) - skin.skin_albedo(point * np.exp(-step), 0.04)) / (2 * step)
    log_melanin = torch.from_numpy(np.log(point)).requires_grad_()
    rgb = skin.skin_colour(log_melanin, torch.full_like(log_melanin, np.log(0.04)))
    for channel in range(3):
        (gradient,) = torch.autograd.grad(rgb[0, channel, 0, 0], log_melanin, retain_graph=True)
        assert gradient.item() == pytest.approx(float(slope[0, 0, 0, channel]), rel=0.08)


def test_outside_the_table_the_colour_stays() -> None:
    far, edge = torch.full((1, 1, 1), 9.0), torch.full((1, 1, 1), float(np.log(skin.TABLE_MELANIN[1])))
    blood = torch.full((1, 1, 1), float(np.log(0.03)))
    torch.testing.assert_close(skin.skin_colour(far, blood), skin.skin_colour(edge, blood))
    assert luminance(skin.skin_colour(edge, blood).movedim(1, -1)).item() < 0.04


@pytest.mark.gpu
def test_look_up_on_cuda() -> None:
    melanin, haemoglobin, share, oxygen = _random_skin(4, 500)
    on_device = skin.skin_colour(melanin.cuda(), haemoglobin.cuda(), share.cuda(), oxygen.cuda())
    torch.testing.assert_close(on_device.cpu(), skin.skin_colour(melanin, haemoglobin, share, oxygen))
