"""What of a photo's detail is pigment: shading moves all of a face's colours along one line, pigment does not.

In ideal light that line is grey, (1, 1, 1) in log colour. In developed photos it is not: tone curves make shadows more
saturated, highlights whiten skin, light scattered under the skin reddens folds. Nearly all fine detail of bare skin is
shading, so the line is the principal axis of a face's own detail (the idea of Tsumura et al. 2003, "Image-based skin
color and texture analysis/synthesis", with the axis of shading measured instead of assumed).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.types import TensorRecord

# Detail of skin is what is finer than this part of the atlas; brows and lips are objects, of this size.
DETAIL_SHARE, FEATURE_SHARE = 1 / 10, 1 / 3
# Sides of the maps at which the two low passes are made.
LOW_PASS_PX, FEATURE_LOW_PASS_PX = 256, 64
# Strength with which the axis is drawn to grey, as a variance of log colour: faces without detail have no axis.
GREY_VARIANCE = 1e-3
# Height that brows are given beyond the model's, part of the atlas.
BROW_REACH = 0.03
# Trust from which a texel's detail is taken whole.
BELIEVED = 0.4
# Mean darkness by pigment, over the window of a low pass, from which on skin is that of a beard, natural log.
HAIR_LOG = 0.1
# Longest detail off the line of shading that counts when measuring how usual it is on a face, natural log.
LONGEST_HUE = 0.2


@dataclass(frozen=True)
class PigmentConfig:
    """How much of a photo's detail counts as pigment: where nothing was learned about it, and how far beside shares.

    Detail along the line of shading is counted in part: hair, stubble and pores lie on it, too. Darker detail on skin
    may be a pore or a wrinkle, on brows it is hair; brighter detail is nearly always a highlight, except where it takes
    back a brow that only the prior has. Lips have one colour, which is taken whole; what differs within them is mostly
    light on a round, wet form.

    Detail off that line is softly limited in length: in light of several colours there is more than one line. The less
    of it a face has, the more certain is its light to have one colour, and the longer a mole's or freckle's may be.

    Attributes:
        darker_skin, darker_brows, darker_lips, brighter: shares of detail along the line; within lips of what differs
            from their mean.
        hue_skin: longest off the line on faces with much of it, natural log; hue_clear: how much more on faces with
            none; hue_usual: the mean length at which that ends; hue_lips: longest of the colour of lips; hue_in_lips:
            of what differs from it within them; hue_brows: longest on brows, where dark pixels and coarsely stored
            colours make up hues that no hair has; on beards, too.
        hue_stain: longest on skin of which shares were learned. bare_weight: how much more bare skin weighs there in
            the level of the skin around than what is pigment itself.
    """

    darker_skin: float = 0.2
    darker_brows: float = 1.0
    darker_lips: float = 0.25
    brighter: float = 0.05
    hue_skin: float = 0.04
    hue_clear: float = 0.2
    hue_usual: float = 0.03
    hue_lips: float = 0.2
    hue_in_lips: float = 0.05
    hue_brows: float = 0.04
    hue_stain: float = 0.3
    bare_weight: float = 50.0


@dataclass(frozen=True)
class DetailSplit(TensorRecord):
    """Detail of a log ratio, taken apart at the line of shading.

    * ``axis``: unit direction of that line in log colour. ``along``: the detail's length on it. ``off``: the rest.
    """

    axis: Float[Tensor, "batch 3 1 1"]
    along: Float[Tensor, "batch 1 height width"]
    off: Float[Tensor, "batch 3 height width"]


def split_detail(
    log_ratio: Float[Tensor, "batch 3 height width"],
    trust: Float[Tensor, "batch 1 height width"],
    skin: Float[Tensor, "skin_batch 1 height width"],
    features: Float[Tensor, "feature_batch 1 height width"],
) -> DetailSplit:
    """Find a face's line of shading, and take its detail apart there; arguments as of `pigment_detail`."""
    axis = shading_axis(fine_part(log_ratio, trust), trust * skin)[:, :, None, None]
    detail = detail_part(log_ratio, trust, features)
    along = (detail * axis).sum(1, keepdim=True)
    return DetailSplit(axis, along, detail - axis * along)


