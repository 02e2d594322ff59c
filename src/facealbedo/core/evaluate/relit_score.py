"""Scores of an albedo map against a person of the `relit` set."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import linear_to_srgb, luminance
from facealbedo.core.evaluate.methods import FittedFace
from facealbedo.core.evaluate.relit_set import RelitPerson, RelitView, albedo_image
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.geometry.projection import world_to_view
from facealbedo.core.metrics.albedo import albedo_errors, mean_delta_e
from facealbedo.core.metrics.image import masked_l1, masked_psnr, masked_ssim
from facealbedo.core.metrics.leakage import (
    brightness_symmetry_error,
    change_kept,
    detail_correlation,
    detail_kept,
    left_right_error,
    light_correlation,
)
from facealbedo.core.metrics.masks import EvaluationError, masked_mean
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.sampling import sample_uv
from facealbedo.core.render.uv import bake_region, unwrap
from facealbedo.core.types import Fragments, GBuffer, TensorRecord

_SEEN = 0.3


@dataclass(frozen=True)
class ScoreMaps(TensorRecord):
    """Regions of the atlas in which scores are taken, at the resolution of the albedo maps.

    * ``face``: where albedo is compared. ``core``: inner skin, soft, for its mean colour. ``skin``: the same, hard, for
      leakage. ``features``: brows and lips, hard.
    """

    face: Float[Tensor, "1 1 height width"]
    core: Float[Tensor, "1 1 height width"]
    skin: Float[Tensor, "1 1 height width"]
    features: Float[Tensor, "1 1 height width"]


@dataclass(frozen=True)
class Target(TensorRecord):
    """A relit view, and which pixels count: skin of the face."""

    view: RelitView
    fragments: Fragments
    buffer: GBuffer
    mask: Float[Tensor, "1 1 height width"]
    true_albedo: Float[Tensor, "1 3 height width"]


def score_maps(model: FaceModel, face: Float[Tensor, "1 1 height width"]) -> ScoreMaps:
    """Return the regions at the resolution of ``face``, the region in which albedo is compared."""
    resolution = face.shape[-1]

    def region(name: str) -> Tensor:
        return bake_region(model, name, resolution)[None, None]

    core = region("core_skin")
    features = torch.maximum(region("brows"), region("lips"))
    return ScoreMaps(face, core, (core > 0.6).float(), (features > 0.5).float())


def at_resolution(person: RelitPerson, resolution: int) -> RelitPerson:
    """Return the person with an albedo map averaged down to ``resolution`` texels a side.

    Raises:
        EvaluationError: the map's size is no multiple of it.
    """
    size = person.uv_albedo.shape[-1]
    if size % resolution:
        raise EvaluationError(f"an albedo map of {size} texels cannot be averaged down to {resolution}")
    albedo, unmarked = (F.avg_pool2d(values, size // resolution) for values in (person.uv_albedo, person.uv_unmarked))
    return replace(person, uv_albedo=albedo, uv_unmarked=unmarked)


def prepare_targets(model: FaceModel, person: RelitPerson, maps: ScoreMaps) -> tuple[Target, ...]:
    """Rasterise the relit views of a person once for all methods."""
    shape = person.coefficients
    world = model.decode(shape.identity_coeffs, shape.expression_coeffs)
    targets = []
    for view in person.targets:
        fragments, buffer = render_gbuffer(model, world_to_view(world, view.pose), view.camera)
        mask = (sample_uv(maps.face, buffer.uv) > 0.5) & buffer.skin_coverage
        albedo = albedo_image(model, fragments, buffer, person.uv_albedo)
        targets.append(Target(view, fragments, buffer, mask.float(), albedo))
    return tuple(targets)


def true_uv_shading(
    model: FaceModel, person: RelitPerson, view: RelitView, resolution: int
) -> tuple[Float[Tensor, "1 3 height width"], Float[Tensor, "1 1 height width"]]:
    """Return the shading of a photo laid out in the atlas through the true mesh, and where it is seen."""
    shape = person.coefficients
    vertices = world_to_view(model.decode(shape.identity_coeffs, shape.expression_coeffs), view.pose)
    fragments, _ = render_gbuffer(model, vertices, view.camera)
    seen = unwrap(model, view.shading, vertices, view.camera, fragments, resolution)
    return seen.uv_texture, seen.uv_visibility


def relight_image(
    target: Target, uv_albedo: Float[Tensor, "1 3 map_height map_width"]
) -> Float[Tensor, "1 3 height width"]:
    """Return the target view with another albedo, sRGB: the path tracer's light on the true mesh.

    Light between surfaces keeps the true albedo's share; that is a few percent of the light and the same for all
    methods.
    """
    albedo = sample_uv(uv_albedo, target.buffer.uv)
    image = torch.where(target.mask > 0, albedo, target.true_albedo) * target.view.shading + target.view.gloss
    return linear_to_srgb(image.clamp(0, 1))


def relight_scores(
    targets: tuple[Target, ...], albedo: Float[Tensor, "1 3 height width"], scale: float
) -> dict[str, float]:
    """Return PSNR, SSIM and L1 of relit views, means over the targets; PSNR also after one scale."""
    rows = []
    for target in targets:
        reference = relight_image_of_truth(target)
        image = relight_image(target, albedo)
        aligned = relight_image(target, albedo * scale)
        rows.append(
            {
                "relight_psnr": float(masked_psnr(image, reference, target.mask)[0]),
                "relight_psnr_aligned": float(masked_psnr(aligned, reference, target.mask)[0]),
                "relight_ssim": float(masked_ssim(image, reference, target.mask)[0]),
                "relight_l1": float(masked_l1(image, reference, target.mask)[0]),
            }
        )
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}


def relight_image_of_truth(target: Target) -> Float[Tensor, "1 3 height width"]:
    """Return the target view itself, sRGB, before it was rounded to codes."""
    return linear_to_srgb((target.true_albedo * target.view.shading + target.view.gloss).clamp(0, 1))


def score_albedo(
    albedo: Float[Tensor, "1 3 height width"],
    face: FittedFace,
    person: RelitPerson,
    targets: tuple[Target, ...],
    true_light: tuple[Tensor, Tensor],
    maps: ScoreMaps,
) -> dict[str, float]:
    """Return every score of one albedo map of one photo.

    Args:
        albedo: linear, of the truth's size.
        face: the fit that it came from.
        person: the truth.
        targets: of `prepare_targets`.
        true_light: of `true_uv_shading`, for the photo.
        maps: regions.
    """
    errors = albedo_errors(albedo, person.uv_albedo, maps.face, maps.core)
    scale = float(errors.scale[0])
    shading, visible = true_light
    seen = ((visible > _SEEN) & (shading.amax(1, keepdim=True) > 0)).float()
    fitted_seen = (face.observation.uv_visibility > _SEEN).float() * maps.face
    return {
        **errors.row(0),
        "delta_e_seen": float(mean_delta_e(albedo * scale, person.uv_albedo, maps.face * seen)[0]),
        "delta_e_unseen": float(mean_delta_e(albedo * scale, person.uv_albedo, maps.face * (1 - seen) + 1e-6)[0]),
        **relight_scores(targets, albedo, scale),
        "light_correlation": abs(float(light_correlation(albedo, shading, maps.skin * seen)[0])),
        "left_right_error": float(left_right_error(albedo, fitted_seen)[0]),
        "bs_error": float(brightness_symmetry_error(albedo, (maps.face > 0.5).float())[0]),
        **detail_scores(albedo, person, maps, fitted_seen),
        **_photo_scores(albedo, face, maps, fitted_seen),
    }


def scores_of_truth(
    face: FittedFace, person: RelitPerson, true_light: tuple[Tensor, Tensor], maps: ScoreMaps
) -> dict[str, float]:
    """Return what the true albedo itself scores where a measure needs no truth; arguments as of `score_albedo`.

    Such measures are all that photos have, and their best value is not what they have for a right albedo: noses,
    cheeks and foreheads differ in colour as they do in light, and much of the photo's detail is light.
    """
    shading, visible = true_light
    seen = ((visible > _SEEN) & (shading.amax(1, keepdim=True) > 0)).float()
    fitted_seen = (face.observation.uv_visibility > _SEEN).float() * maps.face
    scores = {
        "light_correlation": abs(float(light_correlation(person.uv_albedo, shading, maps.skin * seen)[0])),
        **_photo_scores(person.uv_albedo, face, maps, fitted_seen),
    }
    return {f"{name}_of_truth": value for name, value in scores.items()}


def _photo_scores(albedo: Tensor, face: FittedFace, maps: ScoreMaps, seen: Tensor) -> dict[str, float]:
    """Return how much of the photo's fine detail an albedo keeps on skin, and on brows and lips."""
    texture = face.observation.uv_texture
    return {
        f"{name}_detail_kept": float(detail_kept(albedo, texture, region * seen)[0])
        for name, region in (("skin", maps.skin), ("feature", maps.features))
    }


