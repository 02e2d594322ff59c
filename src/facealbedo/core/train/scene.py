"""From stored crops to what a training step compares: g-buffer, unwrapped texture and prior, made on the device."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import srgb_to_linear
from facealbedo.core.face_model.albedo_prior import AlbedoPrior
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.geometry.projection import world_to_view
from facealbedo.core.losses.total import Truth
from facealbedo.core.networks.pigment import feature_region
from facealbedo.core.networks.pigment_net import PigmentNet
from facealbedo.core.networks.records import RefinerInput
from facealbedo.core.networks.refiner import face_pigment, face_shares, log_ratio
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.rasterize import Rasterizer, get_rasterizer
from facealbedo.core.render.uv import COSINE_RAMP, GRAZING_COSINE, atlas_texels, bake_region, bake_vertices, unwrap
from facealbedo.core.train.batch import CropBatch
from facealbedo.core.types import GBuffer, Record, TensorRecord

# Crops are at most about twice as fine as the atlas of the same size: one halving is enough, and a fixed number of
# halvings spares the device a wait.
PREFILTER_LEVELS = 1
SMALLEST_PRIOR, LARGEST_PRIOR = 3e-3, 0.98
# Faces judged at once: a block of steps has hundreds, whose activations would fill a device.
_AT_ONCE = 32


@dataclass(frozen=True)
class Scene(TensorRecord):
    """A batch of faces in front of their cameras.

    * ``photo_srgb``: in [0, 1]; ``face_mask``: trust in [0, 1] that a pixel shows the face's own skin.
    * ``uv``: atlas coordinates of each pixel; ``normal_view``: smooth unit normals; ``openness``: share of the sky
      that each pixel's surface sees past the face itself.
    * ``face``: what a network gets. ``truth``: of fabricated faces, if any are in the batch.
    """

    photo_srgb: Float[Tensor, "batch 3 image_height image_width"]
    face_mask: Float[Tensor, "batch 1 image_height image_width"]
    uv: Float[Tensor, "batch 2 image_height image_width"]
    normal_view: Float[Tensor, "batch 3 image_height image_width"]
    openness: Float[Tensor, "batch 1 image_height image_width"]
    face: RefinerInput
    truth: Truth | None


@dataclass(frozen=True, eq=False)
class Stage:
    """What all scenes share, on one device: the models, the rasteriser and masks of the atlas.

    * ``face_region``: the landmark oval without the insides of eyes and nostrils, soft.
    * ``skin_region``: where measures of skin are taken. ``detail_region``: brows and lips; ``feature_region``:
      see `networks.pigment.feature_region`.
    * ``atlas_mask``: the atlas. ``uv_openness``: see `Scene`; 1 outside the atlas.
    * ``pigment_net``: what tells pigment from shading on skin; None: colour alone does.
    """

    model: FaceModel
    prior: AlbedoPrior
    rasterizer: Rasterizer
    resolution: int
    face_region: Float[Tensor, "1 1 height width"]
    skin_region: Float[Tensor, "1 1 height width"]
    detail_region: Float[Tensor, "1 1 height width"]
    feature_region: Float[Tensor, "1 1 height width"]
    atlas_mask: Float[Tensor, "1 1 height width"]
    uv_openness: Float[Tensor, "1 1 height width"]
    pigment_net: PigmentNet | None = None

    @property
    def device(self) -> torch.device:
        """Where everything is."""
        return self.face_region.device

    def judged(self, face: RefinerInput, fused: bool = False) -> RefinerInput:
        """Return faces with their pigment; ``fused``: by compiled code, for many faces of one resolution."""
        judge, count = _judge(fused), len(face.prior_albedo)
        parts = [judge(self.pigment_net, face[start : start + _AT_ONCE]) for start in range(0, count, _AT_ONCE)]
        return replace(face, uv_pigment=torch.cat(parts))


@torch.no_grad()
def _pigment(net: PigmentNet | None, face: RefinerInput) -> Float[Tensor, "batch 3 height width"]:
    return face_pigment(face, log_ratio(face), None if net is None else face_shares(net, face))


@lru_cache(maxsize=2)
def _judge(fused: bool) -> Callable[[PigmentNet | None, RefinerInput], Tensor]:
    return torch.compile(_pigment, dynamic=False) if fused else _pigment


def make_stage(
    model: FaceModel,
    prior: AlbedoPrior,
    openness: Float[Tensor, "vertex"],
    resolution: int,
    device: torch.device | str,
    pigment_net: PigmentNet | None = None,
) -> Stage:
    """Bring models to the device and bake the masks.

    Args:
        model: with the regions of `face_model.regions`.
        prior: the albedo prior.
        openness: share of the sky that each vertex sees (`render.occlusion`).
        resolution: texels a side of the atlas maps.
        device: CPU or CUDA.
        pigment_net: of the skin's detail; see `Stage`.
    """
    model, prior = model.to(device), prior.to(device)

    def region(name: str) -> Tensor:
        return bake_region(model, name, resolution)[None, None]

    mask = atlas_texels(model, resolution).mask[None, None].float()
    features = torch.maximum(region("brows"), region("lips"))
    open_sky = bake_vertices(model, openness.to(device)[None, :, None], resolution)
    closed = (1 - region("eye_rims")) * (1 - region("nostrils"))
    return Stage(
        model=model,
        prior=prior,
        rasterizer=get_rasterizer("auto", device),
        resolution=resolution,
        face_region=region("face") * closed,
        skin_region=(region("core_skin") > 0.6).float(),
        detail_region=(features > 0.5).float(),
        feature_region=feature_region(region("brows"), region("lips")),
        atlas_mask=mask,
        uv_openness=torch.where(mask > 0, (open_sky + open_sky.flip(-1)) / 2, 1.0).clamp(min=0.05),
        pigment_net=None if pigment_net is None else copy.deepcopy(pigment_net).to(device),
    )


@torch.no_grad()
def make_scene(stage: Stage, batch: CropBatch, truth: Truth | None = None) -> Scene:
    """Pose, rasterise, unwrap and decode the prior."""
    coefficients, camera = batch.coefficients, batch.camera
    world = stage.model.decode(coefficients.identity_coeffs, coefficients.expression_coeffs)
    vertices = world_to_view(world, batch.pose)
    normals = stage.model.normals(vertices)
    fragments, buffer = render_gbuffer(stage.model, vertices, camera, stage.rasterizer, normals)
    photo_srgb = batch.photo_srgb.float() / 255
    valid = batch.valid.float() / 255
    observation = unwrap(
        stage.model, srgb_to_linear(photo_srgb), vertices, camera, fragments, stage.resolution,
        image_valid=valid, normals_view=normals, max_level=PREFILTER_LEVELS,
    )  # fmt: skip
    trust = stage.face_region * _upsampled(batch.uv_trust.float() / 255, stage.resolution)
    visibility = observation.uv_visibility * trust
    prior = stage.prior.decode(coefficients.albedo_coeffs, stage.resolution).clamp(SMALLEST_PRIOR, LARGEST_PRIOR)
    openness = stage.uv_openness.expand(len(batch), -1, -1, -1)
    seen = replace(observation, uv_visibility=visibility)
    regions = torch.cat([stage.skin_region, stage.feature_region], dim=1).expand(len(batch), -1, -1, -1)
    face = RefinerInput(seen, prior, batch.sh_radiance, openness, regions)
    mask = _facing(buffer) * (valid > 0.99) * read_atlas((trust > 0.5).float() * trust, buffer.uv)
    return Scene(photo_srgb, mask, buffer.uv, buffer.normal_view, read_atlas(openness, buffer.uv), face, truth)


def read_atlas(
    uv_map: Float[Tensor, "batch channel rows columns"], uv: Float[Tensor, "batch 2 height width"]
) -> Float[Tensor, "batch channel height width"]:
    """Read an atlas map at every pixel, bilinear between texel centres, the border repeated.

    The same as `render.sampling.sample_uv`, by the one fused kernel that torch has for it.
    """
    grid = (uv * 2 - 1).permute(0, 2, 3, 1)
    return torch.nn.functional.grid_sample(uv_map, grid, mode="bilinear", padding_mode="border", align_corners=False)


def concatenate(first: Scene, second: Scene) -> Scene:
    """One batch of two; faces without truth get an empty one if the others have some."""
    if (first.truth is None) != (second.truth is None):
        first, second = (_with_empty_truth(scene) for scene in (first, second))
    return _concatenate(first, second)


def _concatenate(first: Record, second: Record) -> Record:
    joined = {}
    for item in fields(first):  # type: ignore[arg-type]
        a, b = getattr(first, item.name), getattr(second, item.name)
        if isinstance(a, Tensor):
            joined[item.name] = torch.cat([a, b])
        elif isinstance(a, TensorRecord):
            joined[item.name] = _concatenate(a, b)
    return replace(first, **joined)  # type: ignore[type-var]


def _with_empty_truth(scene: Scene) -> Scene:
    if scene.truth is not None:
        return scene
    prior = scene.face.prior_albedo
    return replace(scene, truth=Truth(prior, torch.zeros_like(prior[:, :1]), prior.new_zeros(prior.shape[0])))


def _facing(buffer: GBuffer) -> Tensor:
    """Trust of each pixel by the angle at which its surface is seen, as `unwrap` has it for texels."""
    towards = -torch.nn.functional.normalize(buffer.position_view, dim=1)
    cosine = (buffer.normal_view * towards).sum(1, keepdim=True)
    return ((cosine - GRAZING_COSINE) / COSINE_RAMP).clamp(0, 1) * buffer.skin_coverage


def _upsampled(uv_map: Tensor, resolution: int) -> Tensor:
    return torch.nn.functional.interpolate(uv_map, size=(resolution, resolution), mode="bilinear", align_corners=False)
