"""What a run may not do: leave its folder, or need a network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kedro.io import DatasetError

from facealbedo.core.export.report import FaceRow
from facealbedo.core.export.sheet import build_index
from facealbedo.datasets.face_folders import write_face_folder
from facealbedo.datasets.files import FileFolderDataset
from facealbedo.evaluation.reports import page, table_html
from tests.robustness import trials
from tests.robustness.strange_places import HOSTILE_NAMES
from tests.robustness.trial import good_photo, run

ESCAPES = ("../x", "..", "a/../../x", "/etc/x", "a\0b", "..\\x", "")


@pytest.mark.parametrize("name", ESCAPES)
def test_names_cannot_leave_the_output_folder(tmp_path: Path, name: str) -> None:
    inner = tmp_path / "inner"
    with pytest.raises(ValueError):
        write_face_folder(inner, name, {"a.png": b""})
    with pytest.raises(ValueError):
        write_face_folder(inner, "face", {name: b""})
    with pytest.raises(DatasetError, match="one path segment"):
        FileFolderDataset(folder=str(inner), suffix="").save({name: b""})
    assert {path.name for path in tmp_path.iterdir()} <= {"inner"}
    assert not [path for path in inner.rglob("*") if path.is_file()]


def test_pages_escape_every_name_and_reason() -> None:
    names = [name.decode("utf-8", "replace") for name in HOSTILE_NAMES.values()]
    rows = [FaceRow(f"f{index}", name, "failed", reason=name) for index, name in enumerate(names)]
    page = build_index(rows, title="<script>alert(0)</script>", facts={"<b>": "<i>"}).decode()
    reader = trials.PageReader()
    reader.feed(page)
    assert reader.found == []
    assert "<script>alert(0)" not in page
    assert "<img src=x" not in page


def test_the_pages_of_an_evaluation_escape_people_reasons_and_methods() -> None:
    names = [name.decode("utf-8", "replace") for name in HOSTILE_NAMES.values()]
    refused = [{"person": name, "photo": name, "reason": name} for name in names]
    facts = {"set": "portraits", "size": "small", "people": 1, "photos": 1, "code": "0", "not_reconstructed": refused}
    table = {name: {"mean": {"psnr": {"value": 1.0, "low": 0.0, "high": 2.0}}} for name in names}
    content = page("<script>alert(0)</script>", facts, [("<img src=x>", table_html(table, ["psnr"]))])
    reader = trials.PageReader()
    reader.feed(content)
    assert reader.found == []
    assert "<script>alert(0)" not in content
    assert "<img src=x" not in content


def test_a_whole_run_passes_with_the_network_cut_off(tmp_path: Path) -> None:
    """In a network namespace of its own, where only an interface that is down exists."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rn", "true"], check=False).returncode:
        pytest.skip("network namespaces cannot be made here")
    (tmp_path / "face.jpg").write_bytes(good_photo())
    call = ["unshare", "-rn", sys.executable, "-m", "facealbedo.command_line", str(tmp_path / "face.jpg")]
    done = run([*call, "-o", str(tmp_path / "out"), "--texture-px", "256"])
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("out/*/face.glb"))
