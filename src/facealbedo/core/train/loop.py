"""The training loop, from the first step or from a checkpoint to the last step."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from facealbedo.core.losses.total import FeatureExtractor
from facealbedo.core.networks.refiner import Refiner
from facealbedo.core.train.batch import CropSource, mirror_batch
from facealbedo.core.train.checkpoint import checkpoint_to_bytes, restore_checkpoint
from facealbedo.core.train.config import TrainConfig, TrainingError
from facealbedo.core.train.exchange import Exchange
from facealbedo.core.train.guard import FiniteGuard
from facealbedo.core.train.sampler import ShuffledRows, step_generator
from facealbedo.core.train.scene import Scene, Stage, concatenate, make_scene
from facealbedo.core.train.schedule import learning_rate, progress
from facealbedo.core.train.state import TrainState, fresh_state, update_average
from facealbedo.core.train.step import compare

# Steps until a compiler has compiled and recorded everything: nothing else may use the device meanwhile.
SETTLED = 8
# Scenes of several steps, each with how many of its faces a step takes.
Block = list[tuple[int, Scene]]


@runtime_checkable
class Fabricator(Protocol):
    """Makes faces whose albedo is known, on the device."""

    def make(self, count: int, generator: torch.Generator) -> Scene:
        """Return new faces as photos with (erring) fits, and their truth."""
        ...


@runtime_checkable
class CheckpointStore(Protocol):
    """Keeps one checkpoint, atomically."""

    def read(self) -> bytes | None:
        """Return the last good checkpoint, if there is one."""
        ...

    def write(self, data: bytes) -> None:
        """Replace it; if that fails the last good one stays and a `TrainingError` says why."""
        ...


@runtime_checkable
class TrainLog(Protocol):
    """Somewhere numbers and pictures go; called on the first rank only."""

    def numbers(self, step: int, values: dict[str, float]) -> None:
        """Take numbers of a step."""
        ...

    def picture(self, step: int, image_srgb: Tensor) -> None:
        """Take a picture, [3, height, width] in [0, 1]."""
        ...


@dataclass(frozen=True)
class Crew:
    """Everything that helps a run and does not change.

    Attributes:
        stage: models and masks on the device.
        photos: training crops; may be None when every face is fabricated.
        fabricator: None when no face is.
        features: of the perceptual term.
        store, log: where checkpoints and numbers go; None: nowhere.
        inspect: called with the averaged network every ``validate_every`` steps; returns numbers to log.
        picture: called with the averaged network and the step every ``image_every`` steps.
        rank, world_size: of this process.
    """

    stage: Stage
    photos: CropSource | None
    fabricator: Fabricator | None = None
    features: FeatureExtractor | None = None
    store: CheckpointStore | None = None
    log: TrainLog | None = None
    inspect: Callable[[Refiner], dict[str, float]] | None = None
    picture: Callable[[Refiner, int], None] | None = None
    rank: int = 0
    world_size: int = 1


def train(config: TrainConfig, crew: Crew) -> TrainState:
    """Train to the last step, or go on from the store's checkpoint.

    Raises:
        TrainingError: nothing to train on, a checkpoint that does not fit, a loss that is not finite, or no memory.
    """
    check(config, crew)
    state = begin(config, crew)
    forward = prepare_forward(config, crew, state)
    exchange = Exchange(state.refiner, crew.world_size)
    guard = FiniteGuard(crew.stage.device)
    meter = Meter(config, crew)
    sitters = Sitters(config, crew)
    while state.step < config.steps:
        try:
            scene = sitters.see(state.step)
            loss, terms = forward(scene, progress(config, state.step))
            norm = descend(config, state, guard, exchange, loss, terms)
        except torch.cuda.OutOfMemoryError as error:
            raise _out_of_memory(config) from error
        state.step += 1
        update_average(state, config.ema_decay)
        guard.raise_if_found()
        meter.count(state, loss, norm, terms)
        look_around(config, crew, state, guard)
    guard.raise_if_found(wait=True)
    return state


def check(config: TrainConfig, crew: Crew) -> None:
    """Raise early what would go wrong."""
    config.validate()
    if config.n_photos and not _count(crew):
        raise TrainingError("there are no training crops; prepare photos first, or set fabricated_share to 1")
    if config.n_fabricated and crew.fabricator is None:
        raise TrainingError("fabricated_share is above 0 but there is nothing that fabricates faces")
    if config.weights.perceptual > 0 and crew.features is None:
        raise TrainingError("the perceptual term has a weight but no feature network was given")


def begin(config: TrainConfig, crew: Crew) -> TrainState:
    """Make a fresh state, or the checkpoint's."""
    state = fresh_state(config, crew.stage.device)
    data = crew.store.read() if crew.store is not None else None
    if data is not None:
        restore_checkpoint(data, state, config)
    return state


