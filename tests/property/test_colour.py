"""Colour conversions have exact inverses, and CIEDE2000 behaves like a difference, for any colour."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facealbedo.core.colour import (
    delta_e_2000,
    ita_degrees,
    ita_group,
    lab_to_linear_rgb,
    linear_rgb_to_lab,
    linear_to_srgb,
    srgb_to_linear,
)

_value = st.floats(-0.5, 4.0, allow_nan=False)
_rgb = st.tuples(_value, _value, _value)
_lab = st.tuples(st.floats(0, 100), st.floats(-100, 100), st.floats(-100, 100))


def _tensor(values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


@settings(max_examples=200, deadline=None)
@given(value=_value)
def test_transfer_round_trip(value: float) -> None:
    # The standard's thresholds are rounded to five digits, so the two branches overlap by less than 1e-7.
    torch.testing.assert_close(srgb_to_linear(linear_to_srgb(_tensor(value))), _tensor(value), atol=1e-7, rtol=1e-9)
    torch.testing.assert_close(linear_to_srgb(srgb_to_linear(_tensor(value))), _tensor(value), atol=1e-6, rtol=1e-9)


@settings(max_examples=200, deadline=None)
@given(rgb=_rgb)
def test_lab_round_trip(rgb: tuple) -> None:
    torch.testing.assert_close(lab_to_linear_rgb(linear_rgb_to_lab(_tensor(rgb))), _tensor(rgb), atol=1e-9, rtol=1e-9)


@settings(max_examples=200, deadline=None)
@given(first=_lab, second=_lab)
def test_colour_difference_is_symmetric_and_zero_only_at_home(first: tuple, second: tuple) -> None:
    one, two = _tensor(first), _tensor(second)
    torch.testing.assert_close(delta_e_2000(one, two), delta_e_2000(two, one), atol=1e-6, rtol=1e-6)
    assert delta_e_2000(one, one) == 0
    assert delta_e_2000(one, two) >= 0


@settings(max_examples=200, deadline=None)
@given(lab=_lab)
def test_ita_is_always_an_angle_with_a_group(lab: tuple) -> None:
    ita = ita_degrees(_tensor(lab))
    assert -90 <= ita <= 90
    assert 0 <= int(ita_group(ita)) <= 5
