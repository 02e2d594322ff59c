"""What an export writes and how; one frozen record for all of `core.export`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from facealbedo.core.export.eyes import DEFAULT_IRIS_ALBEDO


@dataclass(frozen=True)
class ExportConfig:
    """Choices of an export.

    * ``expression``: the geometry's expression: as fitted to the photo, or neutral.
    * ``morph_targets``: write the expression units as morph targets. The vertices are then neutral and the targets'
      weights make the expression asked for. ``morph_normals`` adds the normals' change (three times the size).
    * ``glb_texture``: ``png`` keeps every bit of the 8-bit albedo, ``jpeg`` (quality ``jpeg_quality``, no chroma
      subsampling) takes about a fifth of the space.
    * ``iris_albedo``: linear reflectance of the iris; photos do not set it.
    * ``with_obj``: also write ``face.obj`` and ``face.mtl``.
    * ``relit_px``: side of a picture in ``relit.png``; ``preview_px``: the same in ``preview.jpg``.
    * ``overlay_px``: largest side of ``overlay.png`` and ``photo.jpg``.
    """

    expression: Literal["fitted", "neutral"] = "fitted"
    morph_targets: bool = False
    morph_normals: bool = False
    glb_texture: Literal["png", "jpeg"] = "png"
    jpeg_quality: int = 95
    iris_albedo: tuple[float, float, float] = DEFAULT_IRIS_ALBEDO
    with_obj: bool = False
    relit_px: int = 384
    preview_px: int = 256
    overlay_px: int = 768
