"""Colour of skin from what is in it: melanin and haemoglobin to spectral reflectance to linear sRGB albedo.

Two layers. Light crosses the epidermis (melanin) twice and is scattered back by the dermis (blood); a little is
scattered back by the epidermis itself. The surface's specular reflection is left out, the shader adds it. Lengths in
cm, absorption and scattering in cm^-1, wavelengths in nm; albedo is linear sRGB under D65 for the CIE 1931 2-degree
observer. Fractions: ``melanin`` is the melanosomes' share of the epidermis's volume (faces: .003 to .62),
``haemoglobin`` the blood's share of the dermis (faces: .008 to .11, lips to .27).

`skin_albedo` is the exact float64 reference; `skin_colour` its differentiable look-up in log space, for maps.

Sources: S. Jacques, "Skin Optics", Oregon Medical Laser Center, 1998 (eumelanin, baseline, scattering); Donner and
Jensen, "A spectral BSSRDF for shading human skin", EGSR 2006 (pheomelanin); Kubelka and Munk 1931; Saunderson 1942;
calibrated on the facial medians of the ISSA database (Lu et al., Scientific Data 2025, CC BY 4.0).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import XYZ_TO_RGB
from facealbedo.core.face_model.skin_spectra import (
    CIE_1931_2DEG,
    D65_POWER,
    EXTINCTION_DEOXYGENATED,
    EXTINCTION_OXYGENATED,
    WAVELENGTHS_NM,
)

# Absorption of pure melanosomes: Jacques 1998; Donner and Jensen 2006.
EUMELANIN = 6.6e11 * WAVELENGTHS_NM**-3.33
PHEOMELANIN = 2.9e15 * WAVELENGTHS_NM**-4.75
# Absorption of tissue without pigment, and reduced scattering of the dermis (fibres + Rayleigh): Jacques 1998.
BASELINE = 0.244 + 85.3 * np.exp(-(WAVELENGTHS_NM - 154.0) / 66.2)
SCATTERING = 2e5 * WAVELENGTHS_NM**-1.5 + 2e12 * WAVELENGTHS_NM**-4.0

# Absorption of whole blood: ln(10) to leave the decadic scale (2.303, as the source prints it), 150 g of haemoglobin a
# litre, 64,500 g/mol.
_BLOOD = 2.303 * 150.0 / 64500.0
BLOOD_OXYGENATED, BLOOD_DEOXYGENATED = _BLOOD * EXTINCTION_OXYGENATED, _BLOOD * EXTINCTION_DEOXYGENATED

EPIDERMIS_CM = 0.010
REFRACTIVE_INDEX = 1.4

# Calibrated on 11 facial medians of ISSA (mean CIEDE2000 .15, held out .20). Plain Beer-Lambert: 3.9.
SIEVE = 2.67  # shape of the gamma distribution of melanin over paths; infinite would be Beer-Lambert
EPIDERMAL_BACKSCATTER = 0.0383
SCATTERING_SCALE = 2.58

# What varies from face to face, and its middle; outside these bounds skin turns violet or green.
EUMELANIN_SHARE_BOUNDS, OXYGENATION_BOUNDS = (0.65, 0.80), (0.70, 0.85)
EUMELANIN_SHARE, OXYGENATION = 0.725, 0.775

# A number or an array of them; several broadcast.
Fraction: TypeAlias = Float[np.ndarray, "..."] | float

# Ranges and sizes of the look-up table, wide enough for freckles, moles and lips.
TABLE_MELANIN, TABLE_HAEMOGLOBIN = (0.001, 0.98), (0.003, 0.60)
TABLE_SHAPE = (48, 32)


def _spectrum_to_rgb() -> np.ndarray:
    """Matrix [wavelength, 3] from reflectance to linear sRGB: a perfect diffuser has luminance 1."""
    weights = CIE_1931_2DEG.T * D65_POWER[:, None]
    return weights / weights[:, 1].sum() @ XYZ_TO_RGB.T


_SPECTRUM_TO_RGB = _spectrum_to_rgb()


def skin_reflectance(
    melanin: Fraction,
    haemoglobin: Fraction,
    eumelanin_share: Fraction = EUMELANIN_SHARE,
    oxygenation: Fraction = OXYGENATION,
) -> Float[np.ndarray, "*shape wavelength"]:
    """Diffuse spectral reflectance at `WAVELENGTHS_NM`, float64; the arguments broadcast.

    Raises:
        ValueError: a fraction is outside [0, 1].
    """
    fractions = {
        "melanin": melanin,
        "haemoglobin": haemoglobin,
        "eumelanin_share": eumelanin_share,
        "oxygenation": oxygenation,
    }
    m, h, share, oxygen = (_fraction(name, value)[..., None] for name, value in fractions.items())
    transmitted = _epidermis(m, share)
    dermis = _dermis(h, oxygen)
    inside = EPIDERMAL_BACKSCATTER + (1 - EPIDERMAL_BACKSCATTER) ** 2 * transmitted * dermis
    return _through_surface(inside)


def skin_albedo(
    melanin: Fraction,
    haemoglobin: Fraction,
    eumelanin_share: Fraction = EUMELANIN_SHARE,
    oxygenation: Fraction = OXYGENATION,
) -> Float[np.ndarray, "*shape 3"]:
    """Linear sRGB diffuse albedo, float64; the arguments broadcast. The exact reference of `skin_colour`.

    Raises:
        ValueError: a fraction is outside [0, 1].
    """
    return skin_reflectance(melanin, haemoglobin, eumelanin_share, oxygenation) @ _SPECTRUM_TO_RGB


def _fraction(name: str, value: np.ndarray | float) -> np.ndarray:
    array = np.asarray(value, dtype=np.float64)
    if not ((array >= 0) & (array <= 1)).all():
        raise ValueError(f"{name} must lie in [0, 1]; got values from {array.min()} to {array.max()}")
    return array


def _epidermis(melanin: np.ndarray, eumelanin_share: np.ndarray) -> np.ndarray:
    """Share of light that comes through the epidermis twice, with melanin unevenly spread over paths (sieve effect)."""
    pigment = eumelanin_share * EUMELANIN + (1 - eumelanin_share) * PHEOMELANIN
    depth = 2 * EPIDERMIS_CM * (melanin * pigment + (1 - melanin) * BASELINE)
    return (1 + depth / SIEVE) ** -SIEVE


def _dermis(haemoglobin: np.ndarray, oxygenation: np.ndarray) -> np.ndarray:
    """Reflectance of an endless layer (Kubelka-Munk with K = 2 absorption, S = 3/4 reduced scattering)."""
    blood = oxygenation * BLOOD_OXYGENATED + (1 - oxygenation) * BLOOD_DEOXYGENATED
    absorption = haemoglobin * blood + (1 - haemoglobin) * BASELINE
    ratio = 2 * absorption / (0.75 * SCATTERING_SCALE * SCATTERING)
    return 1 + ratio - np.sqrt(ratio * ratio + 2 * ratio)


def _through_surface(inside: np.ndarray) -> np.ndarray:
    """Saunderson's correction: losses on the way in, and inner reflection on the way out; specular left out."""
    n = REFRACTIVE_INDEX
    outer = ((n - 1) / (n + 1)) ** 2  # Fresnel at normal incidence
    # Diffuse light from within: fit of Groenhuis et al., Applied Optics 22, 1983.
    inner = -1.440 / n**2 + 0.710 / n + 0.668 + 0.0636 * n
    return (1 - outer) * (1 - inner) * inside / (1 - inner * inside)


