"""One look at a batch: refine, render, compare."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import linear_to_srgb
from facealbedo.core.lighting.sh import shading, shading_per_texel
from facealbedo.core.losses.total import FeatureExtractor, LossInputs, LossWeights, total_loss
from facealbedo.core.networks.records import RefinerOutput
from facealbedo.core.train.scene import Scene, read_atlas
from facealbedo.core.types import TensorRecord


@dataclass(frozen=True)
class Renders(TensorRecord):
    """Linear images of the refined face, per pixel (dense), and their parts."""

    image: Float[Tensor, "batch 3 height width"]
    albedo: Float[Tensor, "batch 3 height width"]
    shading: Float[Tensor, "batch 3 height width"]


def render(scene: Scene, refined: RefinerOutput) -> Renders:
    """Detailed albedo in detailed light: both read from the atlas at every pixel, normals per pixel."""
    albedo = read_atlas(refined.uv_albedo, scene.uv)
    smooth = shading_per_texel(read_atlas(refined.uv_illumination, scene.uv), scene.normal_view)
    light = smooth * scene.openness * read_atlas(refined.uv_log_gain, scene.uv).exp()
    return Renders(albedo * light, albedo, light)


def compare(
    scene: Scene,
    refined: RefinerOutput,
    atlas_mask: Float[Tensor, "1 1 map_height map_width"],
    weights: LossWeights,
    progress: float | Tensor,
    features: FeatureExtractor | None = None,
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Render the refined faces and weigh what differs; see `losses.total.total_loss`."""
    main = render(scene, refined)
    images = [main.image]
    if weights.cross_renders > 0:
        images.append(main.albedo * shading(scene.face.sh_radiance, scene.normal_view) * scene.openness)
        images.append(read_atlas(scene.face.prior_albedo, scene.uv) * main.shading)
    inputs = LossInputs(
        renders_srgb=torch.stack([linear_to_srgb(image) for image in images]),
        photo_srgb=scene.photo_srgb,
        face_mask=scene.face_mask,
        face=scene.face,
        refined=refined,
        atlas_mask=atlas_mask,
        truth=scene.truth,
    )
    return total_loss(inputs, weights, progress, features)
