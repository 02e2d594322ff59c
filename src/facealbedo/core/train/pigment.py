"""Training of the pigment network on fabricated faces, whose pigment is known."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from facealbedo.core.losses.masked import charbonnier, masked_mean
from facealbedo.core.networks.pigment import DetailSplit, detail_part, pigment_detail, split_detail, wholly
from facealbedo.core.networks.pigment_net import PigmentNet, pigment_channels, pigment_shares
from facealbedo.core.networks.refiner import log_ratio
from facealbedo.core.train.config import TrainingError
from facealbedo.core.train.fabricate import FaceFabricator
from facealbedo.core.train.sampler import mixed_seed
from facealbedo.core.train.scene import Scene
from facealbedo.core.types import TensorRecord

# The loss is quadratic below this, natural log.
WIDTH = 0.05
WARMUP_STEPS, AVERAGE_DECAY, CLIP_NORM = 100, 0.999, 1.0
# Part of the training after which the learning rate falls, to 0 at the end.
CONSTANT_UNTIL = 0.3
_DARKEST = 4e-5
_BLUR_RADIUS = 4
# Of a soft photo's blur the pigment has this part: most of what the photo has lost is not asked for.
_ASKED_BLUR = 0.7


@dataclass(frozen=True)
class DevelopmentConfig:
    """How photos differ from renders: what cameras and files do to the colours of shading.

    Attributes:
        coloured: share of faces whose shading is not grey in log colour (tone curves, light scattered in the skin).
        axis_sd: spread of the channels of its line.
        chroma_blurred, chroma_blur: share of faces whose hues are stored more coarsely, and how much, texels at most.
        blurred, blur: share of soft photos, and how soft, texels at most.
    """

    coloured: float = 0.8
    axis_sd: float = 0.18
    chroma_blurred: float = 0.6
    chroma_blur: float = 2.2
    blurred: float = 0.5
    blur: float = 1.0


@dataclass(frozen=True)
class PigmentTrainingConfig:
    """Length and pace.

    Attributes:
        steps, batch_size: of AdamW. block: steps whose faces are made at once.
        learning_rate, weight_decay: of AdamW; constant, then falling.
        seed: of everything.
        development: see there.
    """

    steps: int = 2800
    batch_size: int = 32
    block: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    seed: int = 0
    development: DevelopmentConfig = DevelopmentConfig()


@dataclass(frozen=True)
class Lesson(TensorRecord):
    """Faces to learn from.

    * ``channels``: what the network sees. ``split``: the detail that it divides.
    * ``pigment``: detail of log(true albedo / prior). ``shading``: all other detail.
    * ``weight``: trusted bare skin. ``ruled``: what colour alone takes for pigment.
    """

    channels: Float[Tensor, "batch channel height width"]
    split: DetailSplit
    pigment: Float[Tensor, "batch 3 height width"]
    shading: Float[Tensor, "batch 3 height width"]
    weight: Float[Tensor, "batch 1 height width"]
    ruled: Float[Tensor, "batch 3 height width"]


def train_pigment_net(fabricator: FaceFabricator, config: PigmentTrainingConfig) -> PigmentNet:
    """Train from scratch; return the running mean of the weights, for inference.

    Raises:
        TrainingError: the loss is not finite.
    """
    device = fabricator.stage.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(mixed_seed(config.seed, "pigment weights"))
        net = PigmentNet()
    net = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = copy.deepcopy(net).requires_grad_(False)
    optimiser = torch.optim.AdamW(net.parameters(), config.learning_rate, weight_decay=config.weight_decay)
    generator = torch.Generator(device).manual_seed(mixed_seed(config.seed, "pigment faces"))
    lesson: Lesson | None = None
    for step in range(config.steps):
        place = step % config.block
        if place == 0 or lesson is None:
            scene = fabricator.make(config.batch_size * config.block, generator)
            lesson = make_lesson(scene, fabricator.stage.atlas_mask, config.development, generator)
        part = lesson[place * config.batch_size : (place + 1) * config.batch_size]
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * _pace(step, config.steps)
        loss = _step(net, optimiser, part)
        _follow(average, net, step)
        if place == config.block - 1 and not math.isfinite(float(loss)):
            raise TrainingError(f"training of the pigment network stopped at step {step}: the loss is {float(loss)}")
    return average.eval()


def make_lesson(
    scene: Scene,
    atlas_mask: Float[Tensor, "1 1 height width"],
    development: DevelopmentConfig | None,
    generator: torch.Generator,
) -> Lesson:
    """Return what fabricated faces teach; None develops nothing.

    Raises:
        ValueError: faces without known albedo.
    """
    if scene.truth is None:
        raise ValueError("only faces whose albedo is known teach what pigment is")
    face = scene.face
    log_prior = face.prior_albedo.clamp(min=_DARKEST).log()
    pigment, ratio = scene.truth.uv_albedo.clamp(min=_DARKEST).log() - log_prior, log_ratio(face)
    if development is not None:
        pigment, ratio = _developed(pigment, ratio - pigment, development, generator)
    trust = face.observation.uv_visibility
    skin, features = face.uv_regions.split((1, 1), dim=1)
    return Lesson(
        channels=pigment_channels(ratio, log_prior, trust, skin, features),
        split=split_detail(ratio, trust, skin, features),
        pigment=detail_part(pigment, trust, features),
        shading=detail_part(ratio - pigment, trust, features),
        weight=trust * skin * (1 - wholly(features)) * atlas_mask,
        ruled=pigment_detail(ratio, log_prior, trust, skin, features),
    )


def passed(split: DetailSplit, shares: Float[Tensor, "batch 2 height width"]) -> Float[Tensor, "batch 3 height width"]:
    """Return the detail that the shares let through."""
    return shares[:, :1] * split.along * split.axis + shares[:, 1:] * split.off


@torch.no_grad()
def measure_pigment_net(net: PigmentNet, fabricator: FaceFabricator, faces: int, seed: int) -> dict[str, float]:
    """Measure on new faces, developed as in training.

    Returns:
        For the network and for colour alone: ``error``: root of the mean squared difference from the true pigment on
        trusted skin, natural log; ``pigment_kept`` and ``shading_kept``: slopes of what is passed on the true pigment
        and on the shading, fitted together. ``nothing.error``: of passing nothing.
    """
    generator = torch.Generator(fabricator.stage.device).manual_seed(seed)
    sums: dict[str, list[Tensor]] = {}
    for start in range(0, faces, 16):
        scene = fabricator.make(min(16, faces - start), generator)
        lesson = make_lesson(scene, fabricator.stage.atlas_mask, DevelopmentConfig(), generator)
        found = {"network": passed(lesson.split, pigment_shares(net, lesson.channels)), "colour": lesson.ruled}
        for name, values in {**found, "nothing": torch.zeros_like(lesson.pigment)}.items():
            sums.setdefault(name, []).append(_products(values, lesson))
    measures: dict[str, float] = {}
    for name, parts in sums.items():
        error, pp, ss, ps, vp, vs, weight = torch.stack(parts).sum(0).tolist()
        measures[f"{name}.error"] = math.sqrt(error / weight)
        if name != "nothing":
            determinant = pp * ss - ps * ps
            measures[f"{name}.pigment_kept"] = (vp * ss - vs * ps) / determinant
            measures[f"{name}.shading_kept"] = (vs * pp - vp * ps) / determinant
    return measures


def _products(values: Tensor, lesson: Lesson) -> Float[Tensor, "7"]:
    pigment, shading, weight = lesson.pigment, lesson.shading, lesson.weight
    pairs = [
        (values - pigment, values - pigment), (pigment, pigment), (shading, shading), (pigment, shading),
        (values, pigment), (values, shading),
    ]  # fmt: skip
    return torch.stack([*((a * b * weight).double().sum() for a, b in pairs), 3 * weight.double().sum()])


def _step(net: PigmentNet, optimiser: torch.optim.Optimizer, lesson: Lesson) -> Tensor:
    device = lesson.channels.device.type
    with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
        shares = net(lesson.channels.contiguous(memory_format=torch.channels_last))
    difference = passed(lesson.split, shares.float()) - lesson.pigment
    length = difference.square().sum(1, keepdim=True).clamp(min=1e-12).sqrt()
    loss = masked_mean(charbonnier(length, WIDTH), lesson.weight).mean()
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(net.parameters(), CLIP_NORM)
    optimiser.step()
    return loss.detach()


def _pace(step: int, steps: int) -> float:
    done = step / steps
    return min(1.0, (step + 1) / WARMUP_STEPS, (1 - done) / (1 - CONSTANT_UNTIL))


@torch.no_grad()
def _follow(average: PigmentNet, net: PigmentNet, step: int) -> None:
    decay = min(AVERAGE_DECAY, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(net.parameters()), 1 - decay)


def _developed(
    pigment: Tensor, shading: Tensor, config: DevelopmentConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Give shading a colour, blur hues, blur the rest; return the pigment that is asked for, and the log ratio."""
    count, device = len(pigment), pigment.device

    def uniform() -> Float[Tensor, "batch"]:
        return torch.rand(count, generator=generator, device=device)

    axis = 1 + config.axis_sd * torch.randn(count, 3, 1, 1, generator=generator, device=device)
    axis = axis / axis.mean(1, keepdim=True)
    coloured = uniform() < config.coloured
    shading = shading * torch.where(coloured.view(-1, 1, 1, 1), axis, torch.ones_like(axis))
    hue_blur = config.chroma_blur * uniform() * (uniform() < config.chroma_blurred)
    soft = config.blur * uniform() * (uniform() < config.blurred)
    photo = pigment + shading
    grey = photo.mean(1, keepdim=True)
    return _blurred(pigment, _ASKED_BLUR * soft), _blurred(grey, soft) + _blurred(photo - grey, hue_blur)


def _blurred(values: Float[Tensor, "batch channel height width"], sigma: Float[Tensor, "batch"]) -> Tensor:
    """Blur each face by a Gaussian of its own, texels."""
    offsets = torch.arange(-_BLUR_RADIUS, _BLUR_RADIUS + 1, device=values.device)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp(min=0.05)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(values.shape[1], 0)
    stack = values.reshape(1, -1, *values.shape[2:])
    pad = _BLUR_RADIUS
    rows = F.conv2d(F.pad(stack, (0, 0, pad, pad), mode="replicate"), kernel[:, None, :, None], groups=len(kernel))
    both = F.conv2d(F.pad(rows, (pad, pad, 0, 0), mode="replicate"), kernel[:, None, None, :], groups=len(kernel))
    return both.reshape(values.shape)
