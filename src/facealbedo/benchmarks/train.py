"""How fast training is and where its time goes; ``make bench-train`` writes ``docs/benchmarks/train_<device>.json``.

Needs fitted crops (`kedro run --pipelines preprocess,fit`). Every figure is of whole steps as training makes them:
photos, fabricated faces, renders, losses, backward, optimiser, running mean.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from kedro.config import OmegaConfigLoader
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from facealbedo.configuration import CONFIG_LOADER_ARGS
from facealbedo.core.train.config import TrainConfig
from facealbedo.core.train.exchange import Exchange
from facealbedo.core.train.guard import FiniteGuard
from facealbedo.core.train.loop import Crew, Forward, Sitters, begin, descend, prepare_forward
from facealbedo.core.train.scene import Scene
from facealbedo.core.train.schedule import progress
from facealbedo.core.train.state import TrainState, update_average
from facealbedo.params.train import TrainParams
from facealbedo.training import make_crew, make_job, on_devices, pick_device

WARM_STEPS, REPEATS = 12, 5
# Seconds over which the driver is asked how busy the device is, and between the questions.
WATCHED_S, ASKED_EVERY_S = 6.0, 0.2
FABRICATED = 256
# The published training budget, samples.
PAPER_SAMPLES = 2_000_000


def main() -> None:
    """Measure each preset and write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--env", default="gpu", help="Kedro environment whose parameters are measured")
    parser.add_argument("--presets", nargs="+", default=["paper", "default"])
    parser.add_argument("--steps", type=int, default=40, help="timed steps a repeat")
    parser.add_argument(
        "--devices", type=int, default=1, help="with 2 and more, only the rate on that many is measured"
    )
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    args = parser.parse_args()
    base = load_params(args.env)
    device = pick_device(base.trainer.device)
    report: dict[str, Any] = {"command": " ".join(["python -m facealbedo.benchmarks.train", *sys.argv[1:]])}
    report |= describe_device(device)
    for name in args.presets:
        params = base.model_copy(update={"preset": name})
        if args.devices > 1:
            report[name] = measure_devices(params, args.devices, args.steps, args.data)
        else:
            report[name] = measure_preset(params, device, args.steps, args.data)
        sys.stdout.write(f"{name}: {json.dumps(report[name])}\n")
        # After each preset: what is measured is kept if the next one fails.
        sys.stdout.write(f"written: {_written(args.out, report, args.devices)}\n")


