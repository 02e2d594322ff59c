"""Where on a face melanin, blood and hair lie: soft fields over the atlas, and noise that knows no seams.

Everything is a function of the surface point of a texel on the *mean* face (world frame, metres, origin between the
eyeballs) or of a region mask of the face model, so that it is smooth across the atlas's cut and as large in
millimetres everywhere. Fields are in [0, 1] and exactly left-right symmetric: they see |x| only.

The places and widths below describe the embedded mean face; they were set by looking at renderings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# Regions that the face model has to name (others are ignored).
REQUIRED_REGIONS = ("core_skin", "lips", "lids", "eye_rims", "nose", "ears", "neck")

# Anatomical blobs: centre (|x|, y, z) and one-sigma widths in millimetres.
BLOBS: Mapping[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "cheek": ((42.0, -36.0, 12.0), (15.0, 13.0, 22.0)),
    "cheekbone": ((54.0, -20.0, 4.0), (13.0, 9.0, 20.0)),
    "under_eye": ((29.0, -15.5, 16.0), (11.0, 4.5, 16.0)),
    "inner_eye": ((15.0, -4.0, 16.0), (5.5, 8.0, 12.0)),
    "forehead": ((0.0, 50.0, 25.0), (38.0, 19.0, 30.0)),
    "glabella": ((0.0, 17.0, 30.0), (12.0, 9.0, 15.0)),
    "temple": ((66.0, 16.0, -22.0), (12.0, 18.0, 22.0)),
    "nose_tip": ((0.0, -42.0, 45.0), (11.0, 8.0, 13.0)),
    "nose_wing": ((16.0, -45.0, 28.0), (6.0, 7.0, 12.0)),
    "nose_bridge": ((0.0, -14.0, 32.0), (8.0, 15.0, 14.0)),
    "mouth_ring": ((0.0, -74.0, 32.0), (27.0, 15.0, 24.0)),
    "mouth_corner": ((28.0, -75.0, 20.0), (7.0, 8.0, 12.0)),
    "chin": ((0.0, -104.0, 22.0), (15.0, 10.0, 18.0)),
    "jaw": ((52.0, -84.0, -22.0), (16.0, 16.0, 28.0)),
    "throat": ((0.0, -140.0, -38.0), (40.0, 22.0, 30.0)),
}

# Height of the hairline (mm) by azimuth (degrees) about a vertical axis through the skull: 0 = front, 180 = behind.
_SKULL_AXIS_Z_MM = -70.0
_HAIRLINE = (
    (0.0, 10.0, 22.0, 34.0, 43.0, 50.0, 55.0, 60.0, 68.0, 77.0, 84.0, 92.0, 102.0, 112.0, 124.0, 140.0, 160.0, 180.0),
    (73.0, 75.0, 79.0, 78.0, 72.0, 60.0, 40.0, 20.0, 4.0, -8.0, -4.0, 8.0, 12.0, -8.0, -36.0, -64.0, -80.0, -84.0),
)
# Brow, by distance from the mid-line: height of its centre line, its half thickness (mm), and the direction of its
# hairs (degrees above the horizontal, outward).
_BROW_X = (9.0, 14.0, 22.0, 30.0, 38.0, 46.0, 54.0, 61.0)
_BROW_HEIGHT = (11.5, 12.8, 14.4, 16.0, 17.0, 16.4, 13.4, 10.6)
_BROW_HALF_WIDTH = (2.8, 4.4, 4.3, 3.9, 3.4, 2.9, 2.2, 1.2)
_BROW_HAIR_ANGLE = (78.0, 62.0, 40.0, 24.0, 8.0, -8.0, -22.0, -28.0)
# Upper edge of the beard on the cheek, by distance from the mid-line (mm).
_BEARD_X = (26.0, 34.0, 44.0, 54.0, 62.0, 68.0, 74.0)
_BEARD_HEIGHT = (-66.0, -70.0, -68.0, -56.0, -38.0, -18.0, 0.0)


@dataclass(frozen=True)
class SkinSurface:
    """The mean face's skin, laid out in the atlas: what the fields are functions of.

    * ``positions_m``: surface point of each texel, world frame, metres.
    * ``mask``: texels that lie in the atlas.
    * ``regions``: soft masks in [0, 1], at least `REQUIRED_REGIONS`.
    """

    positions_m: Float[Tensor, "3 height width"]
    mask: Bool[Tensor, "height width"]
    regions: Mapping[str, Float[Tensor, "height width"]]

    def __post_init__(self) -> None:
        missing = [name for name in REQUIRED_REGIONS if name not in self.regions]
        if missing:
            raise ValueError(f"the skin's surface lacks the regions {missing}; it has {sorted(self.regions)}")


def smoothstep(low: float, high: float, value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """0 below ``low``, 1 above ``high``, a cubic with level ends between; falling where ``high`` < ``low``."""
    t = ((value - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def interpolate_table(
    x: Float[Tensor, "*shape"], knots: Sequence[float], values: Sequence[float]
) -> Float[Tensor, "*shape"]:
    """Piecewise cubic through ``(knots, values)`` with level-free tangents (Catmull-Rom); constant beyond the ends."""
    at, height = (
        torch.tensor(knots, dtype=x.dtype, device=x.device),
        torch.tensor(values, dtype=x.dtype, device=x.device),
    )
    index = (torch.bucketize(x.detach().contiguous(), at) - 1).clamp(0, len(at) - 2)
    step = at.diff()
    slope = height.diff() / step
    tangent = torch.cat([slope[:1], (slope[1:] + slope[:-1]) / 2, slope[-1:]])
    t = ((x - at[index]) / step[index]).clamp(0, 1)
    h, left, right = step[index], height[index], height[index + 1]
    return (
        left * (2 * t**3 - 3 * t**2 + 1)
        + right * (3 * t**2 - 2 * t**3)
        + h * (tangent[index] * (t**3 - 2 * t**2 + t) + tangent[index + 1] * (t**3 - t**2))
    )


def skin_fields(surface: SkinSurface) -> dict[str, Float[Tensor, "height width"]]:
    """All soft fields of the regional recipe: the blobs, the region masks, hair, and the core skin that tone refers to.

    ``core_skin`` is the face model's own region, without the scalp.
    """
    x, y, z = (1000 * surface.positions_m).unbind(0)
    x = x.abs()
    fields = {name: _blob(x, y, z, *place) for name, place in BLOBS.items()}
    fields |= {name: surface.regions[name].to(x) for name in REQUIRED_REGIONS}
    fields["brows"] = _brows(x, y, z)
    fields["scalp"] = _scalp(x, y, z) * (1 - fields["ears"])
    fields["beard"] = _beard(x, y, z) * (1 - fields["lips"]) * (1 - fields["ears"])
    fields["freckle_zone"] = _freckle_zone(x, y, z, fields)
    fields["core_skin"] = fields["core_skin"] * (1 - fields["scalp"]) * surface.mask.to(x)
    return fields


def _blob(x: Tensor, y: Tensor, z: Tensor, centre: tuple[float, ...], width: tuple[float, ...]) -> Tensor:
    """Gaussian about a point and its mirror image; their maximum, so that blobs near the mid-line do not double."""
    distance = sum(((value - c) / w) ** 2 for value, c, w in zip((x, y, z), centre, width, strict=True))
    return torch.exp(-0.5 * torch.as_tensor(distance))


def _brows(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Opacity of the eyebrows: full along a line, thin towards both ends."""
    across = (y - interpolate_table(x, _BROW_X, _BROW_HEIGHT)) / interpolate_table(x, _BROW_X, _BROW_HALF_WIDTH)
    along = smoothstep(8.0, 15.0, x) * smoothstep(65.0, 54.0, x)
    return smoothstep(1.25, 0.35, across.abs()) * along * smoothstep(-25.0, -10.0, z)


