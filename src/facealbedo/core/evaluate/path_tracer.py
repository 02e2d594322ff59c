"""Ground truth by Mitsuba 3: a posed face in the light of an environment map, path traced.

Nothing of this renderer is shared with `core.render`: cast shadows, light between surfaces and reflections come from
sampled paths. The scene stands in the view frame (camera at the origin, looking along -z), so the environment map is
turned into that frame. Light is split in two passes, whose sum is the photo:

* **diffuse**: Lambertian surfaces, several bounces. Divided by the albedo it is the exact shading.
* **gloss**: the rough dielectric reflection alone.

Mitsuba's variant is ``scalar_rgb``, which needs no driver and gives the same image for the same seed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.lighting.envmap import EnvironmentMap
from facealbedo.core.metrics.masks import EvaluationError
from facealbedo.core.types import Camera

# Linear albedo of what the atlas does not map.
PART_ALBEDO: Mapping[str, tuple[float, float, float]] = {
    "cavity": (0.12, 0.04, 0.03),
    "sclera": (0.42, 0.37, 0.34),
    "iris": (0.08, 0.045, 0.025),
    "pupil": (0.01, 0.01, 0.01),
    "teeth": (0.62, 0.55, 0.45),
    "tongue": (0.40, 0.14, 0.12),
}
WET_PARTS = ("sclera", "iris", "pupil", "teeth", "tongue")
WET_ROUGHNESS = 0.12


@dataclass(frozen=True)
class TraceConfig:
    """How much work goes into an image.

    Attributes:
        samples: paths a pixel of the diffuse pass; gloss_samples: of the gloss.
        max_depth: bounces of the diffuse pass, Mitsuba's count (2 is direct light alone).
    """

    samples: int = 48
    gloss_samples: int = 16
    max_depth: int = 4


@dataclass(frozen=True)
class TracedFace:
    """The two layers of an image, linear radiance; behind the face stands the environment, in ``diffuse``."""

    diffuse: Float[Tensor, "3 height width"]
    gloss: Float[Tensor, "3 height width"]


@dataclass(frozen=True, eq=False)
class TraceScene:
    """A posed face in light.

    Attributes:
        model: topology.
        vertices_view: metres, view frame.
        uv_albedo: linear.
        camera: batch of one, principal point in the middle.
        environment: radiance in the *world* frame, batch of one.
        world_to_view: rotation of the light into the view frame.
        roughness: of the skin's gloss, perceptual. gloss_strength: factor on it.
    """

    model: FaceModel
    vertices_view: Float[Tensor, "vertex 3"]
    uv_albedo: Float[Tensor, "3 map_height map_width"]
    camera: Camera
    environment: EnvironmentMap
    world_to_view: Float[Tensor, "3 3"]
    roughness: float
    gloss_strength: float


def trace(scene: TraceScene, config: TraceConfig, seed: int) -> TracedFace:
    """Path trace a face.

    Raises:
        EvaluationError: Mitsuba is not installed, or the camera is one that it cannot have.
    """
    diffuse = _render(scene, _diffuse_materials(scene), config.samples, config.max_depth, 2 * seed, hidden=False)
    gloss = _render(scene, _gloss_materials(scene), config.gloss_samples, 2, 2 * seed + 1, hidden=True)
    return TracedFace(diffuse, scene.gloss_strength * gloss)


@lru_cache(maxsize=1)
def _mitsuba() -> Any:
    try:
        import mitsuba  # noqa: PLC0415 (optional, and slow to load)
    except ImportError as error:
        raise EvaluationError(
            "the benchmark of relit faces needs Mitsuba 3; install the extra `facealbedo[evaluate]`"
        ) from error
    mitsuba.set_variant("scalar_rgb")
    return mitsuba


def _render(
    scene: TraceScene, materials: Mapping[str, dict[str, Any]], samples: int, max_depth: int, seed: int, hidden: bool
) -> Float[Tensor, "3 height width"]:
    mi = _mitsuba()
    description = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": max_depth, "hide_emitters": hidden},
        "sensor": _sensor(mi, scene.camera),
        "environment": _emitter(mi, scene),
        **_meshes(mi, scene, materials),
    }
    # Mitsuba wants no autograd graph and its own threads; NaN of a degenerate path must not poison a pixel's mean.
    image = np.array(mi.render(mi.load_dict(description), spp=samples, seed=seed))
    return torch.from_numpy(np.nan_to_num(image, nan=0.0, posinf=0.0).astype(np.float32)).permute(2, 0, 1).contiguous()


def _sensor(mi: Any, camera: Camera) -> dict[str, Any]:
    width, height = camera.width, camera.height
    middle = camera.principal_px.new_tensor([width / 2, height / 2])
    if not torch.allclose(camera.principal_px[0], middle, atol=1e-3):
        raise EvaluationError("the path tracer's camera has its principal point in the middle of the image")
    return {
        "type": "perspective",
        "fov": math.degrees(2 * math.atan(width / 2 / float(camera.focal_px[0]))),
        "fov_axis": "x",
        "near_clip": 0.01,
        "far_clip": 100.0,
        "to_world": mi.ScalarTransform4f().look_at(origin=[0, 0, 0], target=[0, 0, -1], up=[0, 1, 0]),
        "film": {
            "type": "hdrfilm",
            "width": width,
            "height": height,
            "pixel_format": "rgb",
            "component_format": "float32",
            "rfilter": {"type": "box"},
        },
        "sampler": {"type": "independent"},
    }


def _emitter(mi: Any, scene: TraceScene) -> dict[str, Any]:
    turn = np.eye(4)
    turn[:3, :3] = scene.world_to_view.double().numpy()
    pixels = scene.environment.radiance[0].permute(1, 2, 0).contiguous().numpy().astype(np.float32)
    return {"type": "envmap", "bitmap": mi.Bitmap(pixels), "to_world": mi.ScalarTransform4f(turn)}


def _diffuse_materials(scene: TraceScene) -> dict[str, dict[str, Any]]:
    mi = _mitsuba()
    pixels = scene.uv_albedo.permute(1, 2, 0).contiguous().numpy().astype(np.float32)
    skin = {
        "type": "bitmap",
        "bitmap": mi.Bitmap(pixels),
        "raw": True,
        "filter_type": "bilinear",
        "wrap_mode": "clamp",
    }
    colours: dict[str, dict[str, Any]] = {"skin": skin}
    for name in scene.model.part_names:
        if name != "skin":
            colours[name] = {"type": "rgb", "value": list(PART_ALBEDO[name])}
    return {
        name: {"type": "twosided", "material": {"type": "diffuse", "reflectance": colour}}
        for name, colour in colours.items()
    }


def _gloss_materials(scene: TraceScene) -> dict[str, dict[str, Any]]:
    """Black surfaces that only reflect: index of refraction 1.4."""
    return {
        name: {
            "type": "twosided",
            "material": {
                "type": "principled",
                "base_color": {"type": "rgb", "value": 0.0},
                "roughness": WET_ROUGHNESS if name in WET_PARTS else scene.roughness,
                "eta": 1.4,
            },
        }
        for name in scene.model.part_names
    }


def _meshes(mi: Any, scene: TraceScene, materials: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """One mesh a part, with the model's smooth normals; the skin has the atlas's coordinates."""
    model = scene.model
    positions = scene.vertices_view.numpy()
    normals = model.normals(scene.vertices_view[None])[0].numpy()
    uv, source = model.uv.numpy(), model.uv_source.numpy()
    part = model.triangle_part.numpy()
    meshes = {}
    for index, name in enumerate(model.part_names):
        if name == "skin":
            meshes[name] = _mesh(
                mi, name, positions[source], normals[source], model.uv_triangles.numpy(), materials[name], uv
            )
        else:
            chosen = model.triangles.numpy()[part == index]
            used, compact = np.unique(chosen, return_inverse=True)
            meshes[name] = _mesh(
                mi, name, positions[used], normals[used], compact.reshape(chosen.shape), materials[name]
            )
    return meshes


def _mesh(
    mi: Any,
    name: str,
    positions: np.ndarray,
    normals: np.ndarray,
    triangles: np.ndarray,
    material: dict[str, Any],
    uv: np.ndarray | None = None,
) -> Any:
    properties = mi.Properties()
    properties["bsdf"] = mi.load_dict(material)
    mesh = mi.Mesh(
        name,
        len(positions),
        len(triangles),
        props=properties,
        has_vertex_normals=True,
        has_vertex_texcoords=uv is not None,
    )
    parameters = mi.traverse(mesh)
    parameters["vertex_positions"] = np.ascontiguousarray(positions, np.float32).ravel()
    parameters["vertex_normals"] = np.ascontiguousarray(normals, np.float32).ravel()
    parameters["faces"] = np.ascontiguousarray(triangles, np.uint32).ravel()
    if uv is not None:
        parameters["vertex_texcoords"] = np.ascontiguousarray(uv, np.float32).ravel()
    parameters.update()
    return mesh