def pigment_detail(
    log_ratio: Float[Tensor, "batch 3 height width"],
    log_prior: Float[Tensor, "batch 3 height width"],
    trust: Float[Tensor, "batch 1 height width"],
    skin: Float[Tensor, "skin_batch 1 height width"],
    features: Float[Tensor, "feature_batch 1 height width"],
    config: PigmentConfig | None = None,
    shares: Float[Tensor, "batch 2 rows columns"] | None = None,
) -> Float[Tensor, "batch 3 height width"]:
    """Return the part of the detail of log(texture / (shading x prior)) that is taken for pigment.

    Args:
        log_ratio: of each texel; only its detail is looked at.
        log_prior: logarithm of the prior's albedo.
        trust: of each texel.
        skin: bare skin, where the line of shading is measured.
        features: brows and lips, 1 inside.
        config: how much counts.
        shares: how much of skin's detail along the line of shading and off it is pigment, at any resolution (see
            `pigment_net`); None: by the shares of ``config``. On brows and lips these always count.
    """
    settings = config or PigmentConfig()
    split = split_detail(log_ratio, trust, skin, features)
    axis, along = split.axis, split.along
    inside, whole = wholly(features), torch.ones_like(trust)
    own = log_prior - _wide_part(log_prior, whole)
    own_along = (own * axis).sum(1, keepdim=True)
    darker = -own_along.clamp(max=0)
    stock = darker * inside
    # A low pass over a brow is darker than the skin around it: what is brighter than that skin is measured from it.
    around = _wide_part(log_ratio, trust * (1 - inside))
    above = ((log_ratio - around) * axis).sum(1, keepdim=True) * (trust > 0.05)
    above = torch.lerp(along, above, inside)
    # With the darkness of a brow that only the prior has goes its grey.
    gone = torch.minimum(above.clamp(min=0), stock) / stock.clamp(min=1e-3)
    grey = (own - axis * own_along) * inside * gone
    hue = _limited_hue(split.off + grey, trust * skin, inside, settings) - grey
    ruled = hue + axis * _pigment_along(along, above, stock, inside, settings)
    lips = inside * (1 - upper_half(inside))
    ruled = torch.lerp(ruled, _lips(split, above, stock, trust * lips, settings), lips)
    if shares is None:
        return ruled
    return torch.lerp(_shared(log_ratio, trust, axis, darker, shares, settings), ruled, inside)


def _shared(
    log_ratio: Float[Tensor, "batch 3 height width"],
    trust: Float[Tensor, "batch 1 height width"],
    axis: Float[Tensor, "batch 3 1 1"],
    darker: Float[Tensor, "batch 1 height width"],
    shares: Float[Tensor, "batch 2 rows columns"],
    settings: PigmentConfig,
) -> Float[Tensor, "batch 3 height width"]:
    """Return the shares of what differs from the bare skin around.

    Not of the detail itself: its low pass is dark near a beard, and the skin beside it would come out pale.

    Args:
        log_ratio: as of `pigment_detail`.
        trust: the same.
        axis: the line of shading.
        darker: how much darker the prior is than its own surroundings: hair that only the prior may have.
        shares: along and off the line of shading.
        settings: limits.
    """
    size = (log_ratio.shape[-2], log_ratio.shape[-1])
    if (shares.shape[-2], shares.shape[-1]) != size:
        shares = torch.nn.functional.interpolate(shares, size=size, mode="bilinear", align_corners=False)
    along_share, off_share = shares.split((1, 1), dim=1)
    bare = trust * (1 + settings.bare_weight * (1 - along_share).square())
    differs = (log_ratio - coarse_part(log_ratio, bare)) * (trust > 0.05)
    along = (differs * axis).sum(1, keepdim=True)
    taken, off = along_share * along, off_share * (differs - along * axis)
    # Beside hair nothing is lighter than bare skin, and hair has hardly a hue.
    hair = hairiness(taken, trust)
    lighter = taken.clamp(min=0)
    taken_back = torch.minimum(lighter, darker)
    taken = taken.clamp(max=0) + taken_back + (lighter - taken_back) * (1 - hair)
    return taken * axis + _shortened(off, settings.hue_stain + (settings.hue_brows - settings.hue_stain) * hair)


