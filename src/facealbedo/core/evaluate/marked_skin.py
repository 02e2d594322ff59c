"""Albedo of the benchmark's people: skin that leaves the basis of the reconstruction's prior.

The prior is linear in log chromophores, symmetric, and has every feature in one place. If the truth were drawn from it,
nothing could beat it. So tone and anatomy come from the skin model, but each face has brows of its own, uneven
pigment, and features that lie a millimetre or two off; and every other face ("marked") has marks as well: see
`MARKS`. All of it is drawn here, with distributions of its own, from seeds that no training uses: a network that
learned training's fabricated faces by heart gains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import ita_degrees, linear_rgb_to_lab
from facealbedo.core.evaluate import face_hair
from facealbedo.core.evaluate.mark_canvas import Canvas
from facealbedo.core.evaluate.skin_marks import SKIN_MARKS
from facealbedo.core.face_model.albedo_prior import AlbedoPrior
from facealbedo.core.face_model.skin import skin_colour
from facealbedo.core.face_model.skin_detail import DETAIL_LAYERS, DetailConfig, DetailedAlbedo, sample_detailed_albedo
from facealbedo.core.types import TensorRecord

MARKS = (*SKIN_MARKS, "beard", "make_up")
# Besides the mark that a person is made for, each other one comes with this probability.
_SHARE_OF_OTHERS = 0.12
# The skin model's own spots are left out: the benchmark draws its own.
_BARE = DetailConfig(freckled=0.0, mole_rate=0.5, blemish_rate=1.0, made_up=0.0, grey_haired=0.0)
# Spread of uneven pigment: grain in millimetres, log melanin, log haemoglobin.
_UNEVEN = ((45.0, 0.10, 0.10), (16.0, 0.07, 0.10))
# How far features lie from where the atlas has them, atlas widths (standard deviation), and nodes of the field.
_SHIFT, _SHIFT_NODES = 0.006, 6


@dataclass(frozen=True)
class MarkedSkin(TensorRecord):
    """Linear albedo of one face over the atlas, with its marks and without them."""

    uv_albedo: Float[Tensor, "1 3 height width"]
    uv_unmarked: Float[Tensor, "1 3 height width"]


def draw_marks(number: int, generator: torch.Generator) -> tuple[str, ...]:
    """Return the marks of the ``number``-th marked person: the kinds take turns, others come by chance."""
    lead = MARKS[(number + 5 * (number // len(MARKS))) % len(MARKS)]
    drawn = torch.rand(len(MARKS), generator=generator) < _SHARE_OF_OTHERS
    chosen = [name for name, also in zip(MARKS, drawn.tolist(), strict=True) if also or name == lead]
    if "beard" in chosen and "make_up" in chosen:
        chosen.remove("make_up" if lead != "make_up" else "beard")
    return tuple(chosen)


def draw_skin(
    prior: AlbedoPrior,
    albedo_coeffs: Float[Tensor, "1 albedo"],
    generator: torch.Generator,
    resolution: int,
    group: int,
    marks: Sequence[str],
) -> MarkedSkin:
    """Draw the skin of one face.

    Args:
        prior: skin model; gives tone and anatomy.
        albedo_coeffs: of the face.
        generator: on the CPU.
        resolution: texels a side.
        group: ITA group, 0 very light to 5 dark. The marks do not move the skin's ITA: melanin is shifted to keep it.
        marks: of `MARKS`.
    """
    base = sample_detailed_albedo(prior, albedo_coeffs, generator, resolution, _BARE)
    canvas = Canvas.of(prior, resolution, generator, group)
    plain = base.log_chromophores[0] + _uneven(canvas)
    hair = prior.hair_colour(albedo_coeffs)[0]
    brows = face_hair.brows(canvas, hair)
    painted: list[face_hair.Paint] = []
    marked = plain
    for name in marks:
        if name == "beard":
            painted.append(face_hair.beard(canvas, hair))
        elif name == "make_up":
            painted += face_hair.make_up(canvas)
        else:
            marked = marked + SKIN_MARKS[name](canvas, marked)
    shift = _tone_shift(canvas, base, plain, marked)
    shifted = _shift(canvas)
    maps = []
    for chromophores, paints in ((marked, painted), (plain, [])):
        albedo = _colour(base, chromophores, shift)
        albedo = face_hair.Paint(hair, base.layer_alpha[0, DETAIL_LAYERS.index("scalp")]).over(albedo)
        for paint in (brows, *paints):
            albedo = paint.over(albedo)
        maps.append(F.grid_sample(albedo[None], shifted, padding_mode="border", align_corners=False).clamp(1e-3, 1))
    return MarkedSkin(maps[0], maps[1])


def _colour(base: DetailedAlbedo, chromophores: Tensor, shift: float) -> Float[Tensor, "3 height width"]:
    melanin, haemoglobin = chromophores
    return skin_colour(melanin[None] + shift, haemoglobin[None], base.eumelanin_share, base.oxygenation)[0]


def _uneven(canvas: Canvas) -> Float[Tensor, "2 height width"]:
    """Pigment that is not the same on both sides."""
    total = torch.zeros(2, canvas.resolution, canvas.resolution)
    for grain, melanin, haemoglobin in _UNEVEN:
        total += torch.stack([melanin * canvas.noise(grain), haemoglobin * canvas.noise(grain)])
    # The same relative change of melanin shows more on dark skin.
    total[0] *= 1 - 0.09 * canvas.darkness
    core = canvas.field("core_skin")
    return total - ((total * core).sum((1, 2)) / core.sum())[:, None, None]


def _tone_shift(canvas: Canvas, base: DetailedAlbedo, plain: Tensor, marked: Tensor) -> float:
    """Return what log melanin must be shifted by so that the marked skin has the plain one's ITA; by bisection."""
    core = canvas.field("core_skin")

    def ita(chromophores: Tensor, shift: float) -> float:
        colour = (_colour(base, chromophores, shift) * core).sum((1, 2)) / core.sum()
        return float(ita_degrees(linear_rgb_to_lab(colour[None]))[0])

    wanted = ita(plain, 0.0)
    low, high = -1.5, 1.5
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if ita(marked, middle) > wanted else (low, middle)
    return (low + high) / 2 if marked is not plain else 0.0


def _shift(canvas: Canvas) -> Float[Tensor, "1 height width 2"]:
    """Return the places in the atlas that a slightly displaced face reads, in [-1, 1]."""
    size, nodes = canvas.resolution, _SHIFT_NODES
    drawn = torch.randn(1, 2, nodes, nodes, generator=canvas.generator)
    offset = 2 * _SHIFT * F.interpolate(drawn, (size, size), mode="bicubic", align_corners=True)
    axis = (torch.arange(size) + 0.5) * (2 / size) - 1
    places = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), dim=-1)
    return places[None] + offset.permute(0, 2, 3, 1)
