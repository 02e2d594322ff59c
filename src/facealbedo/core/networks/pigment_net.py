"""A small network that says what share of bare skin's detail is pigment and what is shading.

Beards, moles, freckles and stains are pigment; wrinkles, pores, gloss and cast shadows are shading. Colour alone does
not tell them apart: hair and freckles lie on the line of shading, too (`networks.pigment`). Their shapes do, and shapes
can be learned where the truth is known. The idea of sorting an image's changes into reflectance and shading by colour
and learned patterns: Tappen, Freeman, Adelson, "Recovering intrinsic images from a single image", PAMI 2005.

The network passes detail of the photo or does not: it cannot make any up. It learns from fabricated faces alone and
sees nothing but detail relative to the fit, so it has little to tell a rendered face from a photo by, and nothing to
gain from it (a refinement network that sees both treats them differently).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import safetensors.torch
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.networks.pigment import split_detail
from facealbedo.core.tensor_file import TensorFileError, read_tensor_file

FORMAT = "facealbedo-pigment-1"
CHANNELS = (32, 48, 64, 64)
N_CHANNELS_IN = 9
_GROUPS = 8
# What brings the inputs to about unit variance: detail along the line of shading, and off it.
_ALONG_SCALE, _OFF_SCALE = 4.0, 10.0
_DARKEST = 4e-5
# Shares before training, as logits: detail is rarely pigment along the line of shading, sooner off it.
_FIRST_LOGITS = (-1.5, -0.5)


class PigmentNetError(FaceAlbedoError):
    """The bytes are not a pigment network that this version can read."""


class PigmentNet(nn.Module):
    """A U-Net with skip connections; 408,002 parameters with the usual channels."""

    def __init__(self, channels: Sequence[int] = CHANNELS) -> None:
        super().__init__()
        self.channels = tuple(channels)
        pairs = list(zip(self.channels[:-1], self.channels[1:], strict=True))
        self.stem = nn.Conv2d(N_CHANNELS_IN, self.channels[0], 3, padding=1)
        self.first = _block(self.channels[0], self.channels[0])
        self.down = nn.ModuleList(_block(fine, coarse) for fine, coarse in pairs)
        self.up = nn.ModuleList(_block(coarse + fine, fine) for fine, coarse in reversed(pairs))
        self.head = nn.Conv2d(self.channels[0], 2, 1)
        nn.init.zeros_(self.head.weight)
        self.head.bias = nn.Parameter(torch.tensor(_FIRST_LOGITS))

    def forward(self, seen: Float[Tensor, "batch channel height width"]) -> Float[Tensor, "batch 2 height width"]:
        """Return the shares, in [0, 1], of detail along and off the line of shading.

        Args:
            seen: as `pigment_channels` makes it; sides that the halvings divide.
        """
        values = self.first(self.stem(seen))
        skipped = []
        for block in self.down:
            skipped.append(values)
            values = block(F.avg_pool2d(values, 2))
        for block in self.up:
            enlarged = F.interpolate(values, scale_factor=2.0, mode="bilinear", align_corners=False)
            values = block(torch.cat([enlarged, skipped.pop()], dim=1))
        return torch.sigmoid(self.head(values))

    def to_bytes(self) -> bytes:
        """Return the network as a safetensors file, in half precision."""
        tensors = {name: value.half().contiguous().cpu() for name, value in self.state_dict().items()}
        return safetensors.torch.save(tensors, {FORMAT: json.dumps({"channels": self.channels})})

    @staticmethod
    def from_bytes(data: bytes) -> PigmentNet:
        """Read what `to_bytes` wrote, for inference.

        Raises:
            PigmentNetError: damaged, or of another format.
        """
        try:
            tensors, metadata = read_tensor_file(data, FORMAT)
            net = PigmentNet([int(count) for count in metadata["channels"]])
            net.load_state_dict({name: value.float() for name, value in tensors.items()})
        except (TensorFileError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise PigmentNetError(f"not a pigment network: {error}") from error
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return net.eval().requires_grad_(False)


def _block(n_in: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(n_in, n_out, 3, padding=1), nn.GroupNorm(_GROUPS, n_out), nn.SiLU(),
        nn.Conv2d(n_out, n_out, 3, padding=1), nn.GroupNorm(_GROUPS, n_out), nn.SiLU(),
    )  # fmt: skip


def pigment_channels(
    log_ratio: Float[Tensor, "batch 3 height width"],
    log_prior: Float[Tensor, "batch 3 height width"],
    trust: Float[Tensor, "batch 1 height width"],
    skin: Float[Tensor, "skin_batch 1 height width"],
    features: Float[Tensor, "feature_batch 1 height width"],
) -> Float[Tensor, "batch channel height width"]:
    """Return what the network sees: detail along and off the line of shading, level, trust, regions, prior's level.

    Args:
        log_ratio: log of texture / (shading x prior).
        log_prior: logarithm of the prior's albedo.
        trust: of each texel.
        skin: bare skin.
        features: brows and lips.
    """
    split = split_detail(log_ratio, trust, skin, features)
    wide = (log_ratio * split.axis).sum(1, keepdim=True)
    weight = trust * skin
    usual = (wide * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True).clamp(min=1)
    level = ((wide - usual) * (trust > 0.05)).clamp(-2, 2)
    regions = [region.expand_as(trust) for region in (skin, features)]
    prior_level = log_prior.mean(1, keepdim=True) / 2
    return torch.cat([split.along * _ALONG_SCALE, split.off * _OFF_SCALE, level, trust, *regions, prior_level], dim=1)


@torch.no_grad()
def pigment_shares(net: PigmentNet, channels: Float[Tensor, "batch channel height width"]) -> Tensor:
    """Return the network's shares, in single precision; on CUDA computed in bfloat16."""
    with torch.autocast(channels.device.type, dtype=torch.bfloat16, enabled=channels.device.type == "cuda"):
        return net(channels.contiguous(memory_format=torch.channels_last)).float()
