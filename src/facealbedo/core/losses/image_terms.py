"""Terms that compare a render with a photo: sRGB images, a soft face mask, one value a face."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.losses.masked import both_ends, differences, erode, length, masked_mean

# A photo's value from which it may have been cut off; a render above it there is not wrong.
BURNT_OUT = 0.985


def photometric_loss(
    render_srgb: Float[Tensor, "batch 3 height width"],
    photo_srgb: Float[Tensor, "batch 3 height width"],
    face_mask: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, "batch"]:
    """Mean length of the RGB difference in the mask; pixels burnt out in the photo do not pull a brighter render."""
    burnt = ((photo_srgb > BURNT_OUT) & (render_srgb > photo_srgb)).any(1, keepdim=True)
    return masked_mean(length(render_srgb - photo_srgb), face_mask * ~burnt)


def gradient_loss(
    render_srgb: Float[Tensor, "batch 3 height width"],
    photo_srgb: Float[Tensor, "batch 3 height width"],
    mask: Float[Tensor, "batch 1 height width"],
) -> Float[Tensor, "batch"]:
    """L1 of the difference of forward differences, summed over both axes; give it an eroded mask."""
    difference = render_srgb - photo_srgb
    total = render_srgb.new_zeros(render_srgb.shape[0])
    for axis in (0, 1):
        steps = differences(difference, axis).abs().mean(1, keepdim=True)
        total = total + masked_mean(steps, both_ends(mask, axis))
    return total


def eroded_face_mask(
    face_mask: Float[Tensor, "batch 1 height width"], size: int = 5
) -> Float[Tensor, "batch 1 height width"]:
    """The mask without its rim, where gradients are those of the silhouette."""
    return erode((face_mask > 0.3).to(face_mask.dtype), size) * face_mask


def multiscale_gradient_loss(
    render_srgb: Float[Tensor, "batch 3 height width"],
    photo_srgb: Float[Tensor, "batch 3 height width"],
    mask: Float[Tensor, "batch 1 height width"],
    levels: int = 2,
) -> Float[Tensor, "batch"]:
    """`gradient_loss` of images halved once, twice, ... up to ``levels`` times, summed."""
    total = render_srgb.new_zeros(render_srgb.shape[0])
    pool = torch.nn.functional.avg_pool2d
    difference, inside = render_srgb - photo_srgb, mask
    for _ in range(levels):
        difference = pool(difference, 2)
        inside = -torch.nn.functional.max_pool2d(-inside, 2)
        total = total + gradient_loss(difference, torch.zeros_like(difference), inside)
    return total


def perceptual_loss(
    render_features: tuple[Tensor, ...], photo_features: tuple[Tensor, ...], face_mask: Float[Tensor, "batch 1 h w"]
) -> Float[Tensor, "batch"]:
    """1 - cosine of deep features at each place, in the mask, mean over the layers.

    Args:
        render_features: of each layer, [batch, channel, height, width].
        photo_features: the same of the photo.
        face_mask: of the images; read at the layers' sizes.
    """
    total = face_mask.new_zeros(face_mask.shape[0])
    for here, there in zip(render_features, photo_features, strict=True):
        cosine = torch.nn.functional.cosine_similarity(here.float(), there.float(), dim=1, eps=1e-4)
        mask = torch.nn.functional.interpolate(face_mask, size=here.shape[-2:], mode="area")
        total = total + masked_mean(1 - cosine[:, None], mask)
    return total / len(render_features)
