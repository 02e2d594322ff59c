"""Colour spaces against colour-science and scikit-image, published values, and numerical gradients."""

from __future__ import annotations

import colour
import numpy as np
import pytest
import torch
from skimage import color as skimage_color
from skimage.color.colorconv import xyz_from_rgb

from facealbedo.core import colour as ours

# The test pairs that tell CIEDE2000 implementations apart: Sharma, Wu, Dalal 2005, table 1 (rows 1, 4-6, 7-16, 17-20).
SHARMA = [
    (50.0, 2.6772, -79.7751, 50.0, 0.0, -82.7485, 2.0425),
    (50.0, -1.3802, -84.2814, 50.0, 0.0, -82.7485, 1.0000),
    (50.0, -1.1848, -84.8006, 50.0, 0.0, -82.7485, 1.0000),
    (50.0, -0.9009, -85.5211, 50.0, 0.0, -82.7485, 1.0000),
    (50.0, 0.0, 0.0, 50.0, -1.0, 2.0, 2.3669),
    (50.0, -1.0, 2.0, 50.0, 0.0, 0.0, 2.3669),
    (50.0, 2.4900, -0.0010, 50.0, -2.4900, 0.0009, 7.1792),
    (50.0, 2.4900, -0.0010, 50.0, -2.4900, 0.0010, 7.1792),
    (50.0, 2.4900, -0.0010, 50.0, -2.4900, 0.0011, 7.2195),
    (50.0, 2.4900, -0.0010, 50.0, -2.4900, 0.0012, 7.2195),
    (50.0, -0.0010, 2.4900, 50.0, 0.0009, -2.4900, 4.8045),
    (50.0, -0.0010, 2.4900, 50.0, 0.0011, -2.4900, 4.7461),
    (50.0, 2.5, 0.0, 50.0, 0.0, -2.5, 4.3065),
    (50.0, 2.5, 0.0, 73.0, 25.0, -18.0, 27.1492),
    (50.0, 2.5, 0.0, 61.0, -5.0, 29.0, 22.8977),
    (50.0, 2.5, 0.0, 56.0, -27.0, -3.0, 31.9030),
]


def _rgb(count: int = 500, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (count, 3))


def test_transfer_functions_agree_with_colour_science() -> None:
    values = np.concatenate([np.linspace(0, 1.5, 1501), [0.0031308, 0.04045]])
    expected = colour.models.eotf_sRGB(values)
    # Their decoding threshold is the encoded 0.0031308, ours the standard's printed 0.04045: 3e-9 apart in between.
    np.testing.assert_allclose(ours.srgb_to_linear(torch.from_numpy(values)).numpy(), expected, rtol=0, atol=5e-9)
    expected = colour.models.eotf_inverse_sRGB(values)
    np.testing.assert_allclose(ours.linear_to_srgb(torch.from_numpy(values)).numpy(), expected, atol=1e-12)


def test_matrix_is_the_standard_one() -> None:
    published = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]  # IEC 61966-2-1
    np.testing.assert_allclose(ours.RGB_TO_XYZ, published, rtol=0, atol=2.5e-4)
    np.testing.assert_allclose(ours.RGB_TO_XYZ, xyz_from_rgb, rtol=0, atol=2.5e-4)
    grey = ours.linear_rgb_to_lab(torch.full((3,), 0.2, dtype=torch.float64))
    assert grey[1:].abs().max() < 1e-12  # greys have no colour, exactly


def test_lab_agrees_with_colour_science() -> None:
    xyz = _rgb() @ ours.RGB_TO_XYZ.T
    white = colour.XYZ_to_xy(ours.D65_WHITE_XYZ)
    expected = colour.XYZ_to_Lab(xyz, white)
    np.testing.assert_allclose(ours.xyz_to_lab(torch.from_numpy(xyz)).numpy(), expected, atol=1e-9)


def test_lab_agrees_with_scikit_image() -> None:
    srgb = _rgb()
    lab = ours.linear_rgb_to_lab(ours.srgb_to_linear(torch.from_numpy(srgb)))
    np.testing.assert_allclose(lab.numpy(), skimage_color.rgb2lab(srgb), atol=0.01)  # its matrix has six digits


def test_delta_e_2000_agrees_with_the_published_table() -> None:
    table = torch.tensor(SHARMA, dtype=torch.float64)
    torch.testing.assert_close(ours.delta_e_2000(table[:, :3], table[:, 3:6]), table[:, 6], atol=5e-5, rtol=0)


