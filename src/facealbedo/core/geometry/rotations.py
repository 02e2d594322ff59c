"""Rotation matrices: axis-angle, Euler angles, random rotations.

All matrices act on column vectors (``x' = R @ x``). Frames are those of `facealbedo.core.types`: x right in the image,
y up, the face looks along +z, the camera along -z, so that a frontal face has the identity as its rotation.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_SMALL_ANGLE_SQUARED = 1e-4  # below, the series is exact to rounding in float64 (next term: angle^6 / 5040)


def skew(vectors: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Return the matrix of the cross product, ``skew(a) @ b == a x b``."""
    x, y, z = vectors.unbind(dim=-1)
    zero = torch.zeros_like(x)
    rows = (zero, -z, y, z, zero, -x, -y, x, zero)
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def axis_angle_to_matrix(axis_angle: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 3 3"]:
    """Exponential map (Rodrigues' formula): rotation about ``axis_angle`` by its length, in radians, right-handed.

    Smooth everywhere, also at the zero vector, where a series replaces sin(t)/t and (1 - cos t)/t².
    """
    squared = (axis_angle * axis_angle).sum(dim=-1)
    small = squared < _SMALL_ANGLE_SQUARED
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    sine_term = torch.where(small, 1 - squared / 6 + squared**2 / 120, angle.sin() / angle)
    # 2 sin²(t/2) = 1 - cos t without cancellation.
    cosine_term = torch.where(small, 0.5 - squared / 24 + squared**2 / 720, 2 * (angle / 2).sin() ** 2 / angle**2)
    cross = skew(axis_angle)
    identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    return identity + sine_term[..., None, None] * cross + cosine_term[..., None, None] * (cross @ cross)


def euler_degrees_to_matrix(
    yaw: Float[Tensor, "*batch"], pitch: Float[Tensor, "*batch"], roll: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """Return ``R_y(yaw) @ R_x(pitch) @ R_z(roll)``, each right-handed, angles in degrees.

    In the view frame: yaw > 0 turns the face to the right of the image, pitch > 0 turns it down, roll > 0 tilts the top
    of the head to the left of the image.
    """
    y, p, r = (torch.deg2rad(angle) for angle in (yaw, pitch, roll))
    zero = torch.zeros_like(y)
    return (
        axis_angle_to_matrix(torch.stack((zero, y, zero), dim=-1))
        @ axis_angle_to_matrix(torch.stack((p, zero, zero), dim=-1))
        @ axis_angle_to_matrix(torch.stack((zero, zero, r), dim=-1))
    )


def matrix_to_euler_degrees(
    rotation: Float[Tensor, "*batch 3 3"],
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """Return (yaw, pitch, roll) in degrees; the inverse of `euler_degrees_to_matrix` (see there for the signs).

    Yaw and roll lie in (-180, 180], pitch in [-90, 90]. At a pitch of ±90° yaw and roll turn about the same axis; they
    are then not unique.
    """
    yaw = torch.atan2(rotation[..., 0, 2], rotation[..., 2, 2])
    # atan2 keeps full accuracy near ±90°, where arcsin loses half of the digits.
    horizontal = torch.hypot(rotation[..., 0, 2], rotation[..., 2, 2])
    pitch = torch.atan2(-rotation[..., 1, 2], horizontal)
    roll = torch.atan2(rotation[..., 1, 0], rotation[..., 1, 1])
    return torch.rad2deg(yaw), torch.rad2deg(pitch), torch.rad2deg(roll)


def rotation_angle_degrees(
    rotation: Float[Tensor, "*batch 3 3"], other: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch"]:
    """Return the angle of the rotation that takes ``rotation`` to ``other``, in degrees, in [0, 180]."""
    relative = other @ rotation.transpose(-1, -2)
    antisymmetric = relative - relative.transpose(-1, -2)
    twice_axis_sine = torch.stack(
        (antisymmetric[..., 2, 1], antisymmetric[..., 0, 2], antisymmetric[..., 1, 0]), dim=-1
    )
    twice_cosine = relative.diagonal(dim1=-2, dim2=-1).sum(dim=-1) - 1
    return torch.rad2deg(torch.atan2(torch.linalg.vector_norm(twice_axis_sine, dim=-1), twice_cosine))


def random_rotations(
    count: int, generator: torch.Generator | None = None, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "count 3 3"]:
    """Draw rotations uniformly (Haar measure), on the device of ``generator`` (the CPU without one)."""
    device = torch.device("cpu") if generator is None else generator.device
    quaternions = torch.randn(count, 4, generator=generator, dtype=dtype, device=device)
    w, x, y, z = torch.nn.functional.normalize(quaternions, dim=-1).unbind(dim=-1)
    # Axis-angle by way of the half angle: exact, and the exponential map then does the rest.
    sine = torch.linalg.vector_norm(torch.stack((x, y, z), dim=-1), dim=-1)
    angle = 2 * torch.atan2(sine, w)
    factor = angle / sine.clamp_min(torch.finfo(dtype).tiny)
    return axis_angle_to_matrix(torch.stack((x, y, z), dim=-1) * factor[:, None])
