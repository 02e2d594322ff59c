"""Our shading of the head against Mitsuba 3, under environment maps.

    python -m facealbedo.benchmarks.render_truth

Writes ``docs/benchmarks/render_mitsuba.json``: five maps that light the face, and all that ship with the package (in
some of which the light comes from behind, so that errors are large against the little light on the face).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facealbedo.assets import load_face_model
from facealbedo.assets.environments import load_environments
from facealbedo.assets.occlusion import load_occlusion
from facealbedo.core.evaluate.path_tracer import TraceConfig, TraceScene, trace
from facealbedo.core.lighting.envmap import EnvironmentMap, lighting_in_view
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.interpolate import interpolate
from facealbedo.core.render.occlusion import shadow_irradiance
from facealbedo.core.render.sampling import sample_bilinear
from facealbedo.core.render.shade import shading_global
from facealbedo.core.render.synthetic import frontal_camera
from facealbedo.core.types import GBuffer

FIVE = ("apartment", "city", "lobby", "sunset", "workshop")
# Where the surface turns further away from the eye, a pixel holds too few of the sphere's or the face's normals.
LEAST_COSINE = 0.2


def shading_errors(names: Sequence[str], size: int = 128, samples: int = 64) -> dict[str, Any]:
    """RMS difference of shading to the path tracer over the skin's pixels, relative to its mean there.

    ``unshadowed``: order-2 SH against a sphere, which shadows nothing, at the head's normals. ``openness`` and
    ``transfer``: SH with ambient occlusion and with SH shadow transfer against the head in direct light with its own
    shadows. Two independent traces stand for the truth, so that their noise does not count as error:
    mean((ours - one) * (ours - other)).

    Raises:
        EvaluationError: Mitsuba is not installed.
    """
    per_map = {name: _errors(name, size, samples) for name in names}
    kinds = next(iter(per_map.values()))
    columns = {kind: [row[kind] for row in per_map.values()] for kind in kinds}
    mean = {kind: round(float(np.mean(column)), 4) for kind, column in columns.items()}
    median = {kind: round(float(np.median(column)), 4) for kind, column in columns.items()}
    return {"size": size, "samples": 2 * samples, "mean": mean, "median": median, "per_map": per_map}


def _errors(name: str, size: int, samples: int) -> dict[str, float]:
    model, occlusion = load_face_model(), load_occlusion()
    environments = load_environments()
    environment, sh_world = environments[name], environments.sh(name)
    camera = frontal_camera(1, size, 3.0)
    view = model.mean[None] - model.mean.mean(0) - torch.tensor([0.0, 0.0, 0.75])
    normals = model.normals(view)
    fragments, buffer = render_gbuffer(model, view, camera, normals_view=normals)
    lighting = lighting_in_view(sh_world, torch.eye(3)[None])
    per_vertex = torch.cat([occlusion.openness[:, None], occlusion.transfer], 1)[None]
    hidden = interpolate(fragments, model.triangles, per_vertex)
    unshadowed = shading_global(lighting, buffer.normal_view)
    ours = {
        "openness": shading_global(lighting, buffer.normal_view, ambient_occlusion=hidden[:, :1]),
        "transfer": shading_global(lighting, buffer.normal_view, shadow=shadow_irradiance(hidden[:, 1:], sh_world)),
    }
    scene = TraceScene(
        model=model,
        vertices_view=view[0],
        uv_albedo=torch.ones(3, 8, 8),
        camera=camera,
        environment=environment,
        world_to_view=torch.eye(3),
        roughness=0.5,
        gloss_strength=0.0,
    )
    config = TraceConfig(samples=samples, gloss_samples=1, max_depth=2)
    heads = [trace(scene, config, seed).diffuse[None] for seed in (1, 2)]
    spheres = [_on_sphere(_sphere(environment, size, 4 * samples, seed), buffer) for seed in (1, 2)]
    facing = -(buffer.normal_view * torch.nn.functional.normalize(buffer.position_view, dim=1)).sum(1, keepdim=True)
    mask = buffer.skin_coverage & (facing > LEAST_COSINE) & (buffer.normal_view[:, 2:] > LEAST_COSINE)
    found = {"unshadowed": _relative_rms(unshadowed, *spheres, mask)}
    found["no occlusion"] = _relative_rms(unshadowed, *heads, mask)
    return found | {kind: _relative_rms(shading, *heads, mask) for kind, shading in ours.items()}


def _relative_rms(ours: Tensor, one: Tensor, other: Tensor, mask: Tensor) -> float:
    where = mask.expand_as(ours)
    product = ((ours - one) * (ours - other))[where].double().mean()
    return round(float(product.clamp(min=0).sqrt() / ((one + other) / 2)[where].double().mean()), 4)


def _sphere(environment: EnvironmentMap, size: int, samples: int, seed: int) -> Tensor:
    """A white sphere that fills the image, seen from far away (orthographic): shading by normal [1, 3, size, size]."""
    import mitsuba as mi  # noqa: PLC0415 (optional)

    pixels = environment.radiance[0].permute(1, 2, 0).contiguous().numpy().astype(np.float32)
    scene = mi.load_dict({
        "type": "scene",
        "integrator": {"type": "path", "max_depth": 2},
        "sensor": {
            "type": "orthographic",
            "near_clip": 0.1,
            "to_world": mi.ScalarTransform4f().look_at(origin=[0, 0, 4], target=[0, 0, 0], up=[0, 1, 0]),
            "film": {"type": "hdrfilm", "width": size, "height": size, "rfilter": {"type": "box"}},
        },
        "light": {"type": "envmap", "bitmap": mi.Bitmap(pixels)},
        "sphere": {"type": "sphere", "bsdf": {"type": "diffuse", "reflectance": {"type": "rgb", "value": 1.0}}},
    })  # fmt: skip
    image = np.array(mi.render(scene, spp=samples, seed=seed), dtype=np.float32)
    return torch.from_numpy(image[..., :3]).permute(2, 0, 1)[None].contiguous()


def _on_sphere(sphere: Tensor, buffer: GBuffer) -> Tensor:
    """The sphere's shading at the normals of an image."""
    x, y, _ = buffer.normal_view.unbind(1)
    points = torch.stack([(1 + x) / 2, (1 - y) / 2], dim=-1) * sphere.shape[-1]
    return sample_bilinear(sphere, points)


def main() -> None:
    """Measure and write."""
    report = {
        "command": "python -m facealbedo.benchmarks.render_truth",
        "five": shading_errors(FIVE),
        "all": shading_errors(load_environments().names, size=96, samples=32),
    }
    output = Path("docs/benchmarks/render_mitsuba.json")
    output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
