"""Which texels of an unwrapped photo show the face's own skin, and which show hair, a scarf or something else.

Hair is learned from the picture itself: skin from the inner face, hair from the band beyond the landmark oval, as far
as that does not look like the face's skin (a bald head has no hair there). A texel of the face is hair when it looks
more like the band than like the skin and hair-like texels lead to it from the border: a brow or a mole is not hair
that hangs into the face. Nothing here depends on how dark the skin is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.render.uv import atlas_texels, bake_region
from facealbedo.core.types import TensorRecord

RESOLUTION = 128
_DARKEST = 4e-3
# Least standard deviations of the features: log level, log R/G, log B/G, log local contrast.
_SKIN_SD = (0.20, 0.06, 0.08, 0.35)
_HAIR_SD = (0.40, 0.10, 0.12, 0.45)
_CONTRAST_FLOOR = 0.03


@dataclass(frozen=True)
class OccluderConfig:
    """When a texel is taken for something else than the face's skin.

    Attributes:
        dark_log, bright_log, chroma_log: residuals (natural log) of the fitted face beyond which a texel is not
            skin, wherever it lies: deep cast shadow, burnt-out highlight, frame of glasses, paint.
        usual: the limits are at least this multiple of what two thirds of the inner face keep to: a hard light or a
            misjudged tone makes all residuals larger.
        least_glasses: share of the surroundings of the eyes that has to be no skin before all of it is called glasses.
        gloss: by how much of chroma_log more the hue may differ, a unit of log brightness above the fit: gloss adds the
            light's own colour, which on dark skin is far from the skin's. shade: the same, a unit of darkness.
        band_texels: width of the band beyond the oval from which hair is learned, texels of 1/128 of the atlas.
        skin_like: squared Mahalanobis distance from the skin at which a texel of the band counts half as hair.
        least_hair: share of the band that has to look unlike skin before anything is called hair.
        border_logit, logit_per_texel: log odds of hair before the picture is looked at: at the oval's border, and
            how they fall towards the middle of the face.
    """

    dark_log: float = 1.5
    bright_log: float = 1.8
    chroma_log: float = 0.6
    gloss: float = 2.0
    shade: float = 0.7
    usual: float = 2.1
    least_glasses: float = 0.45
    band_texels: int = 9
    skin_like: float = 12.0
    least_hair: float = 0.08
    border_logit: float = 0.5
    logit_per_texel: float = 0.22


@dataclass(frozen=True)
class OccluderMaps(TensorRecord):
    """Places in the atlas at `RESOLUTION`.

    * ``skin``: where the face's skin is learned. ``band``: where hair is learned.
    * ``depth``: distance from the oval's border inward, texels; 0 outside.
    * ``passable``: 0 at brows, sockets and lips, which may be dark or coarse and are the face's own.
    * ``beard``: where a beard may grow, ``chin`` included, which shows whether there is one.
    * ``glasses``: what dark glasses cover. ``frames``: where their frames may run, brows and lids left out.
    """

    skin: Float[Tensor, "1 1 height width"]
    band: Float[Tensor, "1 1 height width"]
    depth: Float[Tensor, "1 1 height width"]
    passable: Float[Tensor, "1 1 height width"]
    beard: Float[Tensor, "1 1 height width"]
    chin: Float[Tensor, "1 1 height width"]
    glasses: Float[Tensor, "1 1 height width"]
    frames: Float[Tensor, "1 1 height width"]


def occluder_maps(model: FaceModel, config: OccluderConfig | None = None) -> OccluderMaps:
    """Bake the places."""
    settings = config or OccluderConfig()

    def region(name: str) -> Tensor:
        return bake_region(model, name, RESOLUTION)

    face = (region("face") > 0.5).cpu().numpy().astype(np.uint8)
    depth = cv2.distanceTransform(face, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    beyond = cv2.distanceTransform(1 - face, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    mask = atlas_texels(model, RESOLUTION).mask
    upper = (region("neck") + region("beard")) < 0.1
    band = torch.from_numpy((beyond > 1) & (beyond <= settings.band_texels)).to(mask.device) & mask & upper
    sockets = _closed(torch.maximum(region("brows"), region("lids")))
    return OccluderMaps(
        skin=(region("core_skin") > 0.9).float()[None, None],
        band=band.float()[None, None],
        depth=torch.from_numpy(depth).to(mask.device)[None, None],
        passable=(1 - torch.maximum(region("lips"), sockets))[None, None],
        beard=region("beard")[None, None],
        chin=(region("chin") * region("beard"))[None, None],
        glasses=torch.maximum(sockets, region("under_eye"))[None, None],
        frames=_frames(region("under_eye"), sockets)[None, None] * (region("face") > 0.5),
    )


def _closed(mask: Float[Tensor, "height width"]) -> Float[Tensor, "height width"]:
    """Close the gap between brow and lid, which lies in the shade of the brow."""
    grown = F.max_pool2d(mask[None, None], 9, 1, 4)
    return -F.max_pool2d(-grown, 9, 1, 4)[0, 0]


def _frames(
    under_eye: Float[Tensor, "height width"], sockets: Float[Tensor, "height width"]
) -> Float[Tensor, "height width"]:
    """Return 1 in the rows between brows and cheeks; brows and lids with their lashes and folds are left out."""
    rows = (torch.maximum(under_eye, sockets) > 0.5).any(1).nonzero().flatten()
    place = torch.zeros_like(sockets)
    place[int(rows.min()) : int(rows.max()) + 3] = 1
    return place * (F.max_pool2d(sockets[None, None], 3, 1, 1)[0, 0] < 0.5)


def own_skin(
    texture: Float[Tensor, "batch 3 height width"],
    visibility: Float[Tensor, "batch 1 height width"],
    shading: Float[Tensor, "batch 3 height width"],
    albedo: Float[Tensor, "batch 3 height width"],
    maps: OccluderMaps,
    config: OccluderConfig | None = None,
) -> Float[Tensor, "batch 1 height width"]:
    """Return 1 where a texel shows the face's own skin, 0 where it does not, soft between; 1 where nothing is seen.

    Args:
        texture: linear RGB, side a multiple of `RESOLUTION`.
        visibility: of the texels.
        shading: fitted, linear RGB.
        albedo: of the prior, as fitted.
        maps: places in the atlas.
        config: limits; the defaults when omitted.

    Raises:
        ValueError: a side that is no multiple of `RESOLUTION`.
    """
    settings = config or OccluderConfig()
    if texture.shape[-1] % RESOLUTION or texture.shape[-2] != texture.shape[-1]:
        raise ValueError(f"maps must be square with a side divisible by {RESOLUTION}, got {tuple(texture.shape[-2:])}")
    factor = texture.shape[-1] // RESOLUTION
    share = F.avg_pool2d(visibility, factor)
    logs = [value.clamp(min=_DARKEST).log() for value in (texture, shading, albedo)]
    reflected = _pooled(logs[0] - logs[1], visibility, share, factor)
    residual = _pooled(logs[0] - logs[1] - logs[2], visibility, share, factor)
    features = torch.cat([_level_and_chroma(reflected), _contrast(logs[0].mean(1, keepdim=True), factor)], dim=1)
    hair = _hair(features, share, maps, settings)
    other = torch.maximum(hair, _unlike_model(residual, share * (1 - hair), maps, settings))
    # What surrounds an occluder is its blurred border.
    spread = F.avg_pool2d(F.max_pool2d(other, 3, 1, 1), 3, 1, 1, count_include_pad=False)
    size = (texture.shape[-2], texture.shape[-1])
    return 1 - F.interpolate(spread, size=size, mode="bilinear", align_corners=False)


def _pooled(values: Tensor, weight: Tensor, share: Tensor, factor: int) -> Tensor:
    return F.avg_pool2d(values * weight, factor) / share.clamp(min=1e-6)


def _level_and_chroma(log_colour: Tensor) -> Tensor:
    red, green, blue = log_colour.split(1, dim=1)
    return torch.cat([log_colour.mean(1, keepdim=True), red - green, blue - green], dim=1)


def _contrast(log_level: Tensor, factor: int) -> Tensor:
    """Return the log of the local standard deviation of the log level: strands of hair are coarse, skin is smooth."""
    pooled = (F.avg_pool2d(value, factor) for value in (log_level, log_level**2))
    mean, square = (F.avg_pool2d(value, 3, 1, 1, count_include_pad=False) for value in pooled)
    return ((square - mean**2).clamp(min=0).sqrt() + _CONTRAST_FLOOR).log()


def _hair(
    features: Tensor, share: Tensor, maps: OccluderMaps, settings: OccluderConfig
) -> Float[Tensor, "batch 1 height width"]:
    """Return how surely each texel is hair, or whatever else lies around the face, that reaches into it."""
    flat = features.flatten(2)
    seen = share.flatten(1)
    skin = _gaussian(flat, _without_outliers(flat, seen * maps.skin.flatten(1)), _SKIN_SD)
    from_skin, skin_volume = _distance(_without_gloss(flat, skin[0]), *skin)
    band = seen * maps.band.flatten(1)
    unlike = band * torch.sigmoid((from_skin - settings.skin_like) / 2)
    part = unlike.sum(1) / band.sum(1).clamp(min=1e-6)
    present = ((part - settings.least_hair) / settings.least_hair).clamp(0, 1)
    hair = _gaussian(flat, unlike, _HAIR_SD)
    from_hair, hair_volume = _distance(flat, *hair)
    odds = 0.5 * (from_skin - from_hair + (skin_volume - hair_volume)[:, None])
    prior = settings.border_logit - settings.logit_per_texel * maps.depth.flatten(1)
    likely = torch.sigmoid(odds + prior) * present[:, None] * _same_side(flat[:, 0], skin[0][:, :1], hair[0][:, :1])
    likely = likely.reshape(share.shape)
    place = maps.passable * (1 - maps.beard * _bearded(likely, share, maps))
    likely = F.avg_pool2d(likely * place, 3, 1, 1, count_include_pad=False)
    return ((_connected(likely, maps.depth) - 0.4) / 0.2).clamp(0, 1)


def _without_gloss(flat: Tensor, skin: Tensor) -> Tensor:
    """Take back what gloss would have done to skin: brighter, and its hue on the way to the light's own.

    Strands of hair still differ by their contrast.
    """
    level, chroma, contrast = flat.split([1, 2, 1], dim=1)
    middle, usual = skin[:, :1, None], skin[:, 1:3, None]
    brighter = (level - middle).clamp(min=0)
    # Gloss as strong as the skin is bright (log 2) halves the way to the light's hue.
    most = -torch.expm1(-brighter)
    way = ((usual - chroma) * usual).sum(1, keepdim=True) / (usual**2).sum(1, keepdim=True).clamp(min=1e-4)
    return torch.cat([level - brighter, chroma + way.clamp(min=0).minimum(most) * usual, contrast], dim=1)


def _bearded(likely: Tensor, share: Tensor, maps: OccluderMaps) -> Float[Tensor, "batch 1 1 1"]:
    """Return 1 where the chin looks like hair: then it is the face's own, and so is what joins it at the jaw."""
    seen = share * maps.chin
    covered = (likely * seen).sum((1, 2, 3), keepdim=True) / seen.sum((1, 2, 3), keepdim=True).clamp(min=1e-6)
    return ((covered - 0.1) / 0.2).clamp(0, 1)


