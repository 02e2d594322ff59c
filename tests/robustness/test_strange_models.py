"""Each reader of a model file ends with a `FaceAlbedoError` or a model, whatever the bytes."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.export.manifest import ManifestError, decode_manifest
from tests.robustness import trials
from tests.robustness.strange_models import good_files, objections, readers

SMALL = ("albedo_prior", "tone_estimator", "pigment_net", "environments", "weights")


@pytest.mark.parametrize(
    "name",
    [
        "face_model",
        "albedo_prior",
        "tone_estimator",
        "pigment_net",
        "environments",
        "occlusion",
        "weights",
        "checkpoint",
    ],
)
def test_damaged_model_files_are_refused_in_words(name: str) -> None:
    number, lines = objections(name)
    assert number > 20
    assert not lines, "\n".join(lines)


def test_wrong_weights_are_named_once_before_the_first_photo(tmp_path: Path) -> None:
    findings = trials.wrong_weights(tmp_path, 1)
    assert not findings.defects, "\n".join(findings.defects)


@pytest.mark.parametrize("name", SMALL)
@given(content=st.data())
@settings(max_examples=40, deadline=None)
def test_readers_take_any_bytes(name: str, content: st.DataObject) -> None:
    """Random bytes, mostly with a true beginning, and with pieces of the true file replaced."""
    good = good_files()[name]
    start = content.draw(st.integers(0, min(len(good), 2000)))
    piece = content.draw(st.binary(max_size=64))
    data = content.draw(
        st.sampled_from((piece, good[:start] + piece, good[:start] + piece + good[start + len(piece) :]))
    )
    with contextlib.suppress(FaceAlbedoError):
        readers()[name](data)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
@settings(max_examples=100, deadline=None)
def test_the_manifest_reader_takes_any_bytes(data: bytes) -> None:
    with pytest.raises(ManifestError):
        decode_manifest(data)
