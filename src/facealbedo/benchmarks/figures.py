"""The pictures of README and docs, made by the program itself.

python -m facealbedo.benchmarks.figures
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from facealbedo.core.imaging.encoding import encode_png_srgb
from facealbedo.fabricated import fabricated_portrait
from facealbedo.params.reconstruct import ReconstructParams
from facealbedo.reconstructor import Reconstruction, Reconstructor, sources_of

FOLDER = Path("docs/images")
SIDE_PX = 220
SEED = 1


def draw_method() -> Image.Image:
    """Return photo, fit, trusted texture, prior albedo, albedo, shading and two relit views side by side."""
    reconstructor = Reconstructor(ReconstructParams(texture_px=512))
    (face,) = reconstructor.reconstruct([fabricated_portrait(SEED)])
    pictures = _pictures(reconstructor, face)
    if face.asset is None:
        raise ValueError(f"the fabricated face was not reconstructed: {face.reason}")
    prior = Image.open(io.BytesIO(encode_png_srgb(face.asset.prior_albedo[0])))
    relit = pictures["relit.png"]
    views = [relit.crop((index * relit.height, 0, (index + 1) * relit.height, relit.height)) for index in (1, 2)]
    row = [pictures["photo.jpg"], pictures["overlay.png"], pictures["seen"], prior]
    return _side_by_side(
        [_square(picture) for picture in [*row, pictures["albedo.png"], pictures["shading.png"], *views]]
    )


def draw_demo() -> dict[str, Image.Image]:
    """Return a row for each bundled face: photo, fit, trusted texture, albedo, shading, and all relit views."""
    reconstructor = Reconstructor()
    rows = {}
    for source in sources_of(reconstructor.params):
        face = reconstructor.reconstruct_source(source)[0]
        pictures = _pictures(reconstructor, face)
        names = ("photo.jpg", "overlay.png", "seen", "albedo.png", "shading.png")
        relit = pictures["relit.png"]
        wide = relit.resize((round(relit.width * SIDE_PX / relit.height), SIDE_PX), Image.Resampling.LANCZOS)
        rows[source.id] = _side_by_side([*(_square(pictures[name]) for name in names), wide])
    return rows


def _pictures(reconstructor: Reconstructor, face: Reconstruction) -> dict[str, Image.Image]:
    """Return the exported pictures by name, and what the photo shows of the face under ``seen``."""
    files = reconstructor.export(face)
    pictures = {
        name: Image.open(io.BytesIO(data)).convert("RGB")
        for name, data in files.items()
        if name.endswith((".png", ".jpg"))
    }
    trust = np.asarray(pictures["visibility.png"], np.float32) / 255
    seen = np.asarray(pictures["texture.png"], np.float32) * trust + 96 * (1 - trust)
    return pictures | {"seen": Image.fromarray(seen.astype(np.uint8))}


def _square(picture: Image.Image) -> Image.Image:
    side = min(picture.size)
    left, top = (picture.width - side) // 2, (picture.height - side) // 2
    cut = picture.crop((left, top, left + side, top + side))
    return cut.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)


def _side_by_side(pictures: list[Image.Image]) -> Image.Image:
    sheet = Image.new("RGB", (sum(picture.width for picture in pictures), SIDE_PX))
    left = 0
    for picture in pictures:
        sheet.paste(picture, (left, 0))
        left += picture.width
    return sheet


def main() -> None:
    """Write all figures."""
    draw_method().save(FOLDER / "method.jpg", quality=88)
    for name, row in draw_demo().items():
        row.save(FOLDER / f"{name}.jpg", quality=88)


if __name__ == "__main__":
    sys.exit(main())