def _same_side(level: Tensor, skin: Tensor, hair: Tensor) -> Tensor:
    """Return 0 for texels on the far side of the skin's level from the hair's: gloss is not dark hair."""
    gap = hair - skin
    beyond = (level - skin) * gap.sign() + 0.3
    decided = ((gap.abs() - 0.3) / 0.3).clamp(0, 1)
    return 1 - decided * torch.sigmoid(-beyond / 0.1)


def _without_outliers(flat: Tensor, weight: Tensor) -> Tensor:
    """Return the weight, less where level or chroma are far from the median: hair and shadows over the inner face."""
    known = torch.where(weight[:, None] > 0.5, flat, torch.nan)
    middle = torch.nan_to_num(known.nanmedian(2, keepdim=True).values)
    spread = torch.nan_to_num((known - middle).abs().nanmedian(2, keepdim=True).values)
    floor = flat.new_tensor(_SKIN_SD)[:, None]
    far = (((flat - middle) / torch.maximum(1.5 * spread, floor)) ** 2).amax(1)
    return weight / (1 + far / 9) ** 2


def _gaussian(flat: Tensor, weight: Tensor, least_sd: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    total = weight.sum(1).clamp(min=1e-6)
    mean = torch.einsum("bn,bfn->bf", weight, flat) / total[:, None]
    centred = flat - mean[..., None]
    covariance = torch.einsum("bn,bfn,bgn->bfg", weight, centred, centred) / total[:, None, None]
    return mean, covariance + torch.diag(flat.new_tensor(least_sd) ** 2)


def _distance(flat: Tensor, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Return squared Mahalanobis distances and the log determinant of the covariance."""
    factor = torch.linalg.cholesky(covariance)
    whitened = torch.linalg.solve_triangular(factor, flat - mean[..., None], upper=False)
    return (whitened**2).sum(1), 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(1)


def _connected(likely: Tensor, depth: Tensor) -> Tensor:
    """Keep what leads to the oval's border: grey-scale reconstruction by dilation (Vincent 1993), at half the size."""
    mask = F.avg_pool2d(likely, 2)
    reached = mask * (F.avg_pool2d(depth, 2) < 3)
    for _ in range(math.ceil(0.5 * float(depth.max()))):
        reached = torch.minimum(F.max_pool2d(reached, 3, 1, 1), mask)
    wide = F.interpolate(F.max_pool2d(reached, 3, 1, 1), scale_factor=2.0, mode="bilinear", align_corners=False)
    return torch.minimum(wide, likely)


def _unlike_model(
    residual: Tensor, share: Tensor, maps: OccluderMaps, settings: OccluderConfig
) -> Float[Tensor, "batch 1 height width"]:
    """Return 1 where a texel is far darker, brighter or of another hue than the fitted face in its light, soft."""
    blurred = F.avg_pool2d(residual, 5, stride=1, padding=2, count_include_pad=False)
    level = blurred.mean(1, keepdim=True)
    chroma = (blurred - level).abs().amax(1, keepdim=True)
    # Gloss adds the light's own colour. Skin shines on itself: its shade is redder, as no hair, frame or cloth is.
    hue_limit = settings.chroma_log * (1 + settings.gloss * level.clamp(min=0) - settings.shade * level.clamp(max=0))
    parts = (-(level + _warmth(blurred)) / settings.dark_log, level / settings.bright_log, chroma / hue_limit)
    inner = share * maps.skin
    excess = torch.stack([part / (settings.usual * _usual(part, inner)).clamp(min=1) for part in parts]).amax(0)
    worn = _dark_glasses(_soft(excess), share, maps, settings)
    return torch.maximum(_soft(excess * maps.passable * (1 - maps.beard)), worn)


def _soft(excess: Tensor) -> Tensor:
    return ((excess - 0.85) / 0.3).clamp(0, 1)


def _warmth(residual: Tensor) -> Tensor:
    """Return how much redder a texel is than the fitted face, natural log of red over blue, halved."""
    return ((residual[:, :1] - residual[:, 2:]) / 2).clamp(min=0)


def _dark_glasses(excess: Tensor, share: Tensor, maps: OccluderMaps, settings: OccluderConfig) -> Tensor:
    """Return the place of glasses where most of what is seen around the eyes is no skin; nothing elsewhere."""
    around = share * maps.glasses * (maps.depth > 0)
    covered = (excess * around).sum((1, 2, 3), keepdim=True) / around.sum((1, 2, 3), keepdim=True).clamp(min=1e-6)
    worn = ((covered - settings.least_glasses) / 0.1).clamp(0, 1)
    return worn * torch.maximum(F.max_pool2d(maps.glasses, 5, 1, 2), excess * maps.frames)


def _usual(values: Tensor, weight: Tensor) -> Float[Tensor, "batch 1 1 1"]:
    """Return what two thirds of the seen inner face keep to; 0 where nothing is seen."""
    known = torch.where(weight > 0.5, values, torch.nan).flatten(1)
    return torch.nan_to_num(known.nanquantile(0.67, dim=1))[:, None, None, None]
