"""What Kedro-Viz shows of files: it goes by the return type's name, which its front end knows."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

from facealbedo.datasets.files import BytesDataset, FileFolderDataset

if TYPE_CHECKING:
    from pathlib import Path

    from kedro_datasets._typing import ImagePreview, TablePreview

# The static site holds every preview.
_SIDE_PX = 512
_ROWS = 5


def picture_preview(path: Path) -> ImagePreview:
    """Return a picture, shrunk to a longer side of 512 pixels, as Kedro-Viz takes it."""
    from kedro_datasets._typing import ImagePreview
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(path) as picture:
        picture.thumbnail((_SIDE_PX, _SIDE_PX))
        picture.save(buffer, "PNG")
    return ImagePreview(base64.b64encode(buffer.getvalue()).decode())


class PictureDataset(BytesDataset):
    """The bytes of a picture file, shown in Kedro-Viz."""

    def preview(self) -> ImagePreview:
        """Show the picture."""
        return picture_preview(self._path)


class TableFileDataset(BytesDataset):
    """The bytes of a CSV file, its first rows shown in Kedro-Viz."""

    def preview(self) -> TablePreview:
        """Show the first rows."""
        import pandas as pd
        from kedro_datasets._typing import TablePreview

        rows = pd.read_csv(self._path, nrows=_ROWS).astype(object)
        return TablePreview(rows.where(rows.notna(), None).to_dict(orient="split"))


class PictureFolderDataset(FileFolderDataset):
    """A folder of pictures, the first of them shown in Kedro-Viz."""

    def preview(self) -> ImagePreview:
        """Show one picture."""
        pictures = self.load()
        if not pictures:
            raise FileNotFoundError(f"there is no picture in {self._folder} yet")
        return picture_preview(next(iter(pictures.values())))
