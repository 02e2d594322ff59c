"""Listing photos: stable, safe names, nothing endless."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pytest

from facealbedo.dataloading.photos import PhotosError, content_hash, list_photos


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_lists_by_suffix_below_the_folder_in_order(tmp_path: Path) -> None:
    for name in ("b.JPG", "a/z.png", "a/b.webp", "notes.txt", ".hidden.jpg", ".cache/c.jpg"):
        touch(tmp_path / name)
    assert [photo.name for photo in list_photos(tmp_path)] == ["a/b.webp", "a/z.png", "b.JPG"]


def test_a_named_file_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    (photo,) = list_photos(touch(tmp_path / "portrait"))
    assert photo.name == "portrait"


@pytest.mark.parametrize("name", ["a..png.png", "-rf.jpg", "a b'c\"d.png", "日本.png", "x" * 200 + ".png", "=1+1.jpg"])
def test_ids_are_safe_and_short(tmp_path: Path, name: str) -> None:
    touch(tmp_path / name)
    (photo,) = list_photos(tmp_path)
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,60}", photo.id)


def test_names_that_are_no_text_are_listed(tmp_path: Path) -> None:
    touch(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png")))
    (photo,) = list_photos(tmp_path)
    photo.name.encode("utf-8")
    assert photo.path.read_bytes() == b"x"


def test_same_names_in_other_folders_have_other_ids(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "p.png")
    touch(tmp_path / "b" / "p.png")
    first, second = list_photos(tmp_path)
    assert first.id != second.id
    assert [photo.id for photo in list_photos(tmp_path)] == [first.id, second.id]


def test_links_in_circles_end(tmp_path: Path) -> None:
    touch(tmp_path / "a" / "p.png")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "broken.png").symlink_to(tmp_path / "nowhere")
    assert [photo.path.name for photo in list_photos(tmp_path)] == ["p.png"]


def test_nothing_to_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(PhotosError, match="no file or folder"):
        list_photos(tmp_path / "missing")
    with pytest.raises(PhotosError, match="holds no photos"):
        list_photos(tmp_path)


def test_content_hash_is_sha256() -> None:
    assert content_hash(b"abc") == hashlib.sha256(b"abc").hexdigest()
