"""What a scene file holds, whatever its format: objects made of triangle lists with materials and morph targets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

NEUTRAL_IOR = 1.5


@dataclass(frozen=True)
class Image:
    """An encoded picture: ``data`` is a whole PNG or JPEG file."""

    name: str
    mime_type: str
    data: bytes


@dataclass(frozen=True)
class Material:
    """A dielectric surface of the metallic-roughness model.

    * ``base_colour``: linear RGB factor, multiplied with ``base_image`` (sRGB, first texture coordinates).
    * ``ior``: index of refraction; `NEUTRAL_IOR` is what glTF assumes when no extension says otherwise.
    * ``occlusion_image``: red channel is the share of ambient light that arrives (linear).
    """

    name: str
    base_colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    roughness: float = 0.5
    ior: float = NEUTRAL_IOR
    double_sided: bool = False
    base_image: Image | None = None
    occlusion_image: Image | None = None


@dataclass(frozen=True)
class Morphs:
    """Offsets of one primitive's vertices for every morph target of its mesh (metres)."""

    position_deltas: Float[np.ndarray, "target vertex 3"]
    normal_deltas: Float[np.ndarray, "target vertex 3"] | None = None


@dataclass(frozen=True)
class Primitive:
    """One indexed triangle list with one material; ``uv`` has v down, as glTF wants it."""

    positions: Float[np.ndarray, "vertex 3"]
    normals: Float[np.ndarray, "vertex 3"]
    uv: Float[np.ndarray, "vertex 2"] | None
    triangles: Int[np.ndarray, "triangle 3"]
    material: Material
    morphs: Morphs | None = None


@dataclass(frozen=True)
class MeshNode:
    """One object of the scene: a mesh placed at ``translation`` (metres, +y up).

    ``target_names`` and ``target_weights`` belong to the morph targets of all its primitives, in order.
    """

    name: str
    primitives: tuple[Primitive, ...]
    translation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    target_names: tuple[str, ...] = ()
    target_weights: tuple[float, ...] = ()
    extras: Mapping[str, Any] = field(default_factory=dict)