def brow_coordinates(
    positions_m: Float[Tensor, "3 *shape"],
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """Distance along and above a brow's centre line (m), and the angle at which its hairs rise (radians)."""
    x, y = 1000 * positions_m[0].abs(), 1000 * positions_m[1]
    degrees = interpolate_table(x, _BROW_X, _BROW_HAIR_ANGLE)
    return x / 1000, (y - interpolate_table(x, _BROW_X, _BROW_HEIGHT)) / 1000, torch.deg2rad(degrees)


def _scalp(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Hair-bearing skull: above the hairline, with a border some 10 mm wide."""
    depth = z - _SKULL_AXIS_Z_MM
    azimuth = torch.rad2deg(torch.atan2(x, depth))
    above = y - interpolate_table(azimuth, *_HAIRLINE)
    # Where the line is steep, its distance is less than the difference in height.
    rise = interpolate_table(azimuth + 1, *_HAIRLINE) - interpolate_table(azimuth - 1, *_HAIRLINE)
    run = math.radians(2) * torch.hypot(x, depth).clamp_min(20.0)
    return smoothstep(-4.0, 6.0, above / torch.sqrt(1 + (rise / run) ** 2))


def _beard(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Opacity of a full beard: moustache, chin, cheeks below a line, sideburns, fading out below the jaw."""
    cheek = smoothstep(5.0, -7.0, y - interpolate_table(x, _BEARD_X, _BEARD_HEIGHT))
    side = cheek * smoothstep(24.0, 36.0, x) * smoothstep(-88.0, -68.0, z)
    chin = smoothstep(-84.0, -93.0, y) * smoothstep(46.0, 32.0, x)
    top = -51.0 - 0.012 * x * x
    moustache = smoothstep(1.0, -5.0, y - top) * smoothstep(-90.0, -78.0, y) * smoothstep(38.0, 27.0, x)
    groove = 1 - 0.45 * torch.exp(-0.5 * ((x / 3.0) ** 2 + ((y + 57.0) / 5.0) ** 2))  # below the septum
    below_lip = 1 - 0.5 * torch.exp(-0.5 * (((x - 15.0) / 6.0) ** 2 + ((y + 88.0) / 3.5) ** 2))  # beside the chin tuft
    full = 1 - (1 - side) * (1 - chin) * (1 - moustache)
    lowest = -125.0 + 0.45 * (20.0 - z)  # under the jaw the edge climbs towards the ear
    return full * groove * below_lip * smoothstep(-6.0, 10.0, y - lowest)


def _freckle_zone(x: Tensor, y: Tensor, z: Tensor, fields: Mapping[str, Tensor]) -> Tensor:
    """How many freckles: most on nose and cheeks, some on forehead and chin, none on lips."""
    front = smoothstep(-45.0, 0.0, z)
    dense = torch.maximum(fields["nose_bridge"], torch.maximum(fields["cheek"], fields["cheekbone"]))
    some = torch.maximum(0.5 * fields["forehead"], 0.35 * fields["chin"])
    low = 0.15 * smoothstep(-120.0, -100.0, y) * smoothstep(85.0, 70.0, x)
    return front * torch.maximum(torch.maximum(dense, some), low) * (1 - fields["lips"]) * (1 - fields["lids"])


def solid_noise(
    points_m: Float[Tensor, "3 *shape"],
    grain_m: float,
    generator: torch.Generator,
    batch: int,
    channels: int,
    lattice: int = 32,
) -> Float[Tensor, "batch channels *shape"]:
    """Smooth random fields in space, looked up at surface points: mean 0, variance 1, no seams.

    A periodic lattice of blurred white noise, turned at random so that its period does not line up with the face.
    The draws depend on neither the points nor the device, so that maps of two resolutions show the same field.

    Args:
        points_m: metres.
        grain_m: size of the blotches; from one light blotch to the next it is about three grains.
        generator: on the CPU.
        batch: independent fields.
        channels: independent fields an entry.
        lattice: nodes a side; the period is a third of that many grains.
    """
    white = torch.randn(batch, channels, lattice, lattice, lattice, generator=generator)
    turn = torch.linalg.qr(torch.randn(batch, 3, 3, generator=generator))[0]
    shift = torch.rand(batch, 3, generator=generator)
    volume = _blur_periodic(white).to(points_m)
    turned = torch.einsum("bij,j...->bi...", turn.to(points_m), points_m).flatten(2)
    cells = turned * (NODES_PER_GRAIN / (grain_m * lattice)) + shift.to(points_m)[:, :, None]
    place = 2 * (cells - cells.floor()) - 1  # one period is [-1, 1]
    padded = torch.nn.functional.pad(volume, (0, 1, 0, 1, 0, 1), mode="circular")
    looked_up = torch.nn.functional.grid_sample(
        padded, place.transpose(1, 2)[:, :, None, None], mode="bilinear", align_corners=True
    )
    return looked_up.reshape(batch, channels, *points_m.shape[1:])


NODES_PER_GRAIN = 3.0
_BLUR = (0.0545, 0.2442, 0.4026, 0.2442, 0.0545)  # Gaussian of one lattice step


def _blur_periodic(volume: Tensor) -> Tensor:
    """Blur along three axes with wrap-around, and give the result unit variance."""
    for axis in (2, 3, 4):
        blurred = torch.zeros_like(volume)
        for offset, weight in zip(range(-2, 3), _BLUR, strict=True):
            blurred.add_(volume.roll(offset, axis), alpha=weight)
        volume = blurred
    kept = sum(weight**2 for weight in _BLUR) ** 3
    return volume / kept**0.5
