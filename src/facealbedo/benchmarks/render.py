"""How fast every rasteriser that runs on this machine draws the same meshes, and whether they draw the same.

    python -m facealbedo.benchmarks.render [--device cpu|cuda] [--output FILE] [--quick]

Writes ``docs/benchmarks/render_<device>.json``. Times are medians in milliseconds a call (a call draws the whole
batch), warm, over several sets of poses in turn. On CUDA ``ms`` is read from events around one call with the caches
emptied before it, ``ms_in_a_row`` from events around many calls; on a CPU ``ms`` is the least median of a few rounds,
``processor_ms`` the time of all threads. nvdiffrast is measured where it can be imported.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import logging
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facealbedo.assets import load_face_model
from facealbedo.benchmarks import render_truth, rivals
from facealbedo.core.geometry.rotations import euler_degrees_to_matrix
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.rasterize import get_rasterizer
from facealbedo.core.render.shade import shade
from facealbedo.core.render.synthetic import frontal_camera, icosphere
from facealbedo.core.types import Camera, Fragments, Lighting

logger = logging.getLogger(__name__)
POSES = 4
REPEATS = 30
ROUNDS = 5  # of a CPU's short calls
SHORT_SECONDS = 0.1
WARM_UP_SECONDS = 0.2
IN_A_ROW_MS = 20.0  # a slower call is not worth a second figure
PATIENCE_SECONDS = 4.0  # a slower case is repeated less often, and its number of repeats is written


@dataclass(frozen=True)
class Case:
    """One mesh in one image size: what every backend draws."""

    mesh: str
    triangles: Tensor
    poses: list[Tensor]
    camera: Camera

    @property
    def batch(self) -> int:
        """Images a call."""
        return self.poses[0].shape[0]


def meshes(names: Sequence[str]) -> dict[str, tuple[Tensor, Tensor]]:
    """Vertices of about a head's size around the origin, and triangles."""
    made = {}
    for level in (4, 5, 6):
        vertices, triangles = icosphere(level)
        made[f"{len(triangles):,}"] = (vertices * torch.tensor([0.08, 0.11, 0.1]), triangles)
    model = load_face_model()
    vertices = model.decode(torch.zeros(1, model.n_identity), torch.zeros(1, model.n_expression))[0]
    made["face model"] = (vertices - (vertices.amin(0) + vertices.amax(0)) / 2, model.triangles)
    return {name: made[name] for name in names}


def make_case(name: str, mesh: tuple[Tensor, Tensor], size: int, batch: int, device: str) -> Case:
    """Turn and move the mesh, otherwise in every image; it fills about half of each."""
    vertices, triangles = mesh
    generator = torch.Generator().manual_seed(size + batch)
    poses = []
    for _ in range(POSES):
        angles = torch.rand(3, batch, generator=generator) * 60 - 30
        shift = torch.randn(batch, 1, 3, generator=generator) * 0.01 - torch.tensor([0.0, 0.0, 0.8])
        poses.append((vertices @ euler_degrees_to_matrix(*angles) + shift).contiguous().to(device))
    return Case(name, triangles.to(device), poses, frontal_camera(batch, size, 3.4, device))


def time_calls(call: Callable[[int], object], device: str, slow: float = 0.0, repeats: int = REPEATS) -> dict[str, Any]:
    """Median time of ``call(i)``, i counting up; ``slow``: seconds that a call took before, if one was made."""
    begun, i = time.perf_counter(), 0
    while slow < PATIENCE_SECONDS / 3 and (i < 2 or (time.perf_counter() - begun < WARM_UP_SECONDS and i < 100)):
        started = time.perf_counter()
        call(i)
        _wait(device)
        slow, i = time.perf_counter() - started, i + 1
    least = 3 if slow < 3 * PATIENCE_SECONDS else 1
    repeats = min(repeats, max(least, int(PATIENCE_SECONDS / max(slow, 1e-6))))
    if device == "cpu":
        return _time_on_cpu(call, repeats, rounds=ROUNDS if slow < SHORT_SECONDS else 1)
    dirt = torch.empty(1 << 28, dtype=torch.int8, device=device)
    pairs = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(repeats + 1)]
    for i, (start, end) in enumerate(pairs[1:]):
        dirt.zero_()
        start.record()
        call(i)
        end.record()
    _wait(device)
    alone = statistics.median(a.elapsed_time(b) for a, b in pairs[1:])
    times = {"ms": round(alone, 4), "repeats": repeats}
    if alone < IN_A_ROW_MS:
        start, end = pairs[0]
        start.record()
        for i in range(repeats):
            call(i)
        end.record()
        _wait(device)
        times["ms_in_a_row"] = round(start.elapsed_time(end) / repeats, 4)
    return times


