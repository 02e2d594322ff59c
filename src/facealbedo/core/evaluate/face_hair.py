"""Brows, beards and make-up of other shapes and places than the prior has, painted over the skin.

Every face of the benchmark has brows of its own; beards and make-up are among its marks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.evaluate.mark_canvas import Canvas, Map
from facealbedo.core.face_model.skin_maps import smoothstep

Colour = Float[Tensor, "3"]
# Linear albedo of lipsticks and eye shadows.
_LIPSTICKS = ((0.44, 0.03, 0.06), (0.30, 0.02, 0.10), (0.55, 0.14, 0.10), (0.22, 0.05, 0.03), (0.50, 0.10, 0.22))
_SHADOWS = ((0.10, 0.14, 0.30), (0.20, 0.09, 0.05), (0.07, 0.07, 0.08), (0.08, 0.22, 0.16), (0.35, 0.15, 0.25))
_ROUGE = (0.55, 0.13, 0.12)


@dataclass(frozen=True)
class Paint:
    """A layer over the skin: a linear colour, and how much of the skin it hides."""

    colour: Colour
    alpha: Map

    def over(self, albedo: Float[Tensor, "3 height width"]) -> Float[Tensor, "3 height width"]:
        """Return an albedo map with the layer on it."""
        return torch.lerp(albedo, self.colour.to(albedo)[:, None, None].expand_as(albedo), self.alpha)


def brows(canvas: Canvas, hair: Colour) -> Paint:
    """Two brows, not quite alike: height, arch, tilt, length, thickness and density are drawn for each face."""
    base = canvas.uniform(8.0, 15.0)
    arch, tilt = canvas.uniform(0.2, 1.7), canvas.uniform(-0.12, 0.12)
    peak, inner, outer = canvas.uniform(30, 47), canvas.uniform(6, 15), canvas.uniform(48, 68)
    thick, density = canvas.uniform(0.55, 1.7), canvas.uniform(0.4, 0.97)
    patchy = canvas.uniform(0.0, 0.35)
    x, y, z = canvas.points_mm
    alpha = torch.zeros_like(x)
    for side in (-1.0, 1.0):
        along = side * x
        height, more = base + canvas.uniform(-1.2, 1.2), tilt + canvas.uniform(-0.04, 0.04)
        line = height + 5.5 * arch * (1 - ((along - peak) / 28).square()) + more * (along - 30)
        share = ((outer - along) / (outer - inner)).clamp(0, 1)
        width = thick * (1.1 + 3.2 * share.sqrt() * smoothstep(inner - 3, inner + 8, along))
        across = y - line
        body = smoothstep(1.25, 0.35, across.abs() / width) * smoothstep(inner - 3, inner + 3, along)
        body = body * smoothstep(outer + 2, outer - 7, along) * smoothstep(-28.0, -12.0, z)
        # Hairs rise near the nose and lie down towards the temple.
        rising, lying = (_strands(canvas, along, across, side, angle) for angle in (math.radians(58), math.radians(8)))
        hairs = torch.lerp(rising, lying, smoothstep(inner + 2, inner + 14, along))
        alpha = torch.maximum(alpha, body * (0.62 + 0.38 * smoothstep(-0.9, 0.7, hairs + 1.2 * (body - 0.5))))
    gaps = 1 - patchy * smoothstep(-0.2, 1.2, canvas.noise(4.5))
    return Paint(hair, (density * alpha * gaps).clamp(0, 1))


def _strands(canvas: Canvas, along: Map, across: Map, side: float, angle: float) -> Map:
    """Noise drawn out along hairs of one direction (radians above the horizontal, outward), its own on either side."""
    lengthwise = along * math.cos(angle) + across * math.sin(angle)
    crosswise = across * math.cos(angle) - along * math.sin(angle)
    return canvas.noise_at(torch.stack([lengthwise / 6, crosswise, torch.full_like(along, 90 * side)]), 1.0)


def beard(canvas: Canvas, hair: Colour) -> Paint:
    """Stubble, moustache, goatee, chin strap or full beard, each with borders of its own."""
    kind = ("stubble", "moustache", "goatee", "strap", "full")[canvas.count(0, 4)]
    where = {
        "stubble": [_full(canvas)],
        "moustache": [_moustache(canvas)],
        "goatee": [_moustache(canvas), _chin(canvas)],
        "strap": [_strap(canvas), _chin(canvas)],
        "full": [_full(canvas)],
    }[kind]
    zone = torch.stack(where).amax(0) * (1 - smoothstep(0.2, 0.6, canvas.field("lips")))
    ragged = (zone + 0.9 * canvas.noise(5.0) * zone * (1 - zone)).clamp(0, 1)
    grey = torch.tensor((0.34, 0.30, 0.25)) if canvas.chance(0.2) else hair
    if kind == "stubble":
        dots = smoothstep(-0.7, 0.9, canvas.noise(1.0))
        return Paint(grey, canvas.uniform(0.25, 0.55) * ragged * (0.35 + 0.65 * dots))
    strands = smoothstep(-1.3, 0.7, canvas.noise(1.0, stretch=(1.2, 6.0, 2.0)) + ragged - 0.6)
    return Paint(grey, canvas.uniform(0.65, 0.92) * ragged * (0.65 + 0.35 * strands))


def _moustache(canvas: Canvas) -> Map:
    x, y, z = canvas.points_mm
    half, droop = canvas.uniform(24, 36), canvas.uniform(0.0, 0.35)
    top = -50.5 - 0.009 * x.square() - droop * (x.abs() - 15).clamp(min=0)
    band = smoothstep(1.5, -3.0, y - top) * smoothstep(-22.0, -16.0, y - top)
    return band * smoothstep(half + 3, half - 4, x.abs()) * smoothstep(-30.0, -10.0, z)


def _chin(canvas: Canvas) -> Map:
    x, y, z = canvas.points_mm
    width, height = canvas.uniform(12, 24), canvas.uniform(11, 18)
    middle = -101.0 + canvas.uniform(-2, 3)
    oval = ((x / width).square() + ((y - middle) / height).square()).sqrt()
    return smoothstep(1.15, 0.9, oval) * smoothstep(-60.0, -30.0, z)


def _strap(canvas: Canvas) -> Map:
    x, y, _ = canvas.points_mm
    line = -112.0 + canvas.uniform(-2, 3) + 40 * (x / 66).square() + 60 * ((x.abs() - 62) / 10).clamp(min=0)
    return smoothstep(1.3, 0.8, (y - line).abs() / canvas.uniform(6, 12)) * smoothstep(-8.0, -20.0, y)


def _full(canvas: Canvas) -> Map:
    x, y, z = canvas.points_mm
    level, sides = canvas.uniform(-78, -55), canvas.uniform(0.5, 1.4)
    edge = level + sides * (x.abs() - 45).clamp(min=0)
    cheeks = smoothstep(4.0, -6.0, y - edge) * smoothstep(20.0, 34.0, x.abs())
    low = smoothstep(-84.0, -91.0, y)
    below = smoothstep(-132.0, -112.0, y + 0.45 * (20 - z).clamp(min=0))
    return torch.stack([cheeks, low, _moustache(canvas)]).amax(0) * below * smoothstep(-8.0, -20.0, y)


def make_up(canvas: Canvas) -> list[Paint]:
    """Lipstick that need not keep to the lips' border, eye shadow above the eyes, a line along the lashes, rouge."""
    x, y, z = canvas.points_mm
    lips = smoothstep(*((0.15, 0.45) if canvas.chance(0.4) else (0.3, 0.7)), canvas.field("lips"))
    paints = [Paint(_tint(canvas, _LIPSTICKS), canvas.uniform(0.6, 0.92) * lips)]
    reach, wing = canvas.uniform(9, 15), canvas.uniform(0.0, 0.25)
    rise = y - wing * (x.abs() - 34).clamp(min=0)
    lid = (((x.abs() - 31) / 19).square() + ((rise - 2) / reach).square()).sqrt()
    upper = smoothstep(1.1, 0.55, lid) * smoothstep(-2.0, 1.0, rise) * smoothstep(-35.0, -15.0, z)
    paints.append(Paint(_tint(canvas, _SHADOWS), canvas.uniform(0.45, 0.8) * upper))
    if canvas.chance(0.6):
        rim = (((x.abs() - 31) / 15.5).square() + ((rise - 0.5) / 6.5).square()).sqrt()
        liner = smoothstep(0.22, 0.08, (rim - 1.0).abs()) * smoothstep(-1.0, 1.5, rise) * smoothstep(-35.0, -15.0, z)
        paints.append(Paint(torch.tensor((0.02, 0.02, 0.02)), 0.75 * liner))
    if canvas.chance(0.6):
        rouge = canvas.blob(44, -28, 15, 8) + canvas.blob(-44, -28, 15, 8)
        paints.append(Paint(torch.tensor(_ROUGE), canvas.uniform(0.2, 0.4) * rouge))
    return paints


def _tint(canvas: Canvas, colours: tuple[tuple[float, float, float], ...]) -> Colour:
    """One of the colours, a little lighter or darker."""
    chosen = torch.tensor(colours[canvas.count(0, len(colours) - 1)])
    return chosen * math.exp(canvas.uniform(-0.3, 0.3))
