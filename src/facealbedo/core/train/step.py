"""One look at a batch: refine, render, compare."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import linear_to_srgb
from facealbedo.core.lighting.sh import shading_per_texel
from facealbedo.core.losses.total import FeatureExtractor, LossInputs, LossWeights, total_loss
from facealbedo.core.networks.records import RefinerOutput
from facealbedo.core.train.scene import Scene, Stage, read_atlas


def uv_shading(scene: Scene, refined: RefinerOutput) -> Float[Tensor, "batch 3 height width"]:
    """Detailed shading of every texel: the light map, read bilinearly, on smooth normals, and the gain."""
    size = refined.uv_albedo.shape[-1]
    light = enlarge(refined.uv_illumination, size)
    return (
        shading_per_texel(light, scene.face.observation.uv_normal_view)
        * scene.face.uv_openness
        * refined.uv_log_gain.exp()
    )


def render(scene: Scene, refined: RefinerOutput) -> Float[Tensor, "batch 3 height width"]:
    """Detailed albedo in detailed light, linear: shaded in the atlas and read bilinearly at every pixel (dense).

    Normals and light change little from texel to texel, so shading before reading costs nothing, and the gradient
    flows back through three channels instead of thirty-one.
    """
    return read_atlas(refined.uv_albedo * uv_shading(scene, refined), scene.uv)


def enlarge(uv_map: Float[Tensor, "batch channel rows columns"], size: int) -> Tensor:
    """Read a coarse map bilinearly at ``size`` x ``size`` texel centres, as two matrix products (cheap gradients)."""
    if uv_map.shape[-1] == size:
        return uv_map
    rows = interpolation_matrix(uv_map.shape[-2], size, uv_map)
    columns = interpolation_matrix(uv_map.shape[-1], size, uv_map)
    return rows @ uv_map @ columns.T


def interpolation_matrix(coarse: int, fine: int, like: Tensor) -> Float[Tensor, "fine coarse"]:
    """Weights of bilinear interpolation between texel centres, the border repeated."""
    place = (torch.arange(fine, device=like.device, dtype=like.dtype) + 0.5) * (coarse / fine) - 0.5
    distance = (place.clamp(0, coarse - 1)[:, None] - torch.arange(coarse, device=like.device)).abs()
    return (1 - distance).clamp(min=0)


def compare(
    scene: Scene,
    refined: RefinerOutput,
    stage: Stage,
    weights: LossWeights,
    progress: float | Tensor,
    features: FeatureExtractor | None = None,
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Render the refined faces and weigh what differs; see `losses.total.total_loss`."""
    images = [render(scene, refined)]
    if weights.cross_renders > 0:
        images.append(read_atlas(refined.uv_albedo * scene.face.fitted_shading(), scene.uv))
        images.append(read_atlas(scene.face.prior_albedo * uv_shading(scene, refined), scene.uv))
    inputs = LossInputs(
        renders_srgb=torch.stack([linear_to_srgb(image) for image in images]),
        photo_srgb=scene.photo_srgb,
        face_mask=scene.face_mask,
        face=scene.face,
        refined=refined,
        atlas_mask=stage.atlas_mask,
        truth=scene.truth,
    )
    return total_loss(inputs, weights, progress, features)
