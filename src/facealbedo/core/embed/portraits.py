"""Plain portraits of random heads, good enough for a landmark detector.

Skin of one random tone with soft mottling, lips from MakeHuman's lip mask, brows painted as two arcs, iris and pupil on
the eyeballs, one light from the front and an ambient one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from facealbedo.core.colour import linear_to_srgb
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.geometry.projection import world_to_view
from facealbedo.core.geometry.rotations import euler_degrees_to_matrix
from facealbedo.core.render.interpolate import interpolate
from facealbedo.core.render.rasterize import get_rasterizer
from facealbedo.core.types import Camera, Fragments, Pose

# Centre line of a brow on the mean face (x away from the mid-line, y above the eyes' centres; metres): an arch along
# the upper edge of the orbit. Photos correct where the landmarks of the brows lie.
BROW_ARC = ((0.011, 0.0115), (0.020, 0.0155), (0.031, 0.0180), (0.042, 0.0165), (0.050, 0.0115))
BROW_HALF_WIDTH = 0.0035


@dataclass(frozen=True)
class PortraitConfig:
    """How the portraits are drawn.

    Args:
        count: number of portraits.
        size_px: width and height.
        seed: of torch's generator.
        identity_std: standard deviation of the identity coefficients.
        yaw_degrees, pitch_degrees, roll_degrees: greatest angles. Turned heads say less: landmarks slide.
        field_of_view_degrees: of the camera; with ``face_height`` it sets the distance, here 1.2 m.
        face_height: height of the frame at the head (metres).
    """

    count: int = 160
    size_px: int = 512
    seed: int = 3
    identity_std: float = 0.45
    yaw_degrees: float = 10.0
    pitch_degrees: float = 15.0
    roll_degrees: float = 8.0
    field_of_view_degrees: float = 14.25
    face_height: float = 0.30


@dataclass(frozen=True)
class Portrait:
    """A rendered head.

    Args:
        image_srgb: what a detector sees, 8-bit sRGB.
        fragments: which triangle of the model is at each pixel (batch of one).
    """

    image_srgb: UInt8[Tensor, "height width 3"]
    fragments: Fragments


def draw_portraits(model: FaceModel, lip_paint: Float[Tensor, "vertex"], config: PortraitConfig) -> Iterator[Portrait]:
    """Draw random heads with a neutral expression, one after the other.

    Args:
        model: the face model (CPU); it needs no landmarks.
        lip_paint: how much lip each vertex is, in [0, 1].
        config: see there.
    """
    generator = torch.Generator().manual_seed(config.seed)
    rasterizer = get_rasterizer("auto", model.device)
    expression = torch.zeros(1, model.n_expression)
    paint = (lip_paint, _brow_paint(model.mean))
    for _ in range(config.count):
        identity = config.identity_std * torch.randn(1, model.n_identity, generator=generator)
        vertices = model.decode(identity, expression)
        angles = 2.0 * torch.rand(3, 1, generator=generator) - 1.0
        pose, camera = _pose_and_camera(angles, vertices, config)
        view = world_to_view(vertices, pose)
        fragments = rasterizer.rasterize(view, model.triangles, camera)
        albedo = _albedo(model, fragments, paint, generator)
        normals = interpolate(fragments, model.triangles, model.normals(view))
        image = _lit(albedo, normals, fragments, generator)
        bytes_srgb = (255.0 * linear_to_srgb(image.clamp(0.0, 1.0))).round().to(torch.uint8)
        yield Portrait(image_srgb=bytes_srgb[0].permute(1, 2, 0).contiguous(), fragments=fragments)


def _pose_and_camera(
    angles: Float[Tensor, "3 1"], vertices: Float[Tensor, "1 vertex 3"], config: PortraitConfig
) -> tuple[Pose, Camera]:
    """Look at the middle of the head from where it fills the frame."""
    yaw, pitch, roll = angles * torch.tensor([[config.yaw_degrees], [config.pitch_degrees], [config.roll_degrees]])
    rotation = euler_degrees_to_matrix(yaw, pitch, roll)
    half_angle = torch.deg2rad(torch.tensor(0.5 * config.field_of_view_degrees))
    distance = 0.5 * config.face_height / torch.tan(half_angle)
    middle = torch.tensor([0.0, -0.035, -0.05])
    translation = -(rotation @ middle) + torch.tensor([0.0, 0.0, 1.0]) * -distance
    focal = 0.5 * config.size_px / torch.tan(half_angle)
    centre = 0.5 * config.size_px
    camera = Camera(focal[None], torch.full((1, 2), centre), config.size_px, config.size_px)
    return Pose(rotation, translation), camera


def _brow_paint(mean: Float[Tensor, "vertex 3"]) -> Float[Tensor, "vertex"]:
    """How much brow each vertex is: near the arcs, seen from the front."""
    arc = torch.tensor(BROW_ARC)
    points = torch.stack([mean[:, 0].abs(), mean[:, 1]], dim=1)
    start, edge = arc[:-1], arc[1:] - arc[:-1]
    along = ((points[:, None] - start) * edge).sum(-1) / (edge * edge).sum(-1)
    nearest = start + along.clamp(0.0, 1.0)[..., None] * edge
    distance = torch.linalg.vector_norm(points[:, None] - nearest, dim=-1).amin(dim=1)
    on_front = mean[:, 2] > -0.03
    return torch.sigmoid((BROW_HALF_WIDTH - distance) / 0.0007) * on_front


def _albedo(
    model: FaceModel, fragments: Fragments, paint: tuple[Tensor, Tensor], generator: torch.Generator
) -> Float[Tensor, "1 3 height width"]:
    """Linear albedo at every pixel: painted skin, and one colour for each of the other parts."""
    lips, brows = (mask[:, None] for mask in paint)
    darkness = torch.rand(1, generator=generator)
    skin = torch.tensor([0.55, 0.33, 0.23]) * (1.0 - darkness) + torch.tensor([0.12, 0.06, 0.035]) * darkness
    mottling = 1.0 + 0.04 * torch.randn(model.n_vertices, 1, generator=generator)
    lip_colour = skin * torch.tensor([0.75, 0.42, 0.45])
    hair = torch.tensor([0.03, 0.02, 0.015])
    colour = (skin * mottling) * (1.0 - lips) + lip_colour * lips
    colour = colour * (1.0 - 0.85 * brows) + hair * 0.85 * brows
    iris = torch.tensor([0.06, 0.03, 0.015]) + torch.rand(1, generator=generator) * torch.tensor([0.1, 0.13, 0.15])
    of_part = {
        "cavity": torch.tensor([0.10, 0.03, 0.025]),
        "sclera": torch.tensor([0.55, 0.50, 0.46]),
        "iris": iris,
        "pupil": torch.tensor([0.01, 0.01, 0.01]),
        "teeth": torch.tensor([0.60, 0.55, 0.45]),
        "tongue": torch.tensor([0.35, 0.12, 0.10]),
    }
    table = torch.stack([of_part.get(name, torch.zeros(3)) for name in model.part_names])
    triangle = fragments.triangle_id.long().clamp_min(0)
    part = model.triangle_part[triangle]
    flat = table[part].permute(0, 3, 1, 2)
    painted = interpolate(fragments, model.triangles, colour[None])
    is_skin = (part == model.part_names.index("skin"))[:, None]
    return torch.where(is_skin, painted, flat)


def _lit(
    albedo: Float[Tensor, "1 3 height width"],
    normals: Float[Tensor, "1 3 height width"],
    fragments: Fragments,
    generator: torch.Generator,
) -> Float[Tensor, "1 3 height width"]:
    """Ambient light and one lamp from the front, over a plain grey background; linear."""
    normals = torch.nn.functional.normalize(normals, dim=1)
    aside = torch.randn(2, generator=generator) * torch.tensor([0.6, 0.4]) + torch.tensor([0.0, 0.4])
    lamp = torch.nn.functional.normalize(torch.cat([aside, torch.ones(1)]), dim=0)
    lambert = (normals * lamp[:, None, None]).sum(dim=1, keepdim=True).clamp_min(0.0)
    grey = 0.05 + 0.6 * torch.rand(1, generator=generator)
    image = albedo * (0.5 + 1.0 * lambert)
    return torch.where(fragments.coverage[:, None], image, grey)
