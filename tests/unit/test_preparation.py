"""Photos to a table of fits: resumable, and in agreement with what reconstruct finds."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from facealbedo.datasets.files import FileFolderDataset
from facealbedo.params.prepare import FitParams, PreprocessParams
from facealbedo.preparation import FITS_VERSION, faces_table, find_faces, fit_crops, fits_table
from facealbedo.reconstructor import Reconstructor, Source

PARAMS, FIT = PreprocessParams(), FitParams(working_px=128)


def astronaut() -> bytes:
    return (files("skimage.data") / "astronaut.png").read_bytes()


def broken() -> bytes:
    raise OSError(5, "Input/output error")


SOURCES = [
    Source("astronaut", "astronaut.png", astronaut),
    Source("text", "text.jpg", lambda: b"no picture"),
    Source("broken", "broken.jpg", broken),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[pd.DataFrame, pd.DataFrame, FileFolderDataset, list]:
    crops = FileFolderDataset(folder=str(tmp_path_factory.mktemp("crops")), suffix=".jpg")
    journal: list = []
    for found in find_faces(PARAMS, [], SOURCES):
        crops.save(found.crops)
        journal += found.entries
    faces = faces_table(PARAMS, journal, SOURCES)
    fitted = [entry for entries in fit_crops(FIT, faces, crops.load(), []) for entry in entries]
    return faces, fits_table(faces, fitted), crops, journal


def test_every_photo_has_a_row(prepared: tuple) -> None:
    faces = prepared[0].set_index("id")
    assert faces.loc["astronaut", "status"] == "done"
    assert faces.loc["text", "status"] == "failed"
    assert "Input/output error" in faces.loc["broken", "reason"]


def test_fit_of_the_crop_is_that_of_the_photo(prepared: tuple) -> None:
    row = prepared[1].iloc[0]
    whole = next(iter(Reconstructor().reconstruct([astronaut()])))
    assert row["status"] == "done"
    assert row["yaw_degrees"] == pytest.approx(whole.numbers["fit"]["yaw_degrees"], abs=0.5)
    np.testing.assert_allclose(row["identity_coeffs"], whole.asset.coefficients.identity_coeffs[0].numpy(), atol=0.05)
    # Another crop shows another background: the tone may move a little.
    assert row["ita_degrees"] == pytest.approx(whole.numbers["tone"]["ita_degrees"], abs=10)
    assert len(row["uv_trust"]) == FIT.trust_px**2


def test_nothing_is_done_twice_and_changes_are_done_again(prepared: tuple) -> None:
    *_, journal = prepared
    again = list(find_faces(PARAMS, journal, SOURCES))
    assert [found.entries[0]["photo_id"] for found in again] == ["broken"]
    other = find_faces(PreprocessParams(crop_px=128), journal, SOURCES[:1])
    assert len(list(other)) == 1


def test_fits_of_older_code_are_made_again(prepared: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    faces, _, crops, _ = prepared

    def fit(journal: list) -> list:
        return [entry for entries in fit_crops(FIT, faces, crops.load(), journal) for entry in entries]

    journal = fit([])
    assert fit(journal) == []
    monkeypatch.setattr("facealbedo.preparation.FITS_VERSION", FITS_VERSION + 1)
    assert [entry["id"] for entry in fit(journal)] == ["astronaut"]


def test_a_missing_crop_is_named(prepared: tuple, tmp_path: Path) -> None:
    faces = prepared[0]
    run: Callable = lambda: list(fit_crops(FIT, faces, {}, []))  # noqa: E731
    with pytest.raises(Exception, match="crop of astronaut is missing"):
        run()
