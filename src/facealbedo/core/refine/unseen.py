"""What no photo shows: lips behind teeth, in an open mouth or under a hand, and what lies outside the face.

A method that takes colour from the photo only where it sees something leaves a hard border there: the photo's lips end,
the prior's begin. Lips have one colour, so the unseen part is given that of the seen part, the other side's first.
Scalp, ears and neck are never looked at, for hair and collars are no skin: what a network says of them is a guess, and
a grey hairline on a dark head would show as a cap.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.networks.pigment import believed
from facealbedo.core.networks.refiner import change_of_tone
from facealbedo.core.refine.pyramid import pull_push

LEVELS = 5
# Part of the lips that has to be seen to know their colour.
ENOUGH = 0.05
DARKEST = 1e-3


def complete_lips(
    uv_albedo: Float[Tensor, "batch 3 height width"],
    prior_albedo: Float[Tensor, "batch 3 height width"],
    trust: Float[Tensor, "batch 1 height width"],
    lips: Float[Tensor, "one 1 height width"],
) -> Float[Tensor, "batch 3 height width"]:
    """Return the albedo with its log ratio to the prior carried on from seen lips to unseen ones.

    Args:
        uv_albedo: linear, in (0, 1]; its sides are divisible by 2**`LEVELS`.
        prior_albedo: what the refinement started from, linear.
        trust: of each texel, as the refinement had it.
        lips: 1 inside the lips, 0 outside.
    """
    ratio = uv_albedo.clamp(min=DARKEST).log() - prior_albedo.clamp(min=DARKEST).log()
    own = believed(trust) * lips
    other = own.flip(-1) * (1 - own)
    both = (own * ratio + other * ratio.flip(-1)) / (own + other).clamp(min=1e-6)
    carried = pull_push(both, own + other, LEVELS)
    share = own.sum((2, 3), keepdim=True) / lips.sum((2, 3), keepdim=True).clamp(min=1e-6)
    unseen = (lips - own).clamp(min=0) * (share > ENOUGH)
    return uv_albedo * (unseen * (carried - ratio)).exp()


def keep_outside(
    uv_albedo: Float[Tensor, "batch 3 height width"],
    prior_albedo: Float[Tensor, "batch 3 height width"],
    face: Float[Tensor, "one 1 height width"],
    skin: Float[Tensor, "one 1 height width"],
) -> Float[Tensor, "batch 3 height width"]:
    """Return the albedo inside the face and the prior outside it, in the tone that the skin was given.

    Args:
        uv_albedo: linear, in (0, 1].
        prior_albedo: what the refinement started from, linear.
        face: 1 inside, with a soft edge, in which the logarithms are blended.
        skin: 1 on bare skin of the face, whose mean log ratio to the prior is the change of tone: none of the network
            that ships, some of `paper`.
    """
    inside, outside = (albedo.clamp(min=DARKEST).log() for albedo in (uv_albedo, prior_albedo))
    return torch.lerp(outside + change_of_tone(inside - outside, skin), inside, face).exp()