def skin_colour(
    log_melanin: Float[Tensor, "batch height width"],
    log_haemoglobin: Float[Tensor, "batch height width"],
    eumelanin_share: Float[Tensor, "batch"] | None = None,
    oxygenation: Float[Tensor, "batch"] | None = None,
) -> Float[Tensor, "batch 3 height width"]:
    """Linear sRGB albedo of chromophore maps (natural logs of fractions), by a look-up table of log RGB.

    Bilinear in (log melanin, log haemoglobin) and, a face, in (share, oxygenation): at most 0.1 CIEDE2000 (mean 0.03)
    from `skin_albedo`. Differentiable in the maps, on any device. Outside `TABLE_MELANIN` and `TABLE_HAEMOGLOBIN` the
    colour stays that of the border and the gradient is 0.

    Args:
        log_melanin: map of log melanin.
        log_haemoglobin: map of log haemoglobin.
        eumelanin_share: one a face, within `EUMELANIN_SHARE_BOUNDS`; None: the middle.
        oxygenation: one a face, within `OXYGENATION_BOUNDS`; None: the middle.
    """
    table = _table_for_faces(log_melanin, eumelanin_share, oxygenation)
    grid = torch.stack(
        [_unit(log_haemoglobin, TABLE_HAEMOGLOBIN), _unit(log_melanin, TABLE_MELANIN)], dim=-1
    )  # the sampler wants (x, y), and the table's rows are melanin
    looked_up = torch.nn.functional.grid_sample(
        table.expand(grid.shape[0], -1, -1, -1), grid, mode="bilinear", padding_mode="border", align_corners=True
    )
    return looked_up.exp()


def _unit(log_value: Tensor, bounds: tuple[float, float]) -> Tensor:
    """Place in the table, -1 at its first and +1 at its last node."""
    low, high = (math.log(bound) for bound in bounds)
    return (2 * log_value - (low + high)) / (high - low)


def _table_for_faces(like: Tensor, share: Tensor | None, oxygenation: Tensor | None) -> Tensor:
    """The table of each face's share and oxygenation: log RGB [batch or 1, 3, melanin, haemoglobin]."""
    corners = torch.from_numpy(_log_rgb_table()).to(like)
    share_weights = _two_weights(share, EUMELANIN_SHARE_BOUNDS, like)
    oxygen_weights = _two_weights(oxygenation, OXYGENATION_BOUNDS, like)
    return torch.einsum("bs,bo,socmh->bcmh", share_weights, oxygen_weights, corners)


def _two_weights(value: Tensor | None, bounds: tuple[float, float], like: Tensor) -> Tensor:
    """Weights of the lower and the upper bound, [batch or 1, 2]."""
    low, high = bounds
    position = like.new_full((1,), 0.5) if value is None else (value.to(like) - low) / (high - low)
    return torch.stack([1 - position, position], dim=-1)


@lru_cache(maxsize=1)
def _log_rgb_table() -> np.ndarray:
    """Log RGB [share, oxygenation, 3, melanin, haemoglobin] at the bounds of the first two, geometric in the others."""
    melanin = np.geomspace(*TABLE_MELANIN, TABLE_SHAPE[0])[:, None]
    haemoglobin = np.geomspace(*TABLE_HAEMOGLOBIN, TABLE_SHAPE[1])[None, :]
    rows = [
        [skin_albedo(melanin, haemoglobin, share, oxygenation) for oxygenation in OXYGENATION_BOUNDS]
        for share in EUMELANIN_SHARE_BOUNDS
    ]
    return np.ascontiguousarray(np.moveaxis(np.log(np.array(rows)), -1, 2))
