"""Training of the pigment network on fabricated faces, whose pigment is known."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from facealbedo.core.losses.masked import charbonnier, masked_mean
from facealbedo.core.networks.pigment import DetailSplit, detail_part, pigment_detail, split_detail, wholly
from facealbedo.core.networks.pigment_net import PigmentNet, pigment_channels, pigment_shares
from facealbedo.core.networks.refiner import log_ratio
from facealbedo.core.train.blur import blur_each
from facealbedo.core.train.config import TrainingError
from facealbedo.core.train.fabricate import FaceFabricator
from facealbedo.core.train.sampler import mixed_seed
from facealbedo.core.train.scene import Scene
from facealbedo.core.train.state import warm_decay
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
    * ``weight``: trusted bare skin.
    """

    channels: Float[Tensor, "batch channel height width"]
    split: DetailSplit
    pigment: Float[Tensor, "batch 3 height width"]
    shading: Float[Tensor, "batch 3 height width"]
    weight: Float[Tensor, "batch 1 height width"]


@dataclass(frozen=True)
class Developed(TensorRecord):
    """Fabricated faces as a camera would store them: log ratio, the pigment in it, and what `pigment_detail` takes."""

    log_ratio: Float[Tensor, "batch 3 height width"]
    log_pigment: Float[Tensor, "batch 3 height width"]
    log_prior: Float[Tensor, "batch 3 height width"]
    trust: Float[Tensor, "batch 1 height width"]
    skin: Float[Tensor, "batch 1 height width"]
    features: Float[Tensor, "batch 1 height width"]


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
            lesson = make_lesson(develop(scene, config.development, generator), fabricator.stage.atlas_mask)
        part = lesson[place * config.batch_size : (place + 1) * config.batch_size]
        for group in optimiser.param_groups:
            group["lr"] = config.learning_rate * _pace(step, config.steps)
        loss = _step(net, optimiser, part)
        _follow(average, net, step)
        if place == config.block - 1 and not math.isfinite(float(loss)):
            raise TrainingError(f"training of the pigment network stopped at step {step}: the loss is {float(loss)}")
    return average.eval()


def develop(scene: Scene, development: DevelopmentConfig | None, generator: torch.Generator) -> Developed:
    """Return fabricated faces with the colours of stored photos; None leaves them as they were rendered.

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
    skin, features = (region.expand(len(ratio), -1, -1, -1) for region in face.uv_regions.split((1, 1), dim=1))
    return Developed(ratio, pigment, log_prior, face.observation.uv_visibility, skin, features)


def make_lesson(photo: Developed, atlas_mask: Float[Tensor, "1 1 height width"]) -> Lesson:
    """Return what faces teach."""
    ratio, trust, skin, features = photo.log_ratio, photo.trust, photo.skin, photo.features
    return Lesson(
        channels=pigment_channels(ratio, photo.log_prior, trust, skin, features),
        split=split_detail(ratio, trust, skin, features),
        pigment=detail_part(photo.log_pigment, trust, features),
        shading=detail_part(ratio - photo.log_pigment, trust, features),
        weight=trust * skin * (1 - wholly(features)) * atlas_mask,
    )


def passed(split: DetailSplit, shares: Float[Tensor, "batch 2 height width"]) -> Float[Tensor, "batch 3 height width"]:
    """Return the detail that the shares let through."""
    return shares[:, :1] * split.along * split.axis + shares[:, 1:] * split.off


@torch.no_grad()
def measure_pigment_net(net: PigmentNet, fabricator: FaceFabricator, faces: int, seed: int) -> dict[str, float]:
    """Measure on new faces, developed as in training.

    Returns:
        For the network's shares (``network``), for what refinement makes of them (``refinement``: `pigment_detail`) and
        for colour alone (``colour``): ``error``: root of the mean squared difference from the true pigment on trusted
        skin, natural log; ``pigment_kept`` and ``shading_kept``: slopes of what is passed on the true pigment and on
        the shading, fitted together. ``nothing.error``: of passing nothing. All of it on detail.
    """
    generator = torch.Generator(fabricator.stage.device).manual_seed(seed)
    sums: dict[str, list[Tensor]] = {}
    for start in range(0, faces, 16):
        scene = fabricator.make(min(16, faces - start), generator)
        photo = develop(scene, DevelopmentConfig(), generator)
        lesson = make_lesson(photo, fabricator.stage.atlas_mask)
        shares = pigment_shares(net, lesson.channels)
        found = {
            "network": passed(lesson.split, shares),
            "refinement": _detail_of(photo, shares),
            "colour": _detail_of(photo, None),
            "nothing": torch.zeros_like(lesson.pigment),
        }
        for name, values in found.items():
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


def _detail_of(photo: Developed, shares: Tensor | None) -> Float[Tensor, "batch 3 height width"]:
    """Return the detail of what refinement takes for pigment."""
    arguments = (photo.log_ratio, photo.log_prior, photo.trust, photo.skin, photo.features)
    return detail_part(pigment_detail(*arguments, shares=shares), photo.trust, photo.features)


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
    decay = warm_decay(AVERAGE_DECAY, step)
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
    return (
        blur_each(pigment, _ASKED_BLUR * soft, _BLUR_RADIUS),
        blur_each(grey, soft, _BLUR_RADIUS) + blur_each(photo - grey, hue_blur, _BLUR_RADIUS),
    )
