"""Colour spaces and skin-colour measures, differentiable, on any device and in any float dtype.

Unless a name says ``srgb``, RGB is *linear* with sRGB (Rec. 709) primaries and the D65 white, 1.0 = a perfect white
diffuser. Colours lie along the **last** axis, so a map [batch, 3, height, width] goes in as ``map.movedim(1, -1)``;
only the two transfer functions, which work value by value, take any layout. Lab is CIE 1976 with the same white.

Sources: IEC 61966-2-1:1999 (sRGB); CIE 15:2004 (Lab); Sharma, Wu, Dalal, "The CIEDE2000 color-difference formula",
Color Res. Appl. 30, 2005; Chardon, Cretois, Hourseau, Int. J. Cosmet. Sci. 13, 1991 (individual typology angle, ITA);
Del Bino and Bernerd, Br. J. Dermatol. 169, 2013 (the six groups).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

# Chromaticities (x, y) of the red, green and blue primary of sRGB / Rec. 709, and its white D65 as XYZ with Y = 1.
SRGB_PRIMARIES = np.array([[0.64, 0.33], [0.30, 0.60], [0.15, 0.06]])
D65_WHITE_XYZ = np.array([0.95047, 1.0, 1.08883])


def _rgb_to_xyz_matrix() -> np.ndarray:
    """Columns are the XYZ of the primaries, scaled so that RGB (1, 1, 1) is exactly the white."""
    x, y = SRGB_PRIMARIES.T
    directions = np.stack([x / y, np.ones(3), (1 - x - y) / y])
    return directions * np.linalg.solve(directions, D65_WHITE_XYZ)


RGB_TO_XYZ = _rgb_to_xyz_matrix()
XYZ_TO_RGB = np.linalg.inv(RGB_TO_XYZ)

# IEC 61966-2-1: a linear toe, then a power; decoded and encoded thresholds as printed in the standard.
SRGB_TOE_SLOPE, SRGB_EXPONENT, SRGB_OFFSET = 12.92, 2.4, 0.055
SRGB_TOE_LINEAR, SRGB_TOE_ENCODED = 0.0031308, 0.04045

# CIE 15: below epsilon the cube root of Lab is replaced by a straight line.
LAB_EPSILON, LAB_KAPPA = 216 / 24389, 24389 / 27


@dataclass(frozen=True)
class ItaGroup:
    """One of the six skin-colour groups: ``low < ITA <= high``, degrees."""

    name: str
    label: str
    low: float
    high: float


ITA_BORDERS = (55.0, 41.0, 28.0, 10.0, -30.0)
ITA_GROUPS = tuple(
    ItaGroup(name, label, low, high)
    for name, label, low, high in zip(
        ("I", "II", "III", "IV", "V", "VI"),
        ("very light", "light", "intermediate", "tan", "brown", "dark"),
        (*ITA_BORDERS, -90.0),
        (90.0, *ITA_BORDERS),
        strict=True,
    )
)


def srgb_to_linear(srgb: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Decode sRGB values (1.0 = white) to linear ones; nothing is clipped, negative values follow the linear toe."""
    above = srgb.clamp_min(SRGB_TOE_ENCODED)  # keeps the power's gradient finite where the toe is chosen
    power = ((above + SRGB_OFFSET) / (1 + SRGB_OFFSET)) ** SRGB_EXPONENT
    return torch.where(srgb <= SRGB_TOE_ENCODED, srgb / SRGB_TOE_SLOPE, power)


