"""What a training looks at now and then: numbers and pictures of faces that it never learns from."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import ITA_GROUPS, ita_group, linear_to_srgb
from facealbedo.core.lighting.sh import shading
from facealbedo.core.metrics.albedo import albedo_errors
from facealbedo.core.metrics.image import masked_psnr, masked_ssim
from facealbedo.core.metrics.leakage import detail_kept, left_right_error, light_correlation, log_luminance
from facealbedo.core.metrics.masks import masked_mean
from facealbedo.core.networks.pigment import believed, upper_half
from facealbedo.core.networks.records import RefinerInput, RefinerOutput
from facealbedo.core.networks.refiner import Refiner, face_pigment, log_quotient, log_ratio
from facealbedo.core.refine.separation import with_detail
from facealbedo.core.train.scene import Scene, Stage, read_atlas
from facealbedo.core.train.step import render, uv_shading
from facealbedo.core.types import TensorRecord

# Faces whose visible skin is smaller than this (share of the region) say nothing.
SMALLEST_SHARE = 0.05
PREVIEW_LEVEL = 0.45

Method = Callable[[RefinerInput], RefinerOutput]


@dataclass(frozen=True)
class Gallery:
    """Held-out faces on the device, in batches.

    Attributes:
        stage: models and masks.
        photos: scenes of photos. fabricated: scenes with truth.
    """

    stage: Stage
    photos: Sequence[Scene]
    fabricated: Sequence[Scene]

    @torch.no_grad()
    def measure(self, refiner: Refiner) -> dict[str, float]:
        """Return the means of every measure that some face has, named ``photos.psnr`` and so on."""
        return self._measure(refiner)

    @torch.no_grad()
    def measure_baselines(self) -> dict[str, dict[str, float]]:
        """Return the same of the prior alone, of the texture divided by the fit's shading, and of the pigment alone."""
        return {
            "prior": self._measure(prior_alone),
            "quotient": self._measure(plain_quotient),
            "separation": self._measure(separated),
        }

    def _measure(self, refine: Method) -> dict[str, float]:
        found: dict[str, list[Tensor]] = {}
        for scene in self.photos:
            for name, values in photo_measures(self.stage, scene, refine(scene.face)).items():
                found.setdefault(f"photos.{name}", []).append(values)
        for scene in self.fabricated:
            for name, values in truth_measures(self.stage, scene, refine(scene.face)).items():
                found.setdefault(f"fabricated.{name}", []).append(values)
        means = {name: float(torch.cat(values).nanmean()) for name, values in found.items()}
        # A group without a face has no mean, and says nothing.
        return {name: mean for name, mean in means.items() if math.isfinite(mean)}

    @torch.no_grad()
    def picture(self, refiner: Refiner, count: int) -> Float[Tensor, "3 height width"]:
        """Return a grid, a row a face, sRGB: photo, render, albedo on the face, light, relit from the left, atlas."""
        rows: list[Tensor] = []
        for scenes in (self.photos, self.fabricated):
            rows += _rows(self.stage, scenes, refiner, count if scenes is self.photos else max(count // 2, 1))
        return torch.cat(rows, dim=1).cpu() if rows else torch.zeros(3, 1, 1)


def prior_alone(face: RefinerInput) -> RefinerOutput:
    """Take the prior for the albedo."""
    return _with_fitted_light(face, face.prior_albedo)


def plain_quotient(face: RefinerInput) -> RefinerOutput:
    """Divide the texture by the fit's shading where it is seen; the prior elsewhere."""
    return _with_fitted_light(face, (face.prior_albedo * log_quotient(face).exp()).clamp(1e-3, 1))


def separated(face: RefinerInput) -> RefinerOutput:
    """Take the face's pigment; what is not pigment is the light's gain, so that the render is the photo."""
    ratio = log_ratio(face)
    albedo = with_detail(face.prior_albedo, face_pigment(face, ratio), face.observation.uv_visibility)
    found = _with_fitted_light(face, albedo)
    left = ratio - (albedo / face.prior_albedo).log()
    return replace(found, uv_log_gain=left * believed(face.observation.uv_visibility))


def _with_fitted_light(face: RefinerInput, uv_albedo: Tensor) -> RefinerOutput:
    light = face.sh_radiance.reshape(-1, 27, 1, 1).expand(-1, -1, 8, 8)
    empty = torch.zeros_like(uv_albedo[:, :1])
    return RefinerOutput(uv_albedo, light, torch.zeros_like(uv_albedo), empty.expand(-1, 2, -1, -1), empty)


def photo_measures(stage: Stage, scene: Scene, refined: RefinerOutput) -> dict[str, Float[Tensor, "face"]]:
    """Measure refined faces against their photos; NaN where too little is seen.

    * ``psnr``, ``ssim``: render against photo (sRGB) on the trusted face.
    * ``leakage``: |correlation of log albedo with the fit's log shading on smooth normals| on seen skin; no skin is
      even, so that true albedo has some, too. ``leakage_signed``: the correlation; its mean over faces is 0 where no
      light stays.
    * ``leakage_elsewhere``: |correlation| with the light of another face of the batch, where both are seen: what has
      nothing to do with this photo's light (people are mostly lit from above, and foreheads are lighter than chins).
    * ``light_kept``: slope of log albedo on that log shading: the part of the light that stayed.
    * ``left_right``: difference of the blurred halves, 0-255.
    * ``skin_detail``, ``feature_detail``: of the photo's fine detail on skin, and on brows and lips, kept; slopes.
      ``brow_detail``, ``lip_detail``: of the two apart.
    """
    mask = (scene.face_mask > 0.5).float()
    seen = (scene.face.observation.uv_visibility > 0.3).float()
    skin, features = seen * stage.skin_region, seen * stage.detail_region
    enough = _enough(mask, 1.0) & _enough(skin, stage.skin_region) & _enough(features, stage.detail_region)
    result = linear_to_srgb(render(scene, refined)).clamp(0, 1)
    albedo, texture = refined.uv_albedo, scene.face.observation.uv_texture
    light = shading(scene.face.sh_radiance, scene.face.observation.uv_normal_view)
    safe = [torch.where(enough[:, None, None, None], values, 1.0) for values in (mask, skin, features)]
    measures = {
        "psnr": masked_psnr(result, scene.photo_srgb, safe[0]),
        "ssim": masked_ssim(result, scene.photo_srgb, safe[0]),
        "leakage": light_correlation(albedo, light, safe[1]).abs(),
        "leakage_signed": light_correlation(albedo, light, safe[1]),
        "leakage_elsewhere": _elsewhere(albedo, light, safe[1]),
        "light_kept": light_kept(albedo, light, safe[1]),
        "left_right": _left_right(albedo, safe[1]),
        "skin_detail": detail_kept(albedo, texture, safe[1]),
        "feature_detail": detail_kept(albedo, texture, safe[2]),
        **_feature_detail(stage, scene, albedo),
    }
    return {name: torch.where(enough, values, torch.nan) for name, values in measures.items()}


def _feature_detail(stage: Stage, scene: Scene, albedo: Tensor) -> dict[str, Float[Tensor, "face"]]:
    """Of the photo's fine detail on brows and on lips, kept; NaN where too little of them is seen."""
    seen = (scene.face.observation.uv_visibility > 0.3).float()
    upper = upper_half(seen)
    measures = {}
    for name, half in (("brow_detail", upper), ("lip_detail", 1 - upper)):
        region = stage.detail_region * half
        enough = _enough(seen * region, region)
        safe = torch.where(enough[:, None, None, None], seen * region, 1.0)
        kept = detail_kept(albedo, scene.face.observation.uv_texture, safe)
        measures[name] = torch.where(enough, kept, torch.nan)
    return measures


def _elsewhere(albedo: Tensor, light: Tensor, mask: Tensor) -> Float[Tensor, "face"]:
    """|Correlation| of each log albedo with the next face's log shading; NaN for a face by itself or apart from it."""
    both = mask * mask.roll(1, 0)
    found = light_correlation(albedo, light.roll(1, 0), both).abs()
    return torch.where((both.sum((1, 2, 3)) > 0.5 * mask.sum((1, 2, 3))) & (len(albedo) > 1), found, torch.nan)


def truth_measures(stage: Stage, scene: Scene, refined: RefinerOutput) -> dict[str, Float[Tensor, "face"]]:
    """Measure refined fabricated faces against their albedo: CIEDE2000 and ITA, raw and scaled, and by ITA group.

    ``light_kept`` is the slope of log(albedo / truth) on the fit's log shading; ``leakage`` and ``leakage_of_truth``
    are |correlations| as for photos, of the result and of the true albedo: the second is what a perfect result has.
    So with ``brow_detail`` and ``lip_detail``, the parts of the photo's fine detail kept.
    """
    if scene.truth is None:
        raise ValueError("these faces have no truth to compare with")
    region = stage.face_region * stage.atlas_mask
    errors = albedo_errors(refined.uv_albedo, scene.truth.uv_albedo, region, stage.skin_region)
    group = ita_group(errors.ita_true)
    light = shading(scene.face.sh_radiance, scene.face.observation.uv_normal_view)
    skin = (scene.face.observation.uv_visibility > 0.3).float() * stage.skin_region
    true = scene.truth.uv_albedo
    measures = {
        "delta_e": errors.delta_e,
        "delta_e_aligned": errors.delta_e_aligned,
        "ita_error": (errors.ita - errors.ita_true).abs(),
        "light_kept": light_kept(refined.uv_albedo / true.clamp(min=1e-3), light, skin),
        "leakage": light_correlation(refined.uv_albedo, light, skin).abs(),
        "leakage_of_truth": light_correlation(true, light, skin).abs(),
        **_feature_detail(stage, scene, refined.uv_albedo),
        **{f"{name}_of_truth": values for name, values in _feature_detail(stage, scene, true).items()},
    }
    for index, names in enumerate(ITA_GROUPS):
        measures[f"delta_e_aligned.{names.name.replace(' ', '_')}"] = torch.where(
            group == index, errors.delta_e_aligned, torch.nan
        )
    return measures


def light_kept(albedo: Tensor, light: Tensor, mask: Tensor) -> Float[Tensor, "face"]:
    """Slope of log albedo on log shading over the mask: 0 is clean, 1 is a photo. Unlike a correlation it is small
    when little is left, however even the skin.
    """
    values, shade = log_luminance(albedo), log_luminance(light)
    centred = (shade - masked_mean(shade, mask)[..., None, None]) * mask
    return (values * centred).sum((1, 2, 3)) / (shade * centred).sum((1, 2, 3)).clamp(min=1e-6)


def _left_right(albedo: Tensor, mask: Tensor) -> Tensor:
    """`left_right_error`, NaN for faces of which no texel is seen on both sides."""
    both = (mask * mask.flip(-1)).sum((1, 2, 3)) > 0
    some = torch.where(both[:, None, None, None], mask, 1.0)
    return torch.where(both, left_right_error(albedo, some), torch.nan)


def _enough(mask: Tensor, region: Tensor | float) -> Tensor:
    whole = region.sum() if isinstance(region, Tensor) else mask[0].numel() * 0.5
    return mask.sum((1, 2, 3)) > SMALLEST_SHARE * whole


def _rows(stage: Stage, scenes: Sequence[Scene], refiner: Refiner, count: int) -> list[Tensor]:
    rows: list[Tensor] = []
    for scene in scenes:
        if len(rows) >= count:
            break
        part: TensorRecord = scene[: count - len(rows)]
        rows += list(_cells(stage, part, refiner))  # type: ignore[arg-type]
    return rows


def _cells(stage: Stage, scene: Scene, refiner: Refiner) -> Tensor:
    """Return the pictures of each face side by side, [face, 3, height, width], sRGB."""
    refined = refiner(scene.face)
    mask = scene.face_mask
    albedo = read_atlas(refined.uv_albedo, scene.uv)
    light = read_atlas(uv_shading(scene, refined), scene.uv)
    lamp = scene.face.sh_radiance.new_zeros(1, 3, 9)
    lamp[..., 0], lamp[..., 3], lamp[..., 1], lamp[..., 2] = 1.6, -1.9, 0.5, 0.9
    relit = albedo * shading(lamp.expand(len(mask), -1, -1), scene.normal_view).clamp(min=0) * scene.openness
    level = PREVIEW_LEVEL * (scene.normal_view.abs().sum(1, keepdim=True) > 0)
    linear = (
        render(scene, refined) * (mask > 0), albedo * (level > 0), light * level, relit,
        refined.uv_albedo * stage.atlas_mask, scene.face.prior_albedo * stage.atlas_mask,
        scene.face.observation.uv_texture * (scene.face.observation.uv_visibility > 0.05),
    )  # fmt: skip
    if scene.truth is not None:
        linear = (*linear[:-2], scene.truth.uv_albedo * stage.atlas_mask, linear[-1])
    size = scene.photo_srgb.shape[-2:]
    fitted = [torch.nn.functional.interpolate(image, size=size, mode="area") for image in linear]
    return torch.cat([scene.photo_srgb, *(linear_to_srgb(image.clamp(0, 1)) for image in fitted)], dim=3)
