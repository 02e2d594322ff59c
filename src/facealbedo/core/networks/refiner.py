"""From a fitted face to a refined one: what the networks see, and what their answers mean.

Networks see colours as sRGB in [-1, 1], as photos are (their noise and the eye's sensitivity are even there); what
goes in and comes out is linear.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facealbedo.core.colour import linear_to_srgb, luminance, srgb_to_linear
from facealbedo.core.lighting.sh import shading
from facealbedo.core.networks.baked_light import baked_light
from facealbedo.core.networks.paper import PaperNet
from facealbedo.core.networks.pigment import believed, pigment_detail
from facealbedo.core.networks.pigment_net import PigmentNet, pigment_channels, pigment_shares
from facealbedo.core.networks.records import RefinerInput, RefinerOutput
from facealbedo.core.networks.unet import RefinementUNet
from facealbedo.core.render.uv import mirror_uv

# Below this trust a texel counts as unseen.
SEEN = 0.05
# Darkest value of a logarithm's argument; about an eighth of the darkest code of an 8-bit photo.
DARKEST = 4e-5
# Where the soft ceiling of albedo starts: no skin reflects this much.
CEILING_KNEE = 0.9
# Largest log gain that the network can add to what the gate leaves to the shading.
MAX_LOG_GAIN = 1.5
# Usual side of the maps.
NOISE_PX = 256


class Refiner(nn.Module, ABC):
    """A refinement network of any architecture."""

    n_input: int
    # Whether what goes with the fitted light is taken out of the albedo.
    baked_light: bool = False

    @abstractmethod
    def channels(
        self, face: RefinerInput, noise: Float[Tensor, "batch 3 height width"] | None = None
    ) -> Float[Tensor, "batch channel height width"]:
        """Return what the network sees."""

    @abstractmethod
    def interpret(self, face: RefinerInput, *raw: Tensor) -> RefinerOutput:
        """Turn the network's raw answers (float32) into a refined face."""

    @property
    @abstractmethod
    def network(self) -> nn.Module:
        """The part that computes in reduced precision and may be compiled."""

    def forward(self, face: RefinerInput, noise: Float[Tensor, "batch 3 height width"] | None = None) -> RefinerOutput:
        """Refine a batch of faces.

        Args:
            face: what the fit left.
            noise: standard normal values for unseen texels; None: seeded ones, the same for every face, so that a
                result can be reproduced.
        """
        seen = self.channels(face, noise).contiguous(memory_format=torch.channels_last)
        raw = self.network(seen)
        return self.interpret(face, *(answer.float() for answer in raw))


class PaperRefiner(Refiner):
    """The authors' form: texture and prior in, albedo and light out, nothing else known."""

    n_input = 6
    noise: Tensor

    def __init__(self, width: int = 64, noise_seed: int = 0, unseen: Literal["noise", "zeros"] = "noise") -> None:
        super().__init__()
        self.net = PaperNet(width)
        self.noise_seed = noise_seed
        self.unseen = unseen
        # Made once: drawing it in every step would make a compiled step wait.
        self.register_buffer("noise", self._filling(NOISE_PX), persistent=False)

    def _filling(self, size: int) -> Float[Tensor, "3 size size"]:
        if self.unseen == "zeros":
            return torch.zeros(3, size, size)
        return _seeded_noise(size, self.noise_seed)

    @property
    def network(self) -> nn.Module:
        """The encoder and both decoders."""
        return self.net

    def channels(
        self, face: RefinerInput, noise: Float[Tensor, "batch 3 height width"] | None = None
    ) -> Float[Tensor, "batch channel height width"]:
        """Texture, noise (or zeros) where unseen, and prior."""
        seen = face.observation
        if noise is None:
            size = seen.uv_texture.shape[-1]
            fixed = self.noise if size == NOISE_PX else self._filling(size).to(seen.uv_texture)
            noise = fixed.expand_as(seen.uv_texture)
        texture = torch.where(seen.uv_visibility > SEEN, _signed_srgb(seen.uv_texture), noise)
        return torch.cat([texture, _signed_srgb(face.prior_albedo)], dim=1)

    def interpret(self, face: RefinerInput, *raw: Tensor) -> RefinerOutput:
        """Albedo from [-1, 1] in sRGB; light in units of pi, which makes its values about 1."""
        albedo, light = raw
        empty = albedo.new_zeros(albedo.shape[0], 1, *albedo.shape[2:])
        # Not 0, whose logarithm the losses take; 1e-3 is darker than any skin or hair.
        uv_albedo = srgb_to_linear((albedo + 1) / 2).clamp(min=1e-3)
        return RefinerOutput(uv_albedo, light * math.pi, torch.zeros_like(albedo), empty.expand(-1, 2, -1, -1), empty)