Forward = Callable[[Scene, float], tuple[Tensor, dict[str, Tensor]]]


def prepare_forward(config: TrainConfig, crew: Crew, state: TrainState) -> Forward:
    """Return the function from a scene to its loss: precision and compilation arranged."""
    stage, device = crew.stage, crew.stage.device
    # A tensor, so that a compiled loss is not compiled again for every value.
    done = torch.zeros((), device=device)

    def judge(scene: Scene) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=config.mixed_precision):
            refined = state.refiner(scene.face)
        return compare(scene, refined, stage, config.weights, done, crew.features)

    graphs = config.compile and config.cuda_graphs
    judge_fast = torch.compile(judge, mode="reduce-overhead" if graphs else None) if config.compile else judge

    def forward(scene: Scene, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        done.fill_(progress)
        if graphs:
            torch.compiler.cudagraph_mark_step_begin()
        return judge_fast(scene)

    return forward


class Sitters:
    """The faces of each step: a pure function of seed, step and rank.

    Scenes are made for a block of steps at once: the many small operations of posing and unwrapping cost the host the
    same for any number of faces. On CUDA a thread makes the next block beside the steps of this one, on a stream of its
    own, so that the device need not wait for the host there.
    """

    def __init__(self, config: TrainConfig, crew: Crew, ahead: bool | None = None) -> None:
        """``ahead``: make blocks in a thread; None: on CUDA."""
        self._config, self._crew = config, crew
        self._rows = ShuffledRows(max(_count(crew), 1), config.n_photos, config.seed, crew.rank, crew.world_size)
        self._number = -1
        self._block: Block = []
        self._first: int | None = None
        on_cuda = crew.stage.device.type == "cuda"
        self._ahead = _Ahead(self._make, crew.stage.device) if (on_cuda if ahead is None else ahead) else None

    def see(self, step: int) -> Scene:
        """Make the scene of a step: photos, half of them mirrored, and fabricated faces."""
        number, place = divmod(step, self._config.scene_block)
        self._first = step if self._first is None else self._first
        if number != self._number:
            if self._ahead is None:
                self._block = []  # its memory can be used for the next
                self._block = self._make(number)
            else:
                # Kept until then: what it frees, the thread would write to while steps that read it are under way.
                self._block = self._ahead.take(number)
            self._number = number
        if self._ahead is not None and step - self._first >= SETTLED and self._wanted(number + 1, place):
            self._ahead.begin(number + 1)
        scenes = [scene[place * count : (place + 1) * count] for count, scene in self._block]
        return scenes[0] if len(scenes) == 1 else concatenate(*scenes)

    def _wanted(self, number: int, place: int) -> bool:
        """Say, halfway through a block, whether there will be another."""
        size = self._config.scene_block
        return 2 * place >= size - 1 and number * size < self._config.steps

    def _make(self, number: int) -> Block:
        """Make the photos and the fabricated faces of a block, with how many of each a step takes."""
        config, crew = self._config, self._crew
        generator = step_generator(config.seed, number, crew.rank, crew.stage.device)
        made = []
        if config.n_photos and crew.photos is not None:
            made.append((config.n_photos, self._photographed(number, crew.photos, generator)))
        if config.n_fabricated and crew.fabricator is not None:
            count = config.n_fabricated * config.scene_block
            made.append((config.n_fabricated, crew.fabricator.make(count, generator)))
        if config.network.architecture == "residual" or config.weights.pigment > 0:
            # Once a scene, when its light is known: network and loss take it, and compile without it.
            judged = crew.stage.judged
            made = [(count, replace(scene, face=judged(scene.face, fused=config.compile))) for count, scene in made]
        return made

    def _photographed(self, number: int, photos: CropSource, generator: torch.Generator) -> Scene:
        config, stage = self._config, self._crew.stage
        batch = photos.fetch(self._rows_of(number), stage.device)
        photos.expect(self._rows_of(number + 1))
        if config.flip:
            flip = torch.rand(len(batch), generator=generator, device=stage.device) < 0.5
            batch = mirror_batch(stage.model, batch, flip)
        return make_scene(stage, batch)

    def _rows_of(self, number: int) -> list[int]:
        steps = range(number * self._config.scene_block, (number + 1) * self._config.scene_block)
        return [row for step in steps for row in self._rows.rows(step)]


class _Ahead:
    """Makes one block in a thread while another is used."""

    def __init__(self, make: Callable[[int], Block], device: torch.device) -> None:
        self._make, self._device = make, device
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sitters")
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._coming: tuple[int, Future[Block]] | None = None

    def begin(self, number: int) -> None:
        """Start making a block, unless it is under way."""
        if self._coming is not None and self._coming[0] == number:
            return
        if self._stream is not None:
            # What the last block but one stood in is free for the stream only when all steps that read it are done.
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
        self._coming = (number, self._thread.submit(self._on_own_stream, number))

    def take(self, number: int) -> Block:
        """Return a block: the one that was begun, or one made now."""
        coming, self._coming = self._coming, None
        block = coming[1].result() if coming is not None else []
        if coming is None or coming[0] != number:
            return self._make(number)
        if self._stream is not None:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)
        return block

    def _on_own_stream(self, number: int) -> Block:
        if self._stream is None:
            return self._make(number)
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            return self._make(number)


