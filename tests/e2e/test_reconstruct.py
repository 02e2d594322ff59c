"""The whole path, by the Python API, by the command, and again by the command on what is there already."""

from __future__ import annotations

import csv
import json
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from facealbedo.command_line import _run
from facealbedo.params.reconstruct import ReconstructParams
from facealbedo.reconstructor import Reconstructor, reconstruct_folder

FACE_FILES = {
    "face.glb",
    "albedo.png",
    "texture.png",
    "visibility.png",
    "shading.png",
    "overlay.png",
    "relit.png",
    "report.json",
}
FAST = {"texture_px": 256}


@pytest.fixture(scope="module")
def finished(strange_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The strange photos, reconstructed by the command."""
    output = tmp_path_factory.mktemp("run") / "out"
    assert _run({"photos": str(strange_photos), **FAST}, output) == 0
    return output


def table(output: Path) -> dict[str, dict[str, str]]:
    with (output / "summary.csv").open(encoding="utf-8") as stream:
        return {row["id"]: row for row in csv.DictReader(stream)}


def row_of(output: Path, photo: str) -> list[dict[str, str]]:
    return [row for row in table(output).values() if row["photo"] == photo]


def test_every_photo_has_a_row_and_a_true_reason(finished: Path, strange_photos: Path) -> None:
    for photo in strange_photos.iterdir():
        rows = row_of(finished, photo.name)
        assert rows, photo.name
        for row in rows:
            assert (row["status"] == "done") == (not photo.name.startswith("bad_")), row
            assert (row["reason"] == "") == (row["status"] == "done"), row
            assert "internal error" not in row["reason"], row
    assert "no face" in row_of(finished, "bad_nobody.png")[0]["reason"]
    assert len(row_of(finished, "two.png")) == 2


def test_each_face_has_its_files(finished: Path) -> None:
    done = [row["id"] for row in table(finished).values() if row["status"] == "done"]
    assert len(done) == 7
    for face in done:
        assert {path.name for path in (finished / face).iterdir()} >= FACE_FILES
        report = json.loads((finished / face / "report.json").read_text())
        assert 0 < report["numbers"]["fit"]["nme_percent"] < 3
    assert not list(finished.glob(".writing-*"))


def test_the_same_face_in_other_formats_is_the_same_face(finished: Path) -> None:
    """EXIF rotation, CMYK and alpha change the file, hardly the face."""
    plain = row_of(finished, "plain.jpg")[0]
    for other in ("rotated.jpg", "alpha.png", "cmyk.jpg"):
        row = row_of(finished, other)[0]
        assert float(row["fit.yaw_degrees"]) == pytest.approx(float(plain["fit.yaw_degrees"]), abs=2), other
        assert float(row["tone.ita_degrees"]) == pytest.approx(float(plain["tone.ita_degrees"]), abs=6), other


def test_a_mirrored_photo_gives_the_mirrored_albedo(finished: Path) -> None:
    first, second = (row["id"] for row in row_of(finished, "two.png"))
    maps = [np.asarray(Image.open(finished / face / "albedo.png"), float) for face in (first, second)]
    difference = np.abs(maps[0] - maps[1][:, ::-1]).mean()
    assert difference < 8
    assert difference < 0.5 * np.abs(maps[0] - np.roll(maps[1], 64, axis=1)).mean()


def test_the_mesh_is_a_head_in_metres(finished: Path) -> None:
    face = row_of(finished, "plain.jpg")[0]["id"]
    scene = trimesh.load(finished / face / "face.glb")
    low, high = scene.bounds
    assert 0.15 < high[1] - low[1] < 0.45
    assert 0.12 < high[0] - low[0] < 0.35


def test_the_page_names_every_photo_and_loads_nothing_from_elsewhere(finished: Path, strange_photos: Path) -> None:
    page = (finished / "index.html").read_text(encoding="utf-8")
    for photo in strange_photos.iterdir():
        assert photo.name in page
    assert not re.search(r'(?:src|href)="https?://', page)


def test_a_second_run_does_only_what_is_missing(finished: Path, strange_photos: Path, tmp_path: Path) -> None:
    output = tmp_path / "copy"
    shutil.copytree(finished, output)
    before = {path: path.stat().st_mtime_ns for path in output.glob("*/report.json")}
    photos = tmp_path / "photos"
    shutil.copytree(strange_photos, photos)
    shutil.copy(photos / "plain.jpg", photos / "new.jpg")
    summary = reconstruct_folder(ReconstructParams(photos=str(photos), **FAST), output)
    after = {path: path.stat().st_mtime_ns for path in output.glob("*/report.json")}
    assert {path: time for path, time in after.items() if path in before} == before
    assert len(after) == len(before) + 1
    assert summary.counts()[0] == len(after)


def test_the_run_needs_no_network(strange_photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    (result,) = Reconstructor(ReconstructParams(**FAST)).reconstruct([strange_photos / "plain.jpg"])
    assert result.status == "done"


def test_arrays_and_bytes_are_taken_too(strange_photos: Path) -> None:
    pixels = np.asarray(Image.open(strange_photos / "plain.jpg"))
    reconstructor = Reconstructor(ReconstructParams(**FAST))
    results = list(reconstructor.reconstruct([pixels, (strange_photos / "plain.jpg").read_bytes(), b"junk"]))
    assert [result.status for result in results] == ["done", "done", "failed"]
    np.testing.assert_allclose(
        results[0].asset.uv_albedo.numpy(), results[1].asset.uv_albedo.numpy(), atol=1e-6, rtol=1e-5
    )
    with pytest.raises(ValueError, match="not reconstructed"):
        reconstructor.export(results[2])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing_place"], "no file or folder"),
        (["."], "holds no photos"),
        (["x.jpg", "--texture-px", "100"], "texture_px"),
        (["x.jpg", "--detector", "magic"], "detector"),
    ],
)
def test_wrong_calls_get_one_clear_message(tmp_path: Path, arguments: list[str], words: str) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "facealbedo.command_line", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode in (1, 2)
    assert words in result.stderr
    assert "Traceback" not in result.stderr
