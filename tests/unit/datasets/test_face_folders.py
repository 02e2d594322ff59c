"""Writing results: whole or not at all, and never outside the folder."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facealbedo.datasets.face_folders import (
    FaceFoldersDataset,
    StorageError,
    remove_stale_staging,
    write_face_folder,
    write_file,
)


def listing(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_writes_and_replaces_as_a_whole(tmp_path: Path) -> None:
    write_face_folder(tmp_path, "anna", {"albedo.png": b"1", "old.txt": b"x"})
    write_face_folder(tmp_path, "anna", {"albedo.png": b"2", "maps/n.png": b"3"})
    assert listing(tmp_path) == {"anna/albedo.png", "anna/maps/n.png"}
    assert (tmp_path / "anna/albedo.png").read_bytes() == b"2"


def test_full_disk_leaves_nothing_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_face_folder(tmp_path, "first", {"report.json": b"{}"})
    original = Path.write_bytes

    def write_bytes(self: Path, data: bytes) -> int:
        if self.name == "big.png":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(self, data)

    monkeypatch.setattr(Path, "write_bytes", write_bytes)
    with pytest.raises(StorageError, match="no space left"):
        write_face_folder(tmp_path, "second", {"small.png": b"1", "big.png": b"2"})
    assert listing(tmp_path) == {"first/report.json"}


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("I am a file")
    with pytest.raises(StorageError, match="cannot write results"):
        write_face_folder(tmp_path / "out", "a", {"x": b""})
    with pytest.raises(StorageError, match="cannot write results"):
        write_file(tmp_path / "out" / "summary.csv", b"")


@given(name=st.text(min_size=0, max_size=12, alphabet="./\\a\0"))
@settings(deadline=None)  # it waits for the disk
def test_no_name_leaves_the_folder(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    root = tmp_path_factory.mktemp("root") / "inner"
    for face_id, file_name in ((name, "f"), ("face", name)):
        try:
            write_face_folder(root, face_id, {file_name: b"1"})
        except (ValueError, StorageError):
            continue
    outside = [path for path in root.parent.iterdir() if path != root]
    assert outside == []


def test_stale_staging_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".writing-abc").mkdir()
    (tmp_path / ".writing-abc" / "x").write_text("half")
    (tmp_path / ".writing-file").write_text("half")
    write_face_folder(tmp_path, "done", {"report.json": b"{}"})
    remove_stale_staging(tmp_path)
    assert listing(tmp_path) == {"done/report.json"}


def test_dataset_lists_only_finished_faces(tmp_path: Path) -> None:
    dataset = FaceFoldersDataset(filepath=str(tmp_path / "faces"))
    assert dataset.load() == {}
    assert not dataset.exists()
    dataset.save({"a": {"report.json": b"{}"}, "b": {"albedo.png": b"1"}})
    assert list(dataset.load()) == ["a"]
    assert dataset.exists()


def test_what_a_running_process_writes_stays(tmp_path: Path) -> None:
    (tmp_path / f".writing-{os.getpid()}-x").mkdir()
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    (tmp_path / f".writing-{ended.pid}-x").mkdir()
    remove_stale_staging(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [f".writing-{os.getpid()}-x"]
