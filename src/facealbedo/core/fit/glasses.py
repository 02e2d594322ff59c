"""Frames of glasses in an unwrapped photo: thin lines below both eyes and across the bridge of the nose.

Each of these lines alone might be a wrinkle or a shadow's edge. Frames run unbroken through all three places, they
are narrow, and they are dark in red light too, in which wrinkles fade: light that skin reflects onto itself is red.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.fit.landmark_groups import MEDIAPIPE478
from facealbedo.core.render.uv import bake_region
from facealbedo.core.types import TensorRecord

FRAME_PX = 256
"""Side of the atlas in which lines are looked for: a frame is one to four texels wide."""

_DARKEST = 2e-3
_FAR = 1e3
# MediaPipe's landmarks: outer corner, lowest point and inner corner of the right and the left eye; between the brows,
# and the ridge of the nose at the height of the lower lids.
_EYES = ((33, 145, 133), (263, 374, 362))
_BRIDGE = (9, 197)


@dataclass(frozen=True)
class GlassesConfig:
    """When glasses are believed.

    Attributes:
        widest: width of the widest line, texels of `FRAME_PX`, odd.
        below_eye: how far below the lower lid a rim may run, texels.
        least: by how much the weakest of the three lines must surpass what lines the bare skin has.
        usual_floor: least such line of bare skin, natural log: what noise makes.
        line_log: a texel this much darker or brighter in red (natural log) than its surroundings is the frame.
    """

    widest: int = 7
    below_eye: tuple[int, int] = (7, 37)
    least: float = 0.85
    usual_floor: float = 0.1
    line_log: float = 0.2


@dataclass(frozen=True)
class GlassesMaps(TensorRecord):
    """Places in the atlas at `FRAME_PX`.

    * ``bare``: skin that shows what lines the face has of itself. ``place``: where frames may run.
    * ``rims``: top, bottom, left and right border of the places below the right and the left eye; ``bridge`` likewise.
    """

    bare: Float[Tensor, "1 1 height width"]
    place: Float[Tensor, "1 1 height width"]
    rims: tuple[tuple[int, int, int, int], tuple[int, int, int, int]]
    bridge: tuple[int, int, int, int]


def glasses_maps(model: FaceModel, config: GlassesConfig | None = None) -> GlassesMaps:
    """Bake the places."""
    settings = config or GlassesConfig()
    at = landmarks_in_atlas(model, FRAME_PX)

    def rim(eye: tuple[int, int, int]) -> tuple[int, int, int, int]:
        columns = sorted((int(at[eye[0], 0]), int(at[eye[2], 0])))
        low = int(at[eye[1], 1])
        return (low + settings.below_eye[0], low + settings.below_eye[1], columns[0], columns[1])

    right, left = rim(_EYES[0]), rim(_EYES[1])
    inner = (int(at[_EYES[0][2], 0]) + 4, int(at[_EYES[1][2], 0]) - 4)
    sockets = torch.maximum(bake_region(model, "brows", FRAME_PX), bake_region(model, "lids", FRAME_PX))[None, None]
    sockets = -F.max_pool2d(-F.max_pool2d(sockets, 17, 1, 8), 13, 1, 6)
    rows = torch.arange(FRAME_PX, device=sockets.device)[:, None]
    columns = torch.arange(FRAME_PX, device=sockets.device)
    between = (rows >= int(at[list(MEDIAPIPE478.brows), 1].min())) & (rows <= right[1])
    wings = (rows > int(at[_BRIDGE[1], 1]) + 8) & (columns > inner[0]) & (columns < inner[1])
    return GlassesMaps(
        bare=(bake_region(model, "core_skin", FRAME_PX) > 0.9).float()[None, None],
        place=((bake_region(model, "face", FRAME_PX) > 0.5) & between & ~wings & (sockets < 0.5)).float(),
        rims=(right, left),
        bridge=(int(at[_BRIDGE[0], 1]) + 4, int(at[_BRIDGE[1], 1]), *inner),
    )


def landmarks_in_atlas(model: FaceModel, resolution: int) -> Float[np.ndarray, "landmark 2"]:
    """Return where the landmarks of the surface lie in a texture, texels."""
    places = model.uv.new_zeros(1, model.n_vertices, 3)
    # A landmark on the seam at the back would have two places; there is none.
    places[0, model.uv_source, :2] = model.uv
    surface = model.landmarks(places, MEDIAPIPE478.kind)[0, : MEDIAPIPE478.n_surface, :2]
    return np.asarray(resolution * surface.cpu().numpy())


def glasses(
    texture: Float[Tensor, "batch 3 height width"],
    visibility: Float[Tensor, "batch 1 height width"],
    maps: GlassesMaps,
    config: GlassesConfig | None = None,
) -> Float[Tensor, "batch 1 side side"]:
    """Return 1 on frames of glasses, at `FRAME_PX`; nothing on faces that wear none.

    Args:
        texture: linear RGB, square.
        visibility: of the texels.
        maps: places in the atlas.
        config: limits; the defaults when omitted.
    """
    settings = config or GlassesConfig()
    seen = F.interpolate(visibility, size=(FRAME_PX, FRAME_PX), mode="area")
    dark, bright = _lines(F.interpolate(texture[:, :1], size=(FRAME_PX, FRAME_PX), mode="area"), seen, settings.widest)
    bare = maps.bare * (seen > 0.5)
    usual = [settings.usual_floor + _quantile(line, bare, 0.8) for line in (dark, bright)]
    rims = torch.stack([_rim(dark, seen, rim) for rim in maps.rims]) / usual[0]
    # Of a turned head one eye may be hidden: then the other has to show more.
    rim = torch.where((rims < 0).any(0), 0.8 * rims.amax(0), rims.amin(0))
    bridge = torch.stack([_cut(line, maps.bridge) for line in (dark, bright)])
    across = torch.stack([_unbroken(line) / level for line, level in zip(bridge, usual, strict=True)]).amax(0)
    worn = ((torch.minimum(rim, across) - settings.least) / 0.1 + 0.5).clamp(0, 1)
    # Beside a dark line skin is the brighter part: only what is much brighter is metal or a reflection.
    dark, bright = (
        line / level.clamp(min=settings.line_log)[:, None, None, None]
        for line, level in zip((dark, bright / 2), usual, strict=True)
    )
    frame = ((torch.maximum(dark, bright) - 0.85) / 0.3).clamp(0, 1) * maps.place
    return worn[:, None, None, None] * F.max_pool2d(frame, 3, 1, 1)


def _lines(red: Tensor, seen: Tensor, widest: int) -> tuple[Tensor, Tensor]:
    """Return by how much a texel is darker, and brighter, than what lies on both sides of it; log, 0 where unseen.

    Morphological black-hat and top-hat; texels that are not seen take no part.
    """
    level = F.avg_pool2d(red.clamp(min=_DARKEST).log(), 3, 1, 1, count_include_pad=False)
    known = seen > 0.05

    def grown(values: Tensor) -> Tensor:
        return F.max_pool2d(torch.where(known, values, -_FAR), widest, 1, widest // 2)

    closed, opened = -grown(-grown(level)), grown(-grown(-level))
    dark, bright = (torch.where(known, value, 0.0).clamp(0, 1.5) for value in (closed - level, level - opened))
    return dark, bright


def _quantile(values: Tensor, weight: Tensor, part: float) -> Float[Tensor, "batch"]:
    """Return a quantile where the weight is positive; 0 where it is nowhere."""
    chosen = torch.where(weight > 0, values, torch.nan).flatten(1)
    return torch.nan_to_num(chosen.nanquantile(part, dim=1))


def _cut(values: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    return values[:, 0, box[0] : box[1], box[2] : box[3]]


def _rim(dark: Tensor, seen: Tensor, box: tuple[int, int, int, int]) -> Float[Tensor, "batch"]:
    """Return the strength of the line below an eye; -1 where half of the place is not seen."""
    visible = (_cut(seen, box) > 0.3).float().mean((1, 2)) > 0.5
    return torch.where(visible, _unbroken(_cut(dark, box), slope=2), -1.0)


def _unbroken(response: Float[Tensor, "batch row column"], slope: int = 1) -> Float[Tensor, "batch"]:
    """Return the strength that the best line from left to right keeps over 70 % of its way (dynamic programming).

    Args:
        response: of lines.
        slope: most rows that the line may climb or fall from one column to the next.
    """
    _, rows, columns = response.shape
    steps = torch.arange(-slope, slope + 1, device=response.device)
    total, back = response[:, :, 0], []
    for column in range(1, columns):
        padded = F.pad(total, (slope, slope), value=-_FAR)
        before = padded.unfold(1, rows, 1) - 0.02 * steps.abs()[None, :, None]
        best, chosen = before.max(1)
        back.append(chosen - slope)
        total = best + response[:, :, column]
    row = total.argmax(1, keepdim=True)
    kept = [response[:, :, -1].gather(1, row)]
    for column in range(columns - 2, -1, -1):
        row = (row + back[column].gather(1, row)).clamp(0, rows - 1)
        kept.append(response[:, :, column].gather(1, row))
    return torch.cat(kept, dim=1).quantile(0.3, dim=1)
