"""Kedro-Viz gets previews of a type that its front end knows, small enough for a static site."""

from __future__ import annotations

import base64
import inspect
import io
from pathlib import Path

import pytest
from PIL import Image

from facealbedo.datasets.face_folders import FaceFoldersDataset
from facealbedo.datasets.previews import PictureDataset, PictureFolderDataset, TableFileDataset


def written(path: Path, colour: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (1200, 600), colour).save(path)
    return path


def shown(preview: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(preview)))


def test_pictures_are_shrunk(tmp_path: Path) -> None:
    written(tmp_path / "one" / "b.png", "blue")
    written(tmp_path / "one" / "a.png", "red")
    picture = shown(PictureFolderDataset(folder=str(tmp_path / "one"), suffix=".png").preview())
    assert (picture.size, picture.getpixel((5, 5))) == ((512, 256), (255, 0, 0))
    picture = shown(PictureDataset(filepath=str(tmp_path / "one" / "b.png")).preview())
    assert picture.getpixel((5, 5)) == (0, 0, 255)
    written(tmp_path / "faces" / "anna" / "albedo.png", "lime")
    (tmp_path / "faces" / "anna" / "report.json").write_text("{}")
    faces = FaceFoldersDataset(filepath=str(tmp_path / "faces"), preview_file="albedo.png")
    assert shown(faces.preview()).getpixel((5, 5)) == (0, 255, 0)


def test_tables_show_their_first_rows_as_json_can_hold_them(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("id,nme\n" + "a,1.5\nb,\n" * 20)
    preview = TableFileDataset(filepath=str(path)).preview()
    assert preview["columns"] == ["id", "nme"]
    assert preview["data"] == [["a", 1.5], ["b", None], ["a", 1.5], ["b", None], ["a", 1.5]]


@pytest.mark.parametrize(
    ("dataset", "kind"),
    [
        (PictureDataset(filepath="x"), "ImagePreview"),
        (PictureFolderDataset(folder="x", suffix=".png"), "ImagePreview"),
        (FaceFoldersDataset(filepath="x"), "ImagePreview"),
        (TableFileDataset(filepath="x"), "TablePreview"),
    ],
)
def test_the_front_end_knows_the_type(dataset: PictureDataset, kind: str) -> None:
    """Kedro-Viz passes the annotation's name on, as text when it is text."""
    annotation = inspect.signature(dataset.preview).return_annotation
    assert getattr(annotation, "__name__", str(annotation)) == kind
    with pytest.raises(OSError):
        dataset.preview()
