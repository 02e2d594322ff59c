"""The fitted mesh over the photo: how well do form, features and light agree with what was seen."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from facealbedo.core.export.appearance import filled_map, read_map, surface_look
from facealbedo.core.export.config import ExportConfig
from facealbedo.core.export.textures import srgb8_from_linear
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.geometry.projection import world_to_view
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.interpolate import interpolate
from facealbedo.core.render.shade import shading_global
from facealbedo.core.render.uv import bake_region
from facealbedo.core.types import Camera, FaceAsset

RENDER_SHARE = 0.6
GRID_LINES = 32
GRID_STRENGTH = 0.25
# Borders of regions that can be checked by eye against the photo, and their sRGB colours.
OUTLINES: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("lips", (255, 120, 110)),
    ("lids", (120, 210, 255)),
    ("brows", (255, 220, 120)),
    ("nose", (190, 255, 170)),
)
OUTLINE_STRENGTH = 0.8
_MAP_PX = 512


@dataclass(frozen=True)
class Overlay:
    """``photo`` and ``overlay`` in sRGB; ``error``: mean absolute difference of render and photo on the skin, 0-255."""

    photo: UInt8[np.ndarray, "height width 3"]
    overlay: UInt8[np.ndarray, "height width 3"]
    error: float


def draw_overlay(
    asset: FaceAsset,
    photo: Float[Tensor, "3 height width"],
    model: FaceModel,
    config: ExportConfig,
    openness: Float[Tensor, "vertex"] | None = None,
) -> Overlay:
    """Render albedo times light over the photo, with a grid of the atlas and the borders of features as fine lines.

    Args:
        asset: one face; its camera belongs to the photo.
        photo: linear RGB, of the camera's size.
        model: the face model that it was fitted with.
        config: size of the picture and colour of the iris.
        openness: share of the sky that each vertex sees, if the light was fitted with it.

    Raises:
        ValueError: photo and camera differ in size.
    """
    if tuple(photo.shape[1:]) != (asset.camera.height, asset.camera.width):
        raise ValueError(
            f"the photo is {tuple(photo.shape[1:])}, the camera {(asset.camera.height, asset.camera.width)} pixels"
        )
    small, camera = _shrunk(photo, asset.camera, config.overlay_px)
    vertices_view = world_to_view(asset.vertices_world, asset.pose)
    fragments, gbuffer = render_gbuffer(model, vertices_view, camera)
    look = surface_look(filled_map(asset.uv_albedo, model, _MAP_PX), model, fragments, gbuffer, vertices_view, config)
    occlusion = None if openness is None else interpolate(fragments, model.triangles, openness[None, :, None])
    shading = shading_global(asset.lighting, gbuffer.normal_view, ambient_occlusion=occlusion)
    rendered = srgb8_from_linear((look.albedo * shading)[0])
    base = srgb8_from_linear(small)
    coverage = gbuffer.coverage[0, 0].numpy()
    skin = gbuffer.skin_coverage[0, 0].numpy()
    error = float(np.abs(rendered[skin].astype(np.float32) - base[skin]).mean()) if skin.any() else float("nan")
    share = RENDER_SHARE * cv2.blur(coverage.astype(np.float32), (3, 3))[..., None]
    mixed = base + share * (rendered.astype(np.float32) - base)
    uv = gbuffer.uv[0].movedim(0, -1).numpy()
    mixed = _blend(mixed, (255, 255, 255), GRID_STRENGTH * _grid(uv, skin))
    for name, colour in OUTLINES:
        if name in model.region_names:
            region = read_map(bake_region(model, name, _MAP_PX)[None, None], gbuffer.uv)[0, 0].numpy()
            mixed = _blend(mixed, colour, OUTLINE_STRENGTH * _level_line(region, 0.5, skin))
    return Overlay(base, np.clip(mixed + 0.5, 0, 255).astype(np.uint8), error)


def _shrunk(
    photo: Float[Tensor, "3 height width"], camera: Camera, largest: int
) -> tuple[Float[Tensor, "3 small_height small_width"], Camera]:
    """Return photo and camera at a size whose larger side is at most ``largest``."""
    scale = min(1.0, largest / max(camera.height, camera.width))
    if scale == 1.0:
        return photo, camera
    height, width = max(round(camera.height * scale), 1), max(round(camera.width * scale), 1)
    picture = cv2.resize(photo.movedim(0, -1).contiguous().numpy(), (width, height), interpolation=cv2.INTER_AREA)
    scale_xy = photo.new_tensor([width / camera.width, height / camera.height])
    smaller = Camera(camera.focal_px * scale_xy.mean(), camera.principal_px * scale_xy, height, width)
    return torch.from_numpy(picture).movedim(-1, 0), smaller


def _grid(uv: Float[np.ndarray, "height width 2"], inside: Bool[np.ndarray, "height width"]) -> np.ndarray:
    """Strength in [0, 1] of lines of constant atlas coordinates, about a pixel wide."""
    lines = np.zeros(inside.shape, np.float32)
    for axis in (0, 1):
        phase = uv[..., axis] * GRID_LINES
        slope = _slope(phase)
        distance = np.abs(phase - np.round(phase)) / np.maximum(slope, 1e-6)
        line = np.clip(1.1 - distance, 0, 1)
        # Where lines would crowd (the rim) or the atlas is cut, they are left out.
        lines = np.maximum(lines, line * np.clip(2 - 8 * slope, 0, 1))
    return np.asarray(lines * _interior(inside))


def _level_line(
    values: Float[np.ndarray, "height width"], level: float, inside: Bool[np.ndarray, "height width"]
) -> np.ndarray:
    """Strength in [0, 1] of the line on which ``values`` pass ``level``, about two pixels wide."""
    slope = _slope(values)
    distance = np.abs(values - level) / np.maximum(slope, 1e-4)
    return np.asarray(np.clip(1.5 - distance, 0, 1) * (slope > 1e-3) * _interior(inside))


def _slope(values: np.ndarray) -> np.ndarray:
    down, right = np.gradient(values)
    return np.hypot(down, right)


def _interior(inside: Bool[np.ndarray, "height width"]) -> np.ndarray:
    return cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(np.float32)


def _blend(image: np.ndarray, colour: tuple[int, int, int], share: np.ndarray) -> np.ndarray:
    return np.asarray(image + share[..., None] * (np.asarray(colour, np.float32) - image))