def descend(
    config: TrainConfig,
    state: TrainState,
    guard: FiniteGuard,
    exchange: Exchange,
    loss: Tensor,
    terms: dict[str, Tensor],
) -> Tensor:
    """Backward, clip, and a step unless something is not finite; return the gradient's length before clipping."""
    state.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    exchange.average()
    norm = nn.utils.clip_grad_norm_(state.refiner.parameters(), config.clip_norm)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(config, state.step)
    # The fused optimiser itself leaves everything as it is where this is not 0.
    state.optimizer.found_inf = guard.judge(state.step, loss, norm, terms).clone()  # type: ignore[attr-defined]
    state.optimizer.step()
    return norm


def look_around(config: TrainConfig, crew: Crew, state: TrainState, guard: FiniteGuard) -> None:
    """Validate, draw and save when it is time."""
    last = state.step == config.steps
    if crew.rank == 0 and crew.inspect is not None and _due(config.validate_every, state.step, last):
        values = crew.inspect(state.average)
        if crew.log is not None:
            crew.log.numbers(state.step, {f"validation/{name}": value for name, value in values.items()})
    if crew.rank == 0 and crew.picture is not None and _due(config.image_every, state.step, last):
        crew.picture(state.average, state.step)
    if crew.store is not None and _due(config.checkpoint_every, state.step, last):
        guard.raise_if_found(wait=True)
        if crew.rank == 0:
            crew.store.write(checkpoint_to_bytes(state, config))


class Meter:
    """Collects what each step said, on the device, and logs means now and then."""

    def __init__(self, config: TrainConfig, crew: Crew) -> None:
        self._config, self._crew = config, crew
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self._since = time.perf_counter()

    def count(self, state: TrainState, loss: Tensor, norm: Tensor, terms: dict[str, Tensor]) -> None:
        """Take a step's numbers; every ``log_every`` steps, and at the last, log their means."""
        if self._crew.log is None or self._crew.rank:
            return
        values = {"loss": loss.detach(), "gradient_norm": norm.detach(), **{f"loss/{k}": v for k, v in terms.items()}}
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.float()
        self._steps += 1
        if _due(self._config.log_every, state.step, state.step == self._config.steps):
            self._crew.log.numbers(state.step, self._means(state))

    def _means(self, state: TrainState) -> dict[str, float]:
        names = list(self._sums)
        sums = torch.stack([self._sums[name] for name in names]).tolist()
        seconds = time.perf_counter() - self._since
        means = {name: value / self._steps for name, value in zip(names, sums, strict=True)}
        faces = self._steps * self._config.batch_size * self._crew.world_size
        means |= {
            "learning_rate": learning_rate(self._config, state.step - 1),
            "images_per_second": faces / max(seconds, 1e-9),
        }
        if self._crew.stage.device.type == "cuda":
            means["memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        self._sums, self._steps, self._since = {}, 0, time.perf_counter()
        return means


def _count(crew: Crew) -> int:
    return len(crew.photos) if crew.photos is not None else 0


def _due(every: int, step: int, last: bool) -> bool:
    return every > 0 and (step % every == 0 or last)


def _out_of_memory(config: TrainConfig) -> TrainingError:
    smaller = max(config.batch_size // 2, 1)
    return TrainingError(
        f"the device ran out of memory at batch size {config.batch_size}; try batch_size {smaller}, "
        "or mixed precision if it is off"
    )