class ResidualRefiner(Refiner):
    """Albedo = prior x exp(gates x log-quotient + change - its mean on skin); light = (the fit's + change) x exp(gain).

    The quotient (texture over fitted shading) carries the photo's detail past the network, so that it need not pass
    through its bottleneck. Two gates say how much of it the albedo takes: of what its colours say is pigment
    (`pigment_detail`; nearly all, before training) and of the rest (hardly any). What they leave goes to the gain, so
    that the render shows the photo however the network divides it. The other side's pigment and trust are inputs too,
    so that an unseen side is completed by looking at the same texel.

    The skin keeps the prior's tone: how light it is was weighed by the fit, from evidence that the maps do not hold.
    A network that may move it learns the tones of the renderer that its fabricated faces come from. Nor does the skin
    keep what goes with the fitted light (`networks.baked_light`): the gain takes that, too. Not in training mode, in
    which the network would learn to put it back.
    """

    n_input = 24

    def __init__(
        self,
        channels: tuple[int, ...],
        residual_blocks: int,
        light_factor: int,
        max_log_ratio: float,
        max_log_change: float,
        light_map: bool = True,
        shading_gain: bool = True,
        baked_light: bool = True,
    ) -> None:
        super().__init__()
        self.unet = RefinementUNet(self.n_input, channels, residual_blocks, light_factor, light_map)
        self.max_log_ratio, self.max_log_change = max_log_ratio, max_log_change
        self.shading_gain, self.baked_light = shading_gain, baked_light

    @property
    def network(self) -> nn.Module:
        """The U-Net."""
        return self.unet

    def channels(
        self, face: RefinerInput, noise: Float[Tensor, "batch 3 height width"] | None = None
    ) -> Float[Tensor, "batch channel height width"]:
        """Texture, prior, log-quotient, pigment, their mirror images, trusts, normals, log shading; unseen is 0."""
        seen = face.observation
        known = (seen.uv_visibility > SEEN).to(seen.uv_texture.dtype)
        quotient, pigment = self.detail(face)
        light = _log(face.fitted_shading()).clamp(-4, 2) / 2
        return torch.cat(
            [
                _signed_srgb(seen.uv_texture) * known,
                _signed_srgb(face.prior_albedo),
                quotient,
                mirror_uv(quotient),
                pigment,
                mirror_uv(pigment),
                seen.uv_visibility,
                mirror_uv(seen.uv_visibility),
                seen.uv_normal_view,
                light.mean(1, keepdim=True),
            ],
            dim=1,
        )

    def detail(
        self, face: RefinerInput
    ) -> tuple[Float[Tensor, "batch 3 height width"], Float[Tensor, "batch 3 height width"]]:
        """Return the log-quotient and its pigment, both times the belief in each texel."""
        ratio, belief = log_ratio(face, self.max_log_ratio), believed(face.observation.uv_visibility)
        return ratio * belief, face_pigment(face, ratio) * belief

    def interpret(self, face: RefinerInput, *raw: Tensor) -> RefinerOutput:
        """Compose prior, gated quotient and the network's change."""
        head, light = raw
        change, gates, log_variance, gain = head.split((3, 2, 1, 3), dim=1)
        gates = torch.sigmoid(gates)
        quotient, pigment = self.detail(face)
        change = self.max_log_change * torch.tanh(change / self.max_log_change)
        taken = gates[:, :1] * pigment + gates[:, 1:] * (quotient - pigment)
        skin = face.uv_regions[:, :1]
        taken = taken - change_of_tone(taken, skin)
        residual = taken + change - change_of_tone(change, skin)
        baked = self._baked(face, residual) if self.baked_light and not self.training else torch.zeros_like(skin)
        residual = residual - baked
        belief = believed(face.observation.uv_visibility)
        gain = MAX_LOG_GAIN * torch.tanh(gain / MAX_LOG_GAIN) * belief
        log_gain = quotient - taken + gain + baked * belief if self.shading_gain else torch.zeros_like(quotient)
        albedo = soft_ceiling(face.prior_albedo * residual.exp()).clamp(min=1e-3)
        light = light * math.pi + face.sh_radiance.reshape(-1, 27, 1, 1)
        return RefinerOutput(albedo, light, log_gain, gates * belief, log_variance.clamp(-8, 2))

    @staticmethod
    def _baked(face: RefinerInput, residual: Float[Tensor, "batch 3 height width"]) -> Tensor:
        """Return what of log(prior) + residual goes with the fitted light, tone apart."""
        seen, skin = face.observation, face.uv_regions[:, :1]
        # Sums over all texels and products of matrices: not in the network's precision.
        with torch.autocast(residual.device.type, enabled=False):
            log_albedo = _log_luminance(face.prior_albedo * residual.exp())
            light = _log_luminance(shading(face.sh_radiance, seen.uv_normal_view))
            baked = baked_light(log_albedo, light, seen.uv_visibility, skin)
        return baked - change_of_tone(baked, skin)


