"""Marks in the skin that no small basis holds: changes of log melanin and log haemoglobin over the atlas.

Each function draws one kind of mark and returns its two maps. Places, sizes and strengths follow what dermatology
describes (melasma: malar, frontal and upper-lip patterns; vitiligo: around eyes and mouth, sharp borders; dermatosis
papulosa nigra in place of freckles on dark skin); numbers were set by looking at the pictures.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.evaluate.mark_canvas import Canvas, Map
from facealbedo.core.face_model.skin_maps import smoothstep

# (log melanin, log haemoglobin)
Chromophores = Float[Tensor, "2 height width"]
# From this ITA group on skin is dark: freckles become papules, spots heal brown.
_DARK = 3
# Log melanin of freckles, and of skin without melanocytes.
_FRECKLE = math.log(0.09)
_WITHOUT_MELANIN = math.log(0.0035)


def freckles(canvas: Canvas, skin: Chromophores) -> Chromophores:
    """Freckles over nose and cheeks on light skin; small dark papules on the cheeks on dark skin."""
    dark = canvas.darkness >= _DARK
    cheeks = canvas.blob(38, -22, 15, 13) + canvas.blob(-38, -22, 15, 13)
    zone = cheeks if dark else canvas.field("freckle_zone") + 0.1 * canvas.field("core_skin")
    count = canvas.count(25, 60) if dark else canvas.count(220, 420)
    texels = [canvas.draw_texel(zone) for _ in range(count)]
    radii = [canvas.uniform(0.7, 1.5) if dark else 0.55 + 0.9 * canvas.uniform(0, 1) ** 2 for _ in texels]
    total = canvas.spots(texels, radii, [canvas.uniform(0.4, 1.0) for _ in texels], 1.5)
    if dark:
        return _both(canvas.uniform(0.9, 1.4) * total, 0.0)
    # As brown as tanned skin, however light the skin around is.
    return _both(total * (_FRECKLE + canvas.uniform(-0.3, 0.3) - skin[0]).clamp(min=0.5), 0.0)


def moles(canvas: Canvas, skin: Chromophores) -> Chromophores:
    """Four to nine moles, dark brown, up to 5 mm across."""
    texels = [canvas.draw_texel() for _ in range(canvas.count(4, 9))]
    radii = [canvas.uniform(0.9, 2.5) for _ in texels]
    total = canvas.spots(texels, radii, [canvas.uniform(0.7, 1.0) for _ in texels], 1.3)
    return _both(total * (math.log(0.6) - skin[0]).clamp(min=0.4), 0.0)


def birthmark(canvas: Canvas, skin: Chromophores) -> Chromophores:
    """One patch of 12 to 40 mm: coffee-brown, or red like port wine."""
    radius = canvas.uniform(7, 18)
    side = canvas.side()
    places = canvas.blob(side * 40, -30, 18, 30) + canvas.blob(side * 25, 45, 18, 12)
    patch = canvas.patch(canvas.point(canvas.draw_texel(places)), radius, 0.28, 0.12)
    if canvas.chance(0.5):
        return _both(canvas.uniform(0.6, 1.0) * patch, 0.1 * patch)
    return _both(0.1 * patch, canvas.uniform(0.8, 1.2) * patch)


def blush(canvas: Canvas, skin: Chromophores) -> Chromophores:
    """Redness of cheeks and nose, mottled, not the same on both sides."""
    left, right = canvas.uniform(0.5, 1.0), canvas.uniform(0.5, 1.0)
    cheeks = left * canvas.blob(42, -28, 14, 13) + right * canvas.blob(-42, -28, 14, 13)
    nose = canvas.uniform(0.2, 0.9) * canvas.blob(0, -38, 11, 11)
    mottled = (1 + 0.22 * canvas.noise(4.0) + 0.15 * canvas.noise(1.6)).clamp(0.3, 1.7)
    return _both(0.0, canvas.uniform(0.7, 1.1) * (cheeks + nose) * mottled)


def dark_circles(canvas: Canvas, skin: Chromophores) -> Chromophores:
    """Crescents below the eyes, brown and blue-red."""
    x, y, z = canvas.points_mm
    ring = (((x.abs() - 30) / 21).square() + ((y + 1) / 15).square()).sqrt()
    crescent = torch.exp(-0.5 * ((ring - 1.0) / 0.24).square()) * smoothstep(1.0, -8.0, y) * smoothstep(-30.0, -10.0, z)
    inner = canvas.blob(15, -7, 5, 7) + canvas.blob(-15, -7, 5, 7)
    total = (crescent + 0.3 * inner) * (1 + 0.12 * canvas.noise(5.0))
    return _both(canvas.uniform(0.35, 0.65) * total, canvas.uniform(0.3, 0.6) * total)


def vitiligo(canvas: Canvas, skin: Chromophores) -> Chromophores:
    """Patches without melanin with sharp borders, about eyes, mouth, chin and forehead; often on both sides alike."""
    places = ((32.0, -4.0), (26.0, -76.0), (0.0, -100.0), (22.0, 48.0), (48.0, -45.0), (8.0, 16.0), (58.0, -10.0))
    order = torch.randperm(len(places), generator=canvas.generator).tolist()
    total = torch.zeros_like(skin[0])
    for index in order[: canvas.count(2, 4)]:
        x, y = places[index]
        side, both = canvas.side(), canvas.chance(0.6)
        for sign in (side, -side) if both else (side,):
            near = canvas.blob(sign * x, y, 4, 4)
            patch = canvas.patch(canvas.point(canvas.draw_texel(near)), canvas.uniform(5, 10), 0.34, 0.1)
            total = torch.maximum(total, patch)
    share = canvas.uniform(0.85, 1.0) * total
    return _both(share * (_WITHOUT_MELANIN - skin[0]).clamp(max=0.0), 0.05 * share)


def melasma(canvas: Canvas, skin: Chromophores) -> Chromophores:
    """Brown patches with lacy borders on cheeks, forehead and upper lip."""
    zone = torch.zeros_like(skin[0])
    for x, y, width, height in ((42, -24, 15, 9), (-42, -24, 15, 9), (0, 46, 30, 9), (0, -58, 17, 4)):
        if canvas.chance(0.8):
            zone = torch.maximum(zone, canvas.uniform(0.75, 1.15) * canvas.blob(x, y, width, height))
    lace = 0.12 * canvas.noise(7.0) + 0.06 * canvas.noise(2.6)
    total = smoothstep(0.22, 0.72, zone + lace)
    return _both(canvas.uniform(0.55, 0.9) * total, 0.0)


def scar(canvas: Canvas, skin: Chromophores) -> Chromophores:
    """One or two thin lines, 18 to 45 mm long, pale or pink."""
    x, y, z = canvas.points_mm
    total = torch.zeros_like(x)
    for _ in range(canvas.count(1, 2)):
        side = canvas.side()
        where = canvas.blob(side * 36, -35, 12, 22) + canvas.blob(side * 22, 45, 14, 10)
        middle = canvas.point(canvas.draw_texel(where))
        angle, length = canvas.uniform(0.3, math.pi - 0.3), canvas.uniform(18, 45)
        along = math.cos(angle) * (x - middle[0]) + math.sin(angle) * (y - middle[1])
        across = math.cos(angle) * (y - middle[1]) - math.sin(angle) * (x - middle[0])
        bent = across + canvas.uniform(-0.015, 0.015) * along.square() + 0.5 * canvas.noise(9.0)
        line = smoothstep(1.5, 0.4, bent.abs() / canvas.uniform(0.8, 1.5))
        total = torch.maximum(total, line * smoothstep(0.55, 0.42, along.abs() / length))
    total = total * smoothstep(-45.0, -20.0, z)
    if canvas.chance(0.5):
        return _both(-canvas.uniform(0.5, 0.9) * total, -canvas.uniform(0.5, 0.8) * total)
    return _both(-0.3 * total, canvas.uniform(0.5, 0.9) * total)


def acne(canvas: Canvas, skin: Chromophores) -> Chromophores:
    """Inflamed spots on cheeks, chin and forehead; on dark skin also the brown marks that they leave."""
    zone = sum((canvas.blob(*place) for place in ((44, -40, 14, 18), (-44, -40, 14, 18), (0, 45, 28, 10))), 0 * skin[0])
    zone = zone + canvas.blob(0, -102, 14, 8)
    brown_share = 0.6 if canvas.darkness >= _DARK else 0.0
    texels = [canvas.draw_texel(zone) for _ in range(canvas.count(18, 45))]
    radii = [canvas.uniform(0.8, 2.4) for _ in texels]
    heights = [canvas.uniform(0.4, 1.0) for _ in texels]
    healed = [canvas.chance(brown_share) for _ in texels]
    red = canvas.spots(texels, radii, [0.0 if old else height for old, height in zip(healed, heights, strict=True)])
    brown = canvas.spots(texels, radii, [height if old else 0.0 for old, height in zip(healed, heights, strict=True)])
    return _both(0.8 * brown, 0.95 * red)


def uneven_tan(canvas: Canvas, skin: Chromophores) -> Chromophores:
    """One half of the face darker and redder than the other, as behind a car's window."""
    x, y, _ = canvas.points_mm
    slope = canvas.side() * (smoothstep(-40.0, 40.0, x + 0.3 * y) - 0.5)
    wander = 0.15 * canvas.noise(28.0)
    # The same relative change of melanin shows more on dark skin.
    calm = 1 - 0.11 * canvas.darkness
    return _both(calm * canvas.uniform(0.6, 1.0) * (slope + wander), canvas.uniform(0.2, 0.5) * (slope + wander))


Mark = Callable[[Canvas, Chromophores], Chromophores]
SKIN_MARKS: Mapping[str, Mark] = {
    "freckles": freckles,
    "moles": moles,
    "birthmark": birthmark,
    "blush": blush,
    "dark_circles": dark_circles,
    "vitiligo": vitiligo,
    "melasma": melasma,
    "scar": scar,
    "acne": acne,
    "uneven_tan": uneven_tan,
}


def _both(melanin: Map | float, haemoglobin: Map | float) -> Chromophores:
    """Stack the two maps; a number stands for an even one."""
    like = melanin if isinstance(melanin, Tensor) else haemoglobin
    assert isinstance(like, Tensor)  # noqa: S101 (one of the two is a map)
    maps = [value if isinstance(value, Tensor) else torch.full_like(like, value) for value in (melanin, haemoglobin)]
    return torch.stack(maps)
