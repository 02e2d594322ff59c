"""Read the photos that the landmarks are refined on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from facealbedo.core.errors import FaceAlbedoError
from facealbedo.params.face_model import FaceLandmarksParams


class NoPhotosError(FaceAlbedoError):
    """There is nothing to refine the landmarks on."""


def read_photos(params: FaceLandmarksParams) -> Iterator[Any]:
    """Yield sRGB images (uint8, [height, width, 3]) drawn from the folder, in the order of the draw.

    Raises:
        NoPhotosError: if no folder is given, or it has no photo.
    """
    import numpy as np
    from PIL import Image

    if params.photos is None:
        raise NoPhotosError("set face_landmarks.photos to a folder of photos: none are bundled")
    files = sorted(path for path in Path(params.photos).rglob("*") if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    if not files:
        raise NoPhotosError(f"no photos in {params.photos}")
    order = np.random.default_rng(params.photo_seed).permutation(len(files))[: params.max_photos]
    for index in order:
        with Image.open(files[index]) as image:
            yield np.asarray(image.convert("RGB"))
