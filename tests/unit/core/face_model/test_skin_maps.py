"""Fields and solid noise: known places, statistics, and independence of resolution."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from scipy.interpolate import CubicHermiteSpline

from facealbedo.assets import load_face_model
from facealbedo.assets.prior import bake_skin_surface
from facealbedo.core.face_model.skin_maps import (
    BLOBS,
    REQUIRED_REGIONS,
    SkinSurface,
    brow_coordinates,
    interpolate_table,
    skin_fields,
    smoothstep,
    solid_noise,
)


@pytest.fixture(scope="module")
def surface() -> SkinSurface:
    return bake_skin_surface(load_face_model(), 256)


def _place_mm(surface: SkinSurface, field: torch.Tensor) -> torch.Tensor:
    """Centroid (|x|, y, z) of a field on the head, millimetres."""
    weight = field * surface.mask
    points = 1000 * surface.positions_m
    points = torch.stack([points[0].abs(), points[1], points[2]])
    return (points * weight).sum((1, 2)) / weight.sum()


def test_fields_lie_where_their_names_say(surface: SkinSurface) -> None:
    fields = skin_fields(surface)
    places = {name: _place_mm(surface, value) for name, value in fields.items()}
    heights = [places[name][1] for name in ("scalp", "forehead", "brows", "lids", "cheek", "lips", "chin", "neck")]
    assert all(upper > lower for upper, lower in pairwise(heights))
    assert places["ears"][2] < places["temple"][2] < places["cheek"][2] < places["nose_tip"][2]
    assert places["nose_bridge"][0] < places["cheek"][0] < places["ears"][0]
    # The painted brows lie where the face model's landmarks have them.
    theirs = _place_mm(surface, bake_brows())
    assert (places["brows"] - theirs).abs().max() < 5.0


def bake_brows() -> torch.Tensor:
    from facealbedo.core.render.uv import bake_region

    return bake_region(load_face_model(), "brows", 256)


def test_fields_are_soft_masks_and_symmetric(surface: SkinSurface) -> None:
    fields = skin_fields(surface)
    assert set(BLOBS) | set(REQUIRED_REGIONS) <= set(fields)
    for name, field in fields.items():
        assert field.min() >= 0, name
        assert field.max() <= 1 + 1e-6, name
        assert field[surface.mask].max() > 0.5, name
        both = surface.mask & surface.mask.flip(-1)
        assert (field - field.flip(-1))[both].abs().max() < 1e-3, name  # the surface's own rounding


def test_hair_keeps_off_lips_and_ears(surface: SkinSurface) -> None:
    fields = skin_fields(surface)
    assert fields["beard"][fields["lips"] > 0.99].max() < 0.02
    assert fields["beard"][fields["ears"] > 0.99].max() < 0.02
    assert fields["scalp"][fields["ears"] > 0.99].max() < 0.02
    assert fields["scalp"][fields["core_skin"] > 0.9].max() < 0.1
    back = (surface.positions_m[2] < -0.12) & (surface.positions_m[1] > -0.03) & surface.mask
    assert fields["scalp"][back].min() > 0.95


def test_missing_regions_are_named(surface: SkinSurface) -> None:
    regions = {name: mask for name, mask in surface.regions.items() if name != "lips"}
    with pytest.raises(ValueError, match=r"lacks the regions \['lips'\]"):
        SkinSurface(surface.positions_m, surface.mask, regions)


def test_smoothstep() -> None:
    values = smoothstep(1.0, 3.0, torch.tensor([0.0, 1.0, 2.0, 3.0, 9.0]))
    torch.testing.assert_close(values, torch.tensor([0.0, 0.0, 0.5, 1.0, 1.0]))
    falling = smoothstep(3.0, 1.0, torch.tensor([0.0, 2.0, 4.0]))
    torch.testing.assert_close(falling, torch.tensor([1.0, 0.5, 0.0]))


def test_table_is_a_hermite_spline() -> None:
    knots, values = (0.0, 1.0, 3.0, 4.0), (2.0, 5.0, 4.0, 4.0)
    x = torch.linspace(0, 4, 81, dtype=torch.float64)
    slopes = [3.0, (3.0 - 0.5) / 2, (-0.5 + 0.0) / 2, 0.0]
    expected = CubicHermiteSpline(knots, values, slopes)(x.numpy())
    torch.testing.assert_close(interpolate_table(x, knots, values), torch.from_numpy(expected))
    beyond = interpolate_table(torch.tensor([-5.0, 9.0]), knots, values)
    torch.testing.assert_close(beyond, torch.tensor([2.0, 4.0]))


def test_brow_coordinates_are_zero_on_the_line() -> None:
    along, across, angle = brow_coordinates(torch.tensor([[0.022, -0.022], [0.0144, 0.0164], [0.03, 0.03]]))
    torch.testing.assert_close(along, torch.tensor([0.022, 0.022]))
    torch.testing.assert_close(across, torch.tensor([0.0, 0.002]))
    assert (angle > 0).all()


def test_noise_has_unit_variance_and_the_asked_grain() -> None:
    line = torch.zeros(3, 4000)
    line[0] = torch.linspace(0, 2.0, 4000)
    noise = solid_noise(line, 0.02, torch.Generator().manual_seed(0), 40, 2)
    assert noise.shape == (40, 2, 4000)
    assert noise.mean().abs() < 0.05
    assert noise.std() == pytest.approx(1.0, abs=0.12)
    # Neighbours are alike, points two grains apart are not; a wave of three grains has two zero crossings.
    near = (noise[..., :-4] * noise[..., 4:]).mean() / noise.square().mean()  # 2 mm
    far = (noise[..., :-80] * noise[..., 80:]).mean() / noise.square().mean()  # 40 mm
    assert near > 0.9
    assert far.abs() < 0.2
    crossings = (noise[..., 1:] * noise[..., :-1] < 0).double().mean() * 4000 / 2.0
    assert crossings == pytest.approx(2 / (3 * 0.02), rel=0.15)
    entries = noise[:, 0]
    assert torch.corrcoef(torch.stack([entries[0], entries[1], noise[0, 1]])).fill_diagonal_(0).abs().max() < 0.35


def test_noise_is_a_function_of_the_place_alone() -> None:
    points = torch.rand(3, 50, generator=torch.Generator().manual_seed(1)) * 0.2
    whole = solid_noise(points, 0.03, torch.Generator().manual_seed(2), 3, 1)
    part = solid_noise(points[:, 10:20].reshape(3, 2, 5), 0.03, torch.Generator().manual_seed(2), 3, 1)
    torch.testing.assert_close(part.flatten(2), whole[..., 10:20])
    double = solid_noise(points.double(), 0.03, torch.Generator().manual_seed(2), 3, 1)
    torch.testing.assert_close(double.float(), whole, atol=1e-4, rtol=0)
