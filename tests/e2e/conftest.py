"""A folder of difficult photos, made from scikit-image's astronaut (public domain)."""

from __future__ import annotations

import io
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def astronaut() -> Image.Image:
    return Image.open(io.BytesIO((files("skimage.data") / "astronaut.png").read_bytes())).convert("RGB")


@pytest.fixture(scope="session")
def strange_photos(tmp_path_factory: pytest.TempPathFactory, astronaut: Image.Image) -> Path:
    """Photos by what is strange about them; the names of those that cannot be used begin with ``bad_``."""
    root = tmp_path_factory.mktemp("photos")
    pixels = np.asarray(astronaut)
    face = astronaut.crop((110, 0, 350, 260))
    face.save(root / "plain.jpg", quality=92)
    face.convert("L").save(root / "grey.png")
    face.convert("CMYK").save(root / "cmyk.jpg", quality=92)
    alpha = face.copy()
    alpha.putalpha(255)
    alpha.save(root / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    face.transpose(Image.Transpose.ROTATE_90).save(root / "rotated.jpg", exif=exif, quality=92)
    (root / "bad_empty.jpg").write_bytes(b"")
    (root / "bad_text.jpg").write_text("I am not a picture")
    content = (root / "plain.jpg").read_bytes()
    (root / "bad_cut.jpg").write_bytes(content[: len(content) // 8])
    Image.fromarray(np.full((300, 300, 3), 90, np.uint8)).save(root / "bad_nobody.png")
    astronaut.crop((165, 50, 285, 190)).resize((24, 28)).save(root / "bad_tiny.png")
    two = np.concatenate([pixels[:300, 60:400], pixels[:300, 60:400][:, ::-1]], axis=1)
    Image.fromarray(two).save(root / "two.png")
    return root