def _lips(
    split: DetailSplit, above: Tensor, stock: Tensor, seen: Tensor, settings: PigmentConfig
) -> Float[Tensor, "batch 3 height width"]:
    """Return what counts of the detail of lips: their one colour, and part of what differs from it.

    Args:
        split: the detail.
        above: along the line of shading from the level of the skin around.
        stock: how much darker the prior's lips are; a photo's lips are not lighter than the skin around.
        seen: trusted lips.
        settings: shares and limits.
    """
    total = seen.sum((2, 3), keepdim=True).clamp(min=1.0)

    def mean(values: Tensor) -> Tensor:
        return (values * seen).sum((2, 3), keepdim=True) / total

    level, colour = mean(above), mean(split.off)
    tone = torch.minimum(level, mean(stock))
    rest = (above - level) * (above != 0)
    along = tone + settings.brighter * rest.clamp(min=0) + settings.darker_lips * rest.clamp(max=0)
    longest = torch.full_like(level, settings.hue_lips)
    spots = _shortened(split.off - colour, torch.full_like(level, settings.hue_in_lips))
    return along * split.axis + _shortened(colour, longest) + spots


def hairiness(
    log_pigment: Float[Tensor, "batch channel height width"], trust: Float[Tensor, "batch 1 height width"]
) -> Float[Tensor, "batch 1 height width"]:
    """Return in [0, 1] whether pigment of skin is a beard's: much of it is dark.

    Freckles and usual moles are little; a deep mole of four texels and more (at 256 a side) passes for hair.
    """
    dark = -log_pigment.mean(1, keepdim=True).clamp(max=0)
    return (coarse_part(dark, trust) / HAIR_LOG).clamp(max=1)


def _shortened(
    off: Float[Tensor, "batch 3 height width"], longest: Float[Tensor, "batch 1 rows columns"]
) -> Float[Tensor, "batch 3 height width"]:
    """Softly limit the length of log colours."""
    length = off.square().sum(1, keepdim=True).clamp(min=1e-10).sqrt()
    return off * (longest * torch.tanh(length / longest) / length)


def _limited_hue(
    off: Float[Tensor, "batch 3 height width"], skin: Tensor, features: Tensor, settings: PigmentConfig
) -> Float[Tensor, "batch 3 height width"]:
    """Softly limit detail off the line of shading, on skin and brows."""
    length = off.square().sum(1, keepdim=True).clamp(min=1e-10).sqrt()
    area = skin.sum((1, 2, 3), keepdim=True).clamp(min=1.0)
    usual = (length.clamp(max=LONGEST_HUE) * skin).sum((1, 2, 3), keepdim=True) / area
    on_skin = settings.hue_skin + settings.hue_clear * torch.exp(-((usual / settings.hue_usual) ** 2))
    return _shortened(off, on_skin + (settings.hue_brows - on_skin) * features)


def upper_half(like: Tensor) -> Float[Tensor, "height 1"]:
    """Return 1 in the upper rows: the atlas stands upright, so of the features brows lie there, lips below."""
    rows = torch.arange(like.shape[-2], device=like.device)[:, None]
    return (2 * rows < like.shape[-2]).to(like)


def _pigment_along(
    along: Float[Tensor, "batch 1 height width"],
    above: Tensor,
    stock: Tensor,
    features: Tensor,
    settings: PigmentConfig,
) -> Float[Tensor, "batch 1 height width"]:
    """Return what counts of detail along the line on skin and brows.

    Args:
        along: the detail.
        above: the same, on brows from the level of the skin around them.
        stock: how much darker the prior's own brows are.
        features: inside them 1.
        settings: shares.
    """
    darker = settings.darker_skin + (settings.darker_brows - settings.darker_skin) * features
    taken_back = torch.minimum(above.clamp(min=0), stock)
    bright = taken_back + settings.brighter * (above - taken_back)
    return torch.where(above > 0, bright, darker * along.clamp(max=0))


def wholly(features: Tensor) -> Tensor:
    """Return the soft region so that its inside is 1 to the edge."""
    return (2 * features).clamp(max=1)