def detail_scores(
    albedo: Float[Tensor, "1 3 height width"],
    person: RelitPerson,
    maps: ScoreMaps,
    seen: Float[Tensor, "1 1 height width"],
) -> dict[str, float]:
    """Return how much of the true albedo's own detail the albedo shows, where the photo shows the face.

    A smooth, even face can have a small colour difference everywhere; here it scores 0. Skin (pores, spots) and
    features (brows and lips): slope and correlation of fine detail. Marks: see `leakage.change_kept`; only of people
    who have some.
    """
    scores = {}
    for name, region in (("skin", maps.skin), ("feature", maps.features)):
        scores[f"{name}_detail_true"] = float(detail_kept(albedo, person.uv_albedo, region * seen)[0])
        scores[f"{name}_detail_correlation"] = float(detail_correlation(albedo, person.uv_albedo, region * seen)[0])
    if person.marks:
        kept = change_kept(albedo, person.uv_unmarked, person.uv_albedo, maps.face * seen)
        scores["marks_kept"] = float(kept[0])
    return scores


def light_strength_factor(face: FittedFace, true_light: tuple[Tensor, Tensor], maps: ScoreMaps) -> float:
    """Return fitted over true light strength on the seen inner skin: what an oracle multiplies the albedo by."""
    shading, visible = true_light
    weight = maps.core * (visible > _SEEN) * (face.observation.uv_visibility > _SEEN)
    fitted, true = (luminance(masked_mean(light, weight)) for light in (face.shading(), shading))
    return float(fitted[0] / true[0].clamp(min=1e-6))