def _time_on_cpu(call: Callable[[int], object], repeats: int, rounds: int) -> dict[str, Any]:
    """Least median of several rounds (others may be at work on the machine), and the processor time of a call."""
    medians, worked = [], time.process_time()
    for _ in range(rounds):
        laps = []
        for i in range(repeats):
            started = time.perf_counter()
            call(i)
            laps.append(1e3 * (time.perf_counter() - started))
        medians.append(statistics.median(laps))
    worked = 1e3 * (time.process_time() - worked) / (repeats * rounds)
    return {"ms": round(min(medians), 3), "processor_ms": round(worked, 3), "repeats": repeats, "rounds": rounds}


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


class Own:
    """One of our backends, as `rivals.Nvdiffrast`."""

    def __init__(self, name: str, case: Case, device: str) -> None:
        self._rasterizer = get_rasterizer(name, device)  # type: ignore[arg-type]
        self._case = case

    def prepare(self, view: Tensor) -> Tensor:
        """Nothing to do."""
        return view

    def draw(self, view: Tensor) -> Fragments:
        """What is timed."""
        return self._rasterizer.rasterize(view, self._case.triangles, self._case.camera)

    def fragments(self, drawn: Fragments, view: Tensor) -> Fragments:
        """Nothing to do."""
        del view
        return drawn


def backends(case: Case, device: str, names: Sequence[str]) -> Iterator[tuple[str, Own | rivals.Nvdiffrast]]:
    """What can draw the case here."""
    for name in names:
        try:
            if name != "nvdiffrast":
                yield name, Own(name, case, device)
            elif device == "cuda":
                yield name, rivals.Nvdiffrast(case.triangles, case.camera)
        except (ImportError, ValueError) as reason:
            logger.info("%s: %s", name, reason)


def agreement(ours: Fragments, theirs: Fragments) -> dict[str, float]:
    """Shares and largest differences where both see a surface, away from shared edges (all weights above 1e-3)."""
    both = ours.coverage & theirs.coverage
    inner = both & (ours.barycentrics.amin(-1) > 1e-3) & (theirs.barycentrics.amin(-1) > 1e-3)
    same = inner & (ours.triangle_id == theirs.triangle_id)
    weights = (ours.barycentrics - theirs.barycentrics)[same].abs().amax(-1)
    return {
        "same_triangle": round(float(same.sum() / inner.sum()), 6),
        "same_coverage": round(float((ours.coverage == theirs.coverage).float().mean()), 6),
        "largest_depth_difference_m": float((ours.depth - theirs.depth)[same].abs().max()),
        "barycentrics_within_1e-4": round(float((weights < 1e-4).float().mean()), 6),
    }


def floor_ms(case: Case, bytes_a_second: float) -> float:
    """Time that the bytes take which any rasteriser must move: mesh in; id, barycentrics and depth out."""
    pixels = case.batch * case.camera.height * case.camera.width
    moved = case.poses[0].nbytes + 12 * len(case.triangles) + pixels * (4 + 12 + 4)
    return 1e3 * moved / bytes_a_second


def copy_bandwidth(device: str) -> float:
    """Bytes read plus bytes written a second by a large copy."""
    source = torch.rand((1 << 28) if device == "cuda" else (1 << 24), device=device)
    target = torch.empty_like(source)
    return 2e3 * source.nbytes / time_calls(lambda _: target.copy_(source), device)["ms"]


def measure(case: Case, device: str, names: Sequence[str], bandwidth: float) -> dict[str, Any]:
    """Time all backends on one case and compare what they draw with the first of them."""
    row: dict[str, Any] = {
        "mesh": case.mesh, "triangles": len(case.triangles), "size": case.camera.height, "batch": case.batch,
        "floor_ms": round(floor_ms(case, bandwidth), 4), "backends": {},
    }  # fmt: skip
    own: Fragments | None = None
    for name, backend in backends(case, device, names):
        inputs = [backend.prepare(view) for view in case.poses]
        started = time.perf_counter()
        raw = backend.draw(inputs[0])
        _wait(device)
        first_call = time.perf_counter() - started if name == "pytorch3d" else 0.0
        drawn = backend.fragments(raw, case.poses[0])
        numbers = time_calls(lambda i, draw=backend.draw, inputs=inputs: draw(inputs[i % POSES]), device, first_call)
        numbers["ms_an_image"] = round(numbers["ms"] / case.batch, 4)
        if own is None:
            own = drawn
            if device == "cuda":
                first = case.poses[0][:1].cpu(), case.triangles.cpu(), case.camera[:1].to("cpu")
                on_cpu = get_rasterizer("numba").rasterize(*first)
                numbers["agreement_with_numba_on_cpu"] = agreement(drawn[:1].to("cpu"), on_cpu)
        else:
            numbers["agreement"] = agreement(own, drawn)
        row["backends"][name] = numbers
        logger.info("%s %d x %d: %s %s", case.mesh, case.batch, case.camera.height, name, numbers)
    return row