def feature_region(
    brows: Float[Tensor, "batch 1 height width"], lips: Float[Tensor, "batch 1 height width"]
) -> Float[Tensor, "batch 1 height width"]:
    """Return where detail is that of brows or lips; brows may lie somewhat higher or lower than the model has them."""
    reach = 2 * round(brows.shape[-1] * BROW_REACH / 2) + 1
    wide = torch.nn.functional.max_pool2d(brows, (reach, 1), 1, (reach // 2, 0))
    return torch.maximum(wide, lips)


def believed(trust: Tensor) -> Tensor:
    """Return the part of a texel's detail that is taken, by its trust: a fully seen one's is taken whole."""
    return (trust / BELIEVED).clamp(max=1)


def detail_part(
    values: Float[Tensor, "batch 3 height width"],
    trust: Float[Tensor, "batch 1 height width"],
    features: Float[Tensor, "feature_batch 1 height width"],
) -> Tensor:
    """Return values less their low pass over trusted texels, a wider one on brows and lips; 0 without trust."""
    low = torch.lerp(coarse_part(values, trust), _wide_part(values, trust), wholly(features))
    return (values - low) * (trust > 0.05)


def _wide_part(values: Tensor, trust: Tensor) -> Tensor:
    return coarse_part(values, trust, FEATURE_SHARE, FEATURE_LOW_PASS_PX)


def fine_part(values: Float[Tensor, "batch 3 height width"], trust: Float[Tensor, "batch 1 height width"]) -> Tensor:
    """Return values less their low pass over trusted texels; 0 where nothing is trusted."""
    return (values - coarse_part(values, trust)) * (trust > 0.05)


def coarse_part(
    values: Float[Tensor, "batch channel height width"],
    trust: Float[Tensor, "batch 1 height width"],
    share: float = DETAIL_SHARE,
    low_pass_px: int = LOW_PASS_PX,
) -> Float[Tensor, "batch channel height width"]:
    """Return the low pass of values over trusted texels; maps larger than ``low_pass_px`` are filtered at that size."""
    factor = max(values.shape[-1] // low_pass_px, 1)
    weighted, weight = values * trust, trust
    if factor > 1:
        weighted, weight = (torch.nn.functional.avg_pool2d(image, factor) for image in (weighted, weight))
    size = 2 * max(int(weighted.shape[-1] * share) // 4, 1) + 1
    low = _box_twice(weighted, size) / _box_twice(weight, size).clamp(min=0.05)
    if factor > 1:
        low = torch.nn.functional.interpolate(low, size=values.shape[-2:], mode="bilinear", align_corners=False)
    return low


def shading_axis(
    detail: Float[Tensor, "batch 3 height width"], weight: Float[Tensor, "batch 1 height width"]
) -> Float[Tensor, "batch 3"]:
    """Return the unit principal axis of the detail's colours, pointing to brighter."""
    total = weight.sum((2, 3)).clamp(min=1.0)[..., None]
    covariance = torch.einsum("bihw,bjhw->bij", detail * weight, detail) / total
    axis = torch.ones_like(covariance[:, :, 0])
    ones = torch.ones_like(covariance)
    # The power method: the first axis is far longer than the second, and no decomposition makes a device wait.
    for _ in range(12):
        axis = ((covariance + GREY_VARIANCE / 3 * ones) @ axis[..., None])[..., 0]
        axis = torch.nn.functional.normalize(axis, dim=1)
    return axis


def _box_twice(image: Tensor, size: int) -> Tensor:
    """Return the mean over a square window, twice; the window is cut at the border.

    Two matrix products: a compiler that fuses windows of windows into one kernel would read every texel of all of them.
    """
    rows, columns = (_window_matrix(length, size, image) for length in image.shape[-2:])
    return rows @ image @ columns.T


def _window_matrix(length: int, size: int, like: Tensor) -> Float[Tensor, "length length"]:
    """Weights of a running mean that is taken twice."""
    place = torch.arange(length, device=like.device)
    near = ((place[:, None] - place).abs() <= size // 2).to(like.dtype)
    mean = near / near.sum(1, keepdim=True)
    return mean @ mean