def _written(folder: Path, report: dict[str, Any], devices: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    several = f"_x{devices}" if devices > 1 else ""
    target = folder / f"train_{report['device'].lower().replace(' ', '_')}{several}.json"
    target.write_text(json.dumps(report, indent=1) + "\n")
    return target


def load_params(env: str) -> TrainParams:
    """Return the parameters that `kedro run --env ENV` would take."""
    loader = OmegaConfigLoader(conf_source="conf", env=env, **CONFIG_LOADER_ARGS)
    return TrainParams.model_validate(loader["parameters"]["train"])


def describe_device(device: torch.device) -> dict[str, Any]:
    """Return names and measured rates: what floors are computed from."""
    about = {"torch": torch.__version__, "python": platform.python_version()}
    if device.type != "cuda":
        return {"device": "cpu", **about}
    return {"device": torch.cuda.get_device_name(), **about, **measured_rates(device)}


def measured_rates(device: torch.device) -> dict[str, float]:
    """Return copy bandwidth (bytes read and written) and bf16 matrix rate."""
    block = torch.empty(2**29, dtype=torch.uint8, device=device)
    other = torch.empty_like(block)
    copy_s = _seconds(lambda: other.copy_(block), 20)
    a = torch.randn(8192, 8192, device=device, dtype=torch.bfloat16)
    matrix_s = _seconds(lambda: a @ a, 10)
    return {"copy_tb_per_s": 2 * 2**29 / copy_s / 1e12, "bf16_tflop_per_s": 2 * 8192**3 / matrix_s / 1e12}


def measure_preset(params: TrainParams, device: torch.device, steps: int, data: Path) -> dict[str, Any]:
    """Measure one preset: rate, parts of a step, what the device does, and the floor."""
    job = make_job(params, *prepared_tables(data), Path())
    config = replace(job.config, checkpoint_every=0, validate_every=0, image_every=0)
    crew = replace(make_crew(job, device, None, 0, 1), store=None, inspect=None, picture=None)
    run = _Run(config, crew)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    run.steps(WARM_STEPS)
    _wait(device)
    warm_s = time.perf_counter() - started
    rates = [config.batch_size * steps / run.timed(steps) for _ in range(REPEATS)]
    rate = statistics.median(rates)
    return {
        "batch_size": config.batch_size,
        "resolution": config.resolution,
        "fabricated_share": config.fabricated_share,
        "parameters": sum(p.numel() for p in run.state.refiner.parameters()),
        "compiled": config.compile,
        "images_per_second": rate,
        "images_per_second_all": rates,
        "step_ms": 1e3 * config.batch_size / rate,
        "warm_up_s": warm_s,
        "peak_memory_gib": torch.cuda.max_memory_allocated() / 2**30 if device.type == "cuda" else None,
        "hours_for_2m_samples": PAPER_SAMPLES / rate / 3600,
        "parts_ms": run.parts(),
        "network_tflop_a_step": run.network_flops() / 1e12,
        "fabricated_images_per_second": run.fabricated_rate(),
        **(run.profiled() if device.type == "cuda" else {}),
    }


def measure_devices(params: TrainParams, devices: int, steps: int, data: Path) -> dict[str, Any]:
    """Measure whole training steps on one device and on several, each device with the trainer's batch.

    Both are started as trainings are: one process a device, by torch's elastic launcher.
    """
    rates: dict[int, list[float]] = {}
    for count in (1, devices):
        rates[count] = on_devices(_rates, params.trainer.device, count, params, steps, data)
        # At once: each count loads, compiles and warms up for minutes.
        sys.stdout.write(f"{params.preset} on {count}: {rates[count]} images/s\n")
        sys.stdout.flush()
    medians = {count: statistics.median(values) for count, values in rates.items()}
    return {
        "batch_size_a_device": params.trainer.batch_size,
        "images_per_second": {str(count): value for count, value in medians.items()},
        "images_per_second_all": {str(count): values for count, values in rates.items()},
        "times_one_device": medians[devices] / medians[1],
    }


def _rates(
    device: torch.device, rank: int, world_size: int, params: TrainParams, steps: int, data: Path
) -> list[float]:
    """Return images a second of all processes together, a repeat each."""
    job = make_job(params, *prepared_tables(data), Path())
    config = replace(job.config, checkpoint_every=0, validate_every=0, image_every=0)
    crew = replace(make_crew(job, device, None, rank, world_size), store=None, inspect=None, picture=None)
    run = _Run(config, crew)
    run.steps(2 * WARM_STEPS)

    def timed() -> float:
        # Nobody's clock starts before everybody is there, or stops before everybody is done.
        torch.distributed.barrier()
        return _once(lambda: (run.steps(steps), torch.distributed.barrier()), device)

    return [config.batch_size * world_size * steps / timed() for _ in range(REPEATS)]


class _Run:
    """A training that can be stopped between its parts."""

    def __init__(self, config: TrainConfig, crew: Crew) -> None:
        self.config, self.crew = config, crew
        self.state: TrainState = begin(config, crew)
        self.forward: Forward = prepare_forward(config, crew, self.state)
        self.exchange = Exchange(self.state.refiner, crew.world_size)
        self.guard = FiniteGuard(crew.stage.device)
        self.sitters = Sitters(config, crew)

    def step(self) -> None:
        """Make one whole step."""
        scene = self.sitters.see(self.state.step)
        loss, terms = self.forward(scene, progress(self.config, self.state.step))
        descend(self.config, self.state, self.guard, self.exchange, loss, terms)
        self.state.step += 1
        update_average(self.state, self.config.ema_decay)
        self.guard.raise_if_found()

    def steps(self, count: int) -> None:
        """Make several."""
        for _ in range(count):
            self.step()

    def timed(self, count: int) -> float:
        """Return the seconds of several, the device's work included."""
        return _once(lambda: self.steps(count), self.crew.stage.device)

    def parts(self) -> dict[str, float]:
        """Return milliseconds of each part by itself (their sum is more than a step: nothing overlaps here)."""
        found: dict[str, list[float]] = {
            "scene": [],
            "forward_and_losses": [],
            "backward_and_optimiser": [],
            "mean": [],
        }
        device, config, state = self.crew.stage.device, self.config, self.state
        box: dict[str, Any] = {}
        for _ in range(2 * config.scene_block):
            found["scene"].append(_once(lambda: box.update(scene=self.sitters.see(state.step)), device))
            found["forward_and_losses"].append(_once(lambda: box.update(out=self.forward(box["scene"], 0.5)), device))
            found["backward_and_optimiser"].append(
                _once(lambda: descend(config, state, self.guard, self.exchange, *box["out"]), device)
            )
            state.step += 1
            found["mean"].append(_once(lambda: update_average(state, config.ema_decay), device))
        # The scene's mean, not median: scenes are made for several steps at once.
        return {
            name: 1e3 * (statistics.mean(values) if name == "scene" else statistics.median(values))
            for name, values in found.items()
        }

    def network_flops(self) -> float:
        """Return the operations of the network in one step, forward and backward."""
        scene: Scene = self.sitters.see(self.state.step)
        refiner = self.state.average
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            refiner(scene.face)
        return 3.0 * counter.get_total_flops()

    def fabricated_rate(self) -> float | None:
        """Return how many faces with fits and truth are made a second, in batches of `FABRICATED`."""
        device, fabricator = self.crew.stage.device, self.crew.fabricator
        if fabricator is None:
            return None
        count = FABRICATED if device.type == "cuda" else 2
        generator = torch.Generator(device).manual_seed(0)
        times = [_once(lambda: fabricator.make(count, generator), device) for _ in range(REPEATS + 2)]
        return count / statistics.median(times[2:])

    def driver_utilisation(self) -> float | None:
        """Return the mean share of time in which a kernel runs, as the driver says, without a profiler's load.

        None where there is no ``nvidia-smi``.
        """
        question = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--id=0"]
        answers: list[float] = []
        ended = threading.Event()

        def ask() -> None:
            while not ended.wait(ASKED_EVERY_S):
                answers.append(float(subprocess.run(question, capture_output=True, check=True).stdout))  # noqa: S603

        if shutil.which(question[0]) is None:
            return None
        asking = threading.Thread(target=ask)
        asking.start()
        until = time.perf_counter() + WATCHED_S
        while time.perf_counter() < until:
            self.steps(self.config.scene_block)
        _wait(self.crew.stage.device)
        ended.set()
        asking.join()
        # The first answer still tells of the time before.
        return statistics.mean(answers[1:]) / 100 if len(answers) > 1 else None

    def profiled(self) -> dict[str, Any]:
        """Return how busy the device is and its longest kernels."""
        device = self.crew.stage.device
        steps = 2 * self.config.scene_block
        with profile(activities=[ProfilerActivity.CUDA]) as watched:
            wall = self.timed(steps)
        kernels = [event for event in watched.events() if event.device_type == DeviceType.CUDA]
        by_name: dict[str, float] = {}
        for event in kernels:
            by_name[event.name[:90]] = by_name.get(event.name[:90], 0.0) + event.device_time_total
        busy = _covered([(e.time_range.start, e.time_range.end) for e in kernels])
        longest = sorted(by_name.items(), key=lambda item: -item[1])[:25]
        _wait(device)
        return {
            "device_busy_share": busy / 1e6 / wall,
            "driver_utilisation": self.driver_utilisation(),
            "kernels_a_step": len(kernels) / steps,
            "longest_kernels_ms_a_step": {name: total / 1e3 / steps for name, total in longest},
        }


def _covered(spans: list[tuple[float, float]]) -> float:
    """Return the length of the union of spans."""
    total, end = 0.0, float("-inf")
    for start, stop in sorted(spans):
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def prepared_tables(data: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Path]]:
    """Return fits, faces and crops below ``data``, as `preprocess` and `fit` left them."""
    crops = {path.stem: path for path in sorted((data / "03_primary/crops").glob("*.jpg"))}
    fits = pd.read_parquet(data / "04_feature/fits.parquet")
    return fits, pd.read_parquet(data / "03_primary/faces.parquet"), crops


def _seconds(work: Callable[[], Any], count: int) -> float:
    device = torch.device("cuda")
    work()
    return _once(lambda: [work() for _ in range(count)], device) / count


def _once(work: Callable[[], Any], device: torch.device) -> float:
    _wait(device)
    started = time.perf_counter()
    work()
    _wait(device)
    return time.perf_counter() - started


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