def measure_shade(device: str, size: int, batch: int, per_texel: bool) -> dict[str, Any]:
    """Forward and backward of the full shade: rasterise, interpolate, read the atlas, SH shading, loss.

    Gradients go to vertices, normals, albedo map (512²) and light (one for the face, or 27 channels of 64²).
    """
    model = load_face_model().to(device)
    case = make_case("face model", meshes(["face model"])["face model"], size, batch, device)
    generator = torch.Generator().manual_seed(0)
    albedo = torch.rand(batch, 3, 512, 512, generator=generator).to(device).requires_grad_()
    shape = (batch, 27, 64, 64) if per_texel else (batch, 3, 9)
    light = (torch.rand(shape, generator=generator) + 0.1).to(device).requires_grad_()
    view = case.poses[0].clone().requires_grad_()
    normals = model.normals(case.poses[0]).detach().requires_grad_()
    target = torch.rand(batch, 3, size, size, generator=generator).to(device)
    leaves = [albedo, light, view, normals]

    def forward(_: int = 0) -> Tensor:
        _, buffer = render_gbuffer(model, view, case.camera, normals_view=normals)
        lit = {"uv_illumination": light} if per_texel else {"lighting": Lighting(light)}
        return (shade(buffer, albedo, **lit) - target).abs().mean()  # type: ignore[arg-type]

    def both(_: int) -> None:
        for leaf in leaves:
            leaf.grad = None
        forward().backward()

    numbers = {"forward": time_calls(forward, device), "forward_and_backward": time_calls(both, device)}
    loss = forward()
    numbers["backward"] = time_calls(lambda _: torch.autograd.grad(loss, leaves, retain_graph=True), device)
    return {"size": size, "batch": batch, "light": "27 channels of 64 x 64" if per_texel else "one", **numbers}


def machine(device: str) -> dict[str, Any]:
    """What the numbers were measured on."""
    said: dict[str, Any] = {
        "processor": _processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads(),
        "load_before": round(os.getloadavg()[0], 2), "torch": torch.__version__, "python": platform.python_version(),
    }  # fmt: skip
    if device == "cuda":
        said |= {"device": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
    return said


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--quick", action="store_true", help="only the sizes that have a target")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    device = options.device
    tag = torch.cuda.get_device_name().lower().split()[-1] if device == "cuda" else "cpu"
    output = options.output or Path(f"docs/benchmarks/render_{tag}.json")
    bandwidth = copy_bandwidth(device)
    command = "python -m facealbedo.benchmarks.render" + (" --quick" if options.quick else "")
    report: dict[str, Any] = {
        "command": command, "machine": machine(device),
        "copy_gb_a_second": round(bandwidth / 1e9, 1), "rasterise": [], "shade": [],
    }  # fmt: skip
    names = ["20,480"] if options.quick else ["5,120", "20,480", "face model", "81,920"]
    for name, mesh in meshes(names).items():
        for size, batch in sizes(device, options.quick):
            case = make_case(name, mesh, size, batch, device)
            report["rasterise"].append(measure(case, device, wanted(device, case), bandwidth))
            _write(report, output)
    if device == "cpu" and importlib.util.find_spec("mitsuba"):
        report["against_mitsuba"] = render_truth.shading_errors(render_truth.FIVE, size=96, samples=16)
    for per_texel in (False, True):
        report["shade"].append(measure_shade(device, 256, 32 if device == "cuda" else 2, per_texel))
        _write(report, output)


def sizes(device: str, quick: bool) -> list[tuple[int, int]]:
    """Image sizes and batches to measure."""
    if device == "cpu":
        return [(256, 8)] if quick else [(256, 8), (512, 1), (1024, 1)]
    return [(256, 32), (512, 32)] if quick else [(s, b) for s in (256, 512, 1024) for b in (1, 32)]


def wanted(device: str, case: Case) -> list[str]:
    """All backends, ours first; but on a CPU the reference only in the case that has a target: it takes minutes."""
    if device == "cuda":
        return ["triton", "nvdiffrast", "pytorch3d"]
    with_target = case.camera.height == 256 and len(case.triangles) == 20480
    return ["numba", "pytorch3d"] if with_target else ["numba"]


def _write(report: dict[str, Any], output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
