"""A short part of `make robustness`: strange photos beside good ones, and wrong parameters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facealbedo.assets.environments import environments_to_bytes
from facealbedo.core.imaging.decoding import DecodeLimits, ImageError, decode_image
from tests.robustness import strange_parameters, trials
from tests.robustness.strange_photos import FAILED, StrangePhoto, encoded, face, strange_photos

BEGINNINGS = tuple(
    encoded(face().resize((20, 20)), kind)[:16] for kind in ("AVIF", "BMP", "GIF", "PNG", "TIFF", "WEBP")
)
# What a header claims up to the usual limit is unpacked, which takes seconds.
LIMITS = DecodeLimits(max_megapixels=0.5)


def quick(photos: list[StrangePhoto]) -> list[StrangePhoto]:
    """Those that cost no reconstruction."""
    return [photo for photo in photos if photo.statuses == (FAILED,)]


def test_there_are_enough_kinds() -> None:
    photos = strange_photos()
    assert len({photo.kind for photo in photos}) == len(photos) >= 60


@pytest.mark.slow
def test_strange_photos_never_harm_others(tmp_path: Path) -> None:
    photos = [*quick(strange_photos(0)), *(photo for photo in strange_photos(1) if " cut " in photo.kind)]
    findings = trials.photos_by_command(tmp_path, photos)
    assert findings.inputs >= 40
    assert not findings.defects, "\n".join(findings.defects)


def test_odd_places_are_passed_by(tmp_path: Path) -> None:
    findings = trials.odd_places(tmp_path)
    assert not findings.defects, "\n".join(findings.defects)


def test_every_wrong_parameter_is_refused_by_name() -> None:
    number, lines = strange_parameters.objections()
    assert number > 500
    assert not lines, "\n".join(lines)


def test_wrong_parameters_given_to_kedro_end_with_status_2(tmp_path: Path) -> None:
    findings = trials.wrong_parameters(tmp_path / "w", 1)
    assert not findings.defects, "\n".join(findings.defects)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_environments_that_are_not_finite_are_refused(value: float) -> None:
    pixels = torch.ones(64, 128, 3)
    pixels[3, 5, 1] = value
    with pytest.raises(ValueError, match="finite"):
        environments_to_bytes({"a": pixels})


def test_negative_lobes_of_environments_become_black() -> None:
    from facealbedo.assets.environments import environments_from_bytes

    pixels = torch.ones(64, 128, 3)
    pixels[:32] = -0.25
    assert float(environments_from_bytes(environments_to_bytes({"a": pixels})).maps.radiance.min()) == 0


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_headers_of_any_content_are_an_image_or_a_reason(data: st.DataObject) -> None:
    """Any bytes behind each format's own beginning."""
    start = data.draw(st.sampled_from(BEGINNINGS))
    content = start + data.draw(st.binary(max_size=400))
    try:
        decoded = decode_image(content, LIMITS)
    except ImageError as error:
        assert error.reason.sentence in str(error)  # noqa: PT017
    else:
        assert np.isfinite(decoded.linear().numpy()).all()


@given(st.integers(0, 10**6), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_a_png_with_wrong_bytes_is_an_image_or_a_reason(seed: int, count: int) -> None:
    content = bytearray(encoded(face().resize((60, 65))))
    for place in np.random.default_rng(seed).integers(0, len(content), count):
        content[place] ^= 0x55
    try:
        decode_image(bytes(content), LIMITS)
    except ImageError as error:
        assert error.reason.sentence in str(error)  # noqa: PT017
