"""From the world to the view frame, and from there to pixels, with the camera of `facealbedo.core.types`."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.types import Camera, Pose


def world_to_view(vertices_world: Float[Tensor, "batch vertex 3"], pose: Pose) -> Float[Tensor, "batch vertex 3"]:
    """Apply a rigid motion: ``x_view = rotation @ x_world + translation``, metres in both frames.

    Directions (normals) need the rotation only: `rotate_to_view`.
    """
    return rotate_to_view(vertices_world, pose) + pose.translation[:, None, :]


def rotate_to_view(vectors_world: Float[Tensor, "batch vertex 3"], pose: Pose) -> Float[Tensor, "batch vertex 3"]:
    """Turn directions (normals, tangents) from the world into the view frame; lengths are kept."""
    return vectors_world @ pose.rotation.transpose(-1, -2)


def view_to_world(vertices_view: Float[Tensor, "batch vertex 3"], pose: Pose) -> Float[Tensor, "batch vertex 3"]:
    """Invert `world_to_view`."""
    return (vertices_view - pose.translation[:, None, :]) @ pose.rotation


def project(points_view: Float[Tensor, "batch point 3"], camera: Camera) -> Float[Tensor, "batch point 2"]:
    """Project points of the view frame (metres) to pixels (x right, y down, first pixel's centre at 0.5, 0.5).

    ``x_px = f x / (-z) + cx``, ``y_px = -f y / (-z) + cy``. Only points before the camera (z < 0) have an image: for
    others the formula still gives a number (mirrored behind the camera, infinite in its plane), which means nothing.
    Not checked here, because a check would make the device wait.
    """
    depth = -points_view[..., 2:]
    flipped = torch.stack((points_view[..., 0], -points_view[..., 1]), dim=-1)
    return camera.focal_px[:, None, None] * flipped / depth + camera.principal_px[:, None, :]


def unproject(
    points_px: Float[Tensor, "batch point 2"], depth: Float[Tensor, "batch point"], camera: Camera
) -> Float[Tensor, "batch point 3"]:
    """Invert `project`: the points of the view frame (metres) at these pixels and depths (-z, metres)."""
    offset = (points_px - camera.principal_px[:, None, :]) * (depth / camera.focal_px[:, None])[..., None]
    return torch.stack((offset[..., 0], -offset[..., 1], -depth), dim=-1)