def change_of_tone(
    residual: Float[Tensor, "batch colour height width"], skin: Float[Tensor, "batch_or_1 1 height width"]
) -> Float[Tensor, "batch colour 1 1"]:
    """Return the mean of a log change of the albedo over bare skin."""
    return (residual * skin).sum((2, 3), keepdim=True) / skin.sum((2, 3), keepdim=True).clamp(min=1.0)


def log_quotient(face: RefinerInput, limit: float = 2.0) -> Float[Tensor, "batch 3 height width"]:
    """`log_ratio` times the trust in each texel: 0 where nothing was seen."""
    return log_ratio(face, limit) * face.observation.uv_visibility


def log_ratio(face: RefinerInput, limit: float = 2.0) -> Float[Tensor, "batch 3 height width"]:
    """Log of texture / (fitted shading x prior); means nothing where nothing was seen.

    Softly limited to ``limit`` in size: more is a highlight, a cast shadow or an error of the fit.
    """
    ratio = _log(face.observation.uv_texture) - _log(face.fitted_shading()) - _log(face.prior_albedo)
    return limit * torch.tanh(ratio / limit)


def face_pigment(
    face: RefinerInput,
    ratio: Float[Tensor, "batch 3 height width"],
    shares: Float[Tensor, "batch 2 rows columns"] | None = None,
) -> Float[Tensor, "batch 3 height width"]:
    """Return the part of a log ratio that is taken for pigment, the face's own if it has one; constant to gradients."""
    if face.uv_pigment is not None:
        return face.uv_pigment
    skin, features = face.uv_regions.split((1, 1), dim=1)
    # Its matrix products must not be made in the network's precision.
    with torch.no_grad(), torch.autocast(ratio.device.type, enabled=False):
        return pigment_detail(
            ratio, _log(face.prior_albedo), face.observation.uv_visibility, skin, features, shares=shares
        )


def with_pigment(face: RefinerInput, shares: Float[Tensor, "batch 2 rows columns"] | None = None) -> RefinerInput:
    """Return the face with its pigment; ``shares`` as `pigment_detail` takes them."""
    bare = replace(face, uv_pigment=None)
    return replace(face, uv_pigment=face_pigment(bare, log_ratio(bare), shares))


def face_shares(net: PigmentNet, face: RefinerInput) -> Float[Tensor, "batch 2 height width"]:
    """Return what share of a face's detail the network takes for pigment."""
    skin, features = face.uv_regions.split((1, 1), dim=1)
    with torch.no_grad(), torch.autocast(face.prior_albedo.device.type, enabled=False):
        channels = pigment_channels(
            log_ratio(face), _log(face.prior_albedo), face.observation.uv_visibility, skin, features
        )
    return pigment_shares(net, channels)


def soft_ceiling(albedo: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Keep albedo below 1: the identity up to `CEILING_KNEE`, a smooth approach to 1 above."""
    room = 1 - CEILING_KNEE
    above = CEILING_KNEE + room * torch.tanh((albedo - CEILING_KNEE) / room)
    return torch.where(albedo > CEILING_KNEE, above, albedo)


def _log_luminance(linear: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch 1 height width"]:
    return _log(luminance(linear.movedim(1, -1))[:, None])


def _signed_srgb(linear: Tensor) -> Tensor:
    return linear_to_srgb(linear) * 2 - 1


def _log(values: Tensor) -> Tensor:
    return values.clamp(min=DARKEST).log()


def _seeded_noise(size: int, seed: int) -> Float[Tensor, "3 size size"]:
    return torch.randn(3, size, size, generator=torch.Generator().manual_seed(seed))