def linear_to_srgb(linear: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Encode linear values as sRGB (1.0 = white); nothing is clipped, negative values follow the linear toe."""
    above = linear.clamp_min(SRGB_TOE_LINEAR)
    power = (1 + SRGB_OFFSET) * above ** (1 / SRGB_EXPONENT) - SRGB_OFFSET
    return torch.where(linear <= SRGB_TOE_LINEAR, linear * SRGB_TOE_SLOPE, power)


def luminance(linear_rgb: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape"]:
    """Relative luminance Y of linear RGB (Rec. 709 weights: .2126, .7152, .0722)."""
    return linear_rgb @ _constant(RGB_TO_XYZ[1], linear_rgb)


def linear_rgb_to_xyz(linear_rgb: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """CIE 1931 XYZ of linear RGB; white has Y = 1."""
    return linear_rgb @ _constant(RGB_TO_XYZ.T, linear_rgb)


def xyz_to_linear_rgb(xyz: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """Linear RGB of CIE 1931 XYZ; colours outside the gamut come out negative or above 1."""
    return xyz @ _constant(XYZ_TO_RGB.T, xyz)


def xyz_to_lab(xyz: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """CIE 1976 L*a*b* of XYZ under D65 (white Y = 1)."""
    ratio = xyz / _constant(D65_WHITE_XYZ, xyz)
    root = ratio.clamp_min(LAB_EPSILON) ** (1 / 3)
    fx, fy, fz = torch.where(ratio > LAB_EPSILON, root, (LAB_KAPPA * ratio + 16) / 116).unbind(-1)
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], dim=-1)


def lab_to_xyz(lab: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """XYZ (white Y = 1) of CIE 1976 L*a*b* under D65; the inverse of `xyz_to_lab`."""
    lightness, a, b = lab.unbind(-1)
    fy = (lightness + 16) / 116
    f = torch.stack([fy + a / 500, fy, fy - b / 200], dim=-1)
    ratio = torch.where(f > LAB_EPSILON ** (1 / 3), f**3, (116 * f - 16) / LAB_KAPPA)
    return ratio * _constant(D65_WHITE_XYZ, lab)


def linear_rgb_to_lab(linear_rgb: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """CIE 1976 L*a*b* (D65) of linear RGB."""
    return xyz_to_lab(linear_rgb_to_xyz(linear_rgb))


def lab_to_linear_rgb(lab: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3"]:
    """Linear RGB of CIE 1976 L*a*b* (D65); colours outside the gamut come out negative or above 1."""
    return xyz_to_linear_rgb(lab_to_xyz(lab))


def chroma(lab: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape"]:
    """Chroma C*ab = sqrt(a*² + b*²); its gradient at grey is 0."""
    return _norm(lab[..., 1], lab[..., 2])


def hue_degrees(lab: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape"]:
    """Hue angle h_ab in [0, 360) degrees; 0 for grey."""
    return _angle_degrees(lab[..., 1], lab[..., 2])


def ita_degrees(lab: Float[Tensor, "*shape 3"], guard: float = 1e-6) -> Float[Tensor, "*shape"]:
    """Individual typology angle arctan((L* - 50) / b*) of L*a*b*, degrees in [-90, 90].

    The published definition divides by b*, which skin under white light keeps above 0. At |b*| < ``guard`` the ratio
    is taken with b* = +guard or -guard (b* = 0 counts as positive), so the angle tends to +-90 and stays finite. For
    bluish colours (b* < 0) the definition turns its sign: a dark blue comes out "light". That is the formula's own
    defect and is kept, so that figures can be compared with published ones; feed it no colours under coloured light.
    """
    height, b = lab[..., 0] - 50, lab[..., 2]
    sign = torch.where(b < 0, -torch.ones_like(b), torch.ones_like(b))
    return torch.rad2deg(torch.atan2(sign * height, (sign * b).clamp_min(guard)))


def ita_group(ita: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Index into `ITA_GROUPS` (0 = I, very light … 5 = VI, dark) of angles in degrees."""
    return (ita[..., None] <= _constant(np.array(ITA_BORDERS), ita)).sum(-1)


def delta_e_76(lab: Float[Tensor, "*shape 3"], other: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape"]:
    """CIE 1976 colour difference: the distance in L*a*b*."""
    return _norm(*(lab - other).unbind(-1))


def delta_e_2000(lab: Float[Tensor, "*shape 3"], other: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape"]:
    """CIEDE2000 colour difference of two L*a*b* colours (all weights 1); names follow Sharma et al. 2005.

    The gradient is 0, not undefined, where the colours are equal.
    """
    (l1, a1, b1), (l2, a2, b2) = lab.unbind(-1), other.unbind(-1)
    mean_chroma7 = ((_norm(a1, b1) + _norm(a2, b2)) / 2) ** 7
    stretch = 1 + 0.5 * (1 - _root(mean_chroma7 / (mean_chroma7 + 25.0**7)))
    a1, a2 = stretch * a1, stretch * a2
    c1, c2, h1, h2 = _norm(a1, b1), _norm(a2, b2), _angle_degrees(a1, b1), _angle_degrees(a2, b2)
    both_coloured = c1 * c2 != 0

    turn = h2 - h1
    wrapped = torch.where(turn > 180, turn - 360, torch.where(turn < -180, turn + 360, turn))
    hue_step = torch.where(both_coloured, wrapped, torch.zeros_like(turn))
    d_hue = 2 * _root(c1 * c2) * torch.sin(torch.deg2rad(hue_step) / 2)

    total = h1 + h2
    across = torch.where(total < 360, total + 360, total - 360) / 2
    halfway = torch.where(turn.abs() <= 180, total / 2, across)
    mean_hue = torch.where(both_coloured, halfway, total)
    mean_l, mean_c = (l1 + l2) / 2, (c1 + c2) / 2

    weight = (
        1
        - 0.17 * _cos(mean_hue - 30)
        + 0.24 * _cos(2 * mean_hue)
        + 0.32 * _cos(3 * mean_hue + 6)
        - 0.20 * _cos(4 * mean_hue - 63)
    )
    scale_l = 1 + 0.015 * (mean_l - 50) ** 2 / torch.sqrt(20 + (mean_l - 50) ** 2)
    term_c = (c2 - c1) / (1 + 0.045 * mean_c)
    term_h = d_hue / (1 + 0.015 * mean_c * weight)
    turn_blue = 60 * torch.exp(-(((mean_hue - 275) / 25) ** 2))
    rotation = -2 * _root(mean_c**7 / (mean_c**7 + 25.0**7)) * torch.sin(torch.deg2rad(turn_blue))
    return _root(((l2 - l1) / scale_l) ** 2 + term_c**2 + term_h**2 + rotation * term_c * term_h)


def _constant(values: np.ndarray, like: Tensor) -> Tensor:
    """A float64 table in the dtype and on the device of ``like``."""
    return torch.as_tensor(values, dtype=like.dtype, device=like.device)


def _cos(degrees: Tensor) -> Tensor:
    return torch.cos(torch.deg2rad(degrees))


def _root(value: Tensor) -> Tensor:
    """Square root whose gradient at 0 is 0; negative values, which only rounding makes, count as 0."""
    positive = value > 0
    return torch.where(positive, torch.sqrt(torch.where(positive, value, torch.ones_like(value))), 0 * value)


def _norm(*components: Tensor) -> Tensor:
    return _root(sum((component**2 for component in components), torch.zeros_like(components[0])))


def _angle_degrees(x: Tensor, y: Tensor) -> Tensor:
    """Angle of (x, y) in [0, 360) degrees; 0, with gradient 0, at the origin."""
    origin = (x == 0) & (y == 0)
    angle = torch.rad2deg(torch.atan2(y, torch.where(origin, torch.ones_like(x), x)))
    return torch.where(origin, torch.zeros_like(angle), torch.where(angle < 0, angle + 360, angle))
