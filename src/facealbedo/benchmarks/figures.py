"""The figure of `docs/method.md`: the steps of a reconstruction on a fabricated face.

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
from facealbedo.reconstructor import Reconstructor

TARGET = Path("docs/images/method.jpg")
SIDE_PX = 220
SEED = 1


def draw_method() -> Image.Image:
    """Return photo, fit, trusted texture, prior albedo, albedo, shading and two relit views side by side."""
    reconstructor = Reconstructor(ReconstructParams(texture_px=512))
    (face,) = reconstructor.reconstruct([fabricated_portrait(SEED)])
    files = reconstructor.export(face)
    pictures = {name: Image.open(io.BytesIO(data)).convert("RGB") for name, data in files.items()
                if name.endswith((".png", ".jpg"))}  # fmt: skip
    trust = np.asarray(pictures["visibility.png"], np.float32) / 255
    seen = np.asarray(pictures["texture.png"], np.float32) * trust + 96 * (1 - trust)
    if face.asset is None:
        raise ValueError(f"the fabricated face was not reconstructed: {face.reason}")
    prior = Image.open(io.BytesIO(encode_png_srgb(face.asset.prior_albedo[0])))
    relit = pictures["relit.png"]
    views = [relit.crop((index * relit.height, 0, (index + 1) * relit.height, relit.height)) for index in (1, 2)]
    row = [pictures["photo.jpg"], pictures["overlay.png"], Image.fromarray(seen.astype(np.uint8)), prior]
    row += [pictures["albedo.png"], pictures["shading.png"], *views]
    sheet = Image.new("RGB", (SIDE_PX * len(row), SIDE_PX))
    for index, picture in enumerate(row):
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        sheet.paste(picture.crop((left, top, left + side, top + side)).resize((SIDE_PX,) * 2), (index * SIDE_PX, 0))
    return sheet


def main() -> None:
    """Write the figure."""
    draw_method().save(TARGET, quality=88)


if __name__ == "__main__":
    sys.exit(main())