def test_delta_e_2000_agrees_with_two_libraries() -> None:
    rng = np.random.default_rng(1)
    first = np.stack([rng.uniform(0, 100, 2000), *rng.uniform(-80, 80, (2, 2000))], -1)
    second = first + rng.normal(0, 15, first.shape)
    result = ours.delta_e_2000(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    np.testing.assert_allclose(result, colour.difference.delta_E_CIE2000(first, second), atol=1e-9)
    np.testing.assert_allclose(result, skimage_color.deltaE_ciede2000(first, second), atol=1e-9)
    plain = ours.delta_e_76(torch.from_numpy(first), torch.from_numpy(second)).numpy()
    np.testing.assert_allclose(plain, skimage_color.deltaE_cie76(first, second), atol=1e-9)


def test_luminance_and_chroma() -> None:
    rgb = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(
        ours.luminance(rgb), torch.tensor([0.2126, 0.7152, 0.0722], dtype=torch.float64), atol=1e-4, rtol=0
    )
    lab = torch.tensor([[50.0, 3.0, 4.0], [50.0, 0.0, -2.0]])
    torch.testing.assert_close(ours.chroma(lab), torch.tensor([5.0, 2.0]))
    torch.testing.assert_close(ours.hue_degrees(lab), torch.tensor([53.1301, 270.0]))


def test_ita() -> None:
    lab = torch.tensor([[70.0, 10, 20], [50.0, 5, 15], [30.0, 10, 20], [60.0, 0, 0], [40.0, 0, 0]], dtype=torch.float64)
    expected = torch.tensor([45.0, 0.0, -45.0, 90.0, -90.0], dtype=torch.float64)
    torch.testing.assert_close(ours.ita_degrees(lab), expected, atol=1e-5, rtol=0)
    bluish = torch.tensor([[30.0, 0, -20.0]], dtype=torch.float64)  # the published ratio turns its sign here
    torch.testing.assert_close(ours.ita_degrees(bluish), torch.full((1,), 45.0, dtype=torch.float64))


def test_ita_groups_cover_the_angles_without_gaps() -> None:
    ita = torch.tensor([90.0, 55.01, 55.0, 41.0, 28.0, 10.0, -29.9, -30.0, -90.0])
    assert ours.ita_group(ita).tolist() == [0, 0, 1, 2, 3, 4, 4, 5, 5]
    assert [group.name for group in ours.ITA_GROUPS] == ["I", "II", "III", "IV", "V", "VI"]
    for index, group in enumerate(ours.ITA_GROUPS):
        middle = torch.tensor([(group.low + group.high) / 2])
        assert ours.ita_group(middle).item() == index
    assert all(a.low == b.high for a, b in zip(ours.ITA_GROUPS, ours.ITA_GROUPS[1:], strict=False))


@pytest.mark.parametrize(
    "function",
    [
        ours.srgb_to_linear,
        ours.linear_to_srgb,
        ours.linear_rgb_to_lab,
        ours.lab_to_linear_rgb,
        ours.luminance,
        lambda x: ours.ita_degrees(ours.linear_rgb_to_lab(x)),
        lambda x: ours.chroma(ours.linear_rgb_to_lab(x)),
        lambda x: ours.delta_e_2000(ours.linear_rgb_to_lab(x), ours.linear_rgb_to_lab(x.flip(0))),
    ],
)
def test_gradients(function: object) -> None:
    rgb = torch.from_numpy(_rgb(6, seed=3) * 0.9 + 0.02).requires_grad_()
    assert torch.autograd.gradcheck(function, (rgb,))


def test_gradients_are_finite_at_black_grey_and_equal_colours() -> None:
    rgb = torch.tensor([[0.0, 0, 0], [0.2, 0.2, 0.2], [1.0, 1, 1]], requires_grad=True)
    lab = ours.linear_rgb_to_lab(rgb)
    total = (
        ours.delta_e_2000(lab, lab.detach()).sum()
        + ours.chroma(lab).sum()
        + ours.ita_degrees(lab).sum()
        + ours.linear_to_srgb(rgb).sum()
        + ours.srgb_to_linear(rgb).sum()
    )
    total.backward()
    assert rgb.grad is not None
    assert torch.isfinite(rgb.grad).all()


def test_leading_axes_and_dtype_follow_the_input() -> None:
    maps = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    lab = ours.linear_rgb_to_lab(maps.movedim(1, -1))
    assert lab.shape == (2, 4, 5, 3)
    assert lab.dtype == torch.float32
    double = ours.linear_rgb_to_lab(maps.double().movedim(1, -1))
    torch.testing.assert_close(lab.double(), double, atol=1e-3, rtol=0)
