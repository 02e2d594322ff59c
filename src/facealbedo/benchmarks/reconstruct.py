"""How well, how fast and how evenly over skin tones photos are reconstructed on this machine.

    python -m facealbedo.benchmarks.reconstruct [--portraits FOLDER] [--crops FOLDER] [--parts PART ...]

Writes ``docs/benchmarks/reconstruct_cpu.json``, part by part. Without photo folders only the fabricated faces are
measured. Times hold for the load that is written beside them: on a machine with nothing else to do it is about 1.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import resource
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from facealbedo.assets import load_face_model
from facealbedo.benchmarks.sharpness import STUDY, fit_face, measure_sharpness
from facealbedo.core.colour import ITA_GROUPS
from facealbedo.core.detect import DetectedFace, MediapipeDetector
from facealbedo.core.detect.crop import crop_face
from facealbedo.core.detect.gates import GateLimits, fit_objection, size_objection
from facealbedo.core.fabricate.portrait import PortraitConfig
from facealbedo.core.fit.landmarks import LandmarkFit, landmark_basis
from facealbedo.core.imaging.decoding import decode_image
from facealbedo.core.imaging.encoding import encode_png_srgb
from facealbedo.core.metrics.tone import tone_errors
from facealbedo.dataloading.photos import list_photos
from facealbedo.fabricated import portraits
from facealbedo.params.prepare import FitParams
from facealbedo.params.reconstruct import GateParams, ReconstructParams
from facealbedo.reconstructor import Reconstructor, Source, reconstruct_folder

logger = logging.getLogger(__name__)
SHARED = Path("..") / "shared" / "data"
PARTS = ("portraits", "tone_fabricated", "sharpness", "crops", "run")


def measure_folder(reconstructor: Reconstructor, folder: Path) -> dict[str, Any]:
    """Reconstruct the photos of a folder; return rates, landmark errors, times with export, and memory."""
    nme: list[float] = []
    times: dict[str, list[float]] = {}
    reasons: Counter[str] = Counter()
    photos = list_photos(folder)
    memory = []
    for number, photo in enumerate(photos):
        results = reconstructor.reconstruct_source(Source(photo.id, photo.name, photo.path.read_bytes))
        # The largest face is the photo's subject; faces behind it count neither way.
        result = results[0]
        reasons[_kind(result.reason) if result.status != "done" else "done"] += 1
        if result.status == "done":
            nme.append(float(result.numbers["fit"]["nme_percent"]))
            laps = dict(result.numbers["timing"])
            started = time.perf_counter()
            reconstructor.export(result)
            laps["export_s"] = time.perf_counter() - started
            laps["total_s"] = sum(laps.values())
            for name, seconds in laps.items():
                times.setdefault(name, []).append(seconds)
        memory.append(resident_mib())
        if number % 50 == 49:
            logger.info("%s: %d of %d", folder.name, number + 1, len(photos))
    return {
        "photos": len(photos),
        "outcomes": dict(reasons.most_common()),
        "done_percent": 100 * reasons["done"] / len(photos),
        "nme_percent": _spread(nme),
        "seconds": {name: _spread(values) for name, values in times.items()},
        "resident_mib": memory_course(memory),
    }


def measure_run(folder: Path, output: Path, most: int) -> dict[str, Any]:
    """Do what ``facealbedo FOLDER -o OUTPUT`` does, over at most so many photos; return outcomes, pace and memory.

    Memory is read after every photo, when its files are written: nothing of a photo may stay. Photos beyond ``most``
    are left out by linking the others into a folder of their own.
    """
    chosen = output / "photos"
    chosen.mkdir(parents=True)
    for photo in list_photos(folder)[:most]:
        (chosen / photo.path.name).symlink_to(photo.path.resolve())
    memory: list[float] = []
    started = time.perf_counter()

    def on_photo(done: int, total: int) -> None:
        memory.append(resident_mib())
        if done % 50 == 0:
            logger.info("run: %d of %d, %.0f MiB", done, total, memory[-1])

    summary = reconstruct_folder(ReconstructParams(photos=str(chosen)), output / "faces", on_photo)
    seconds = time.perf_counter() - started
    outcomes = Counter(_kind(row.reason) if row.status != "done" else "done" for row in summary.rows)
    return {
        "photos": len(memory),
        "outcomes": dict(outcomes.most_common()),
        "seconds_a_photo": seconds / len(memory),
        "written_mib": sum(path.stat().st_size for path in (output / "faces").rglob("*") if path.is_file()) / 2**20,
        "resident_mib": memory_course(memory) | {"of_every_hundredth": memory[99::100]},
    }


def measure_gates(folder: Path) -> dict[str, Any]:
    """Find and fit the largest face of every photo; return who passes the product's gates and training's, and why not.

    Memory is read after every photo: nothing of a photo may stay.
    """
    model, detector = load_face_model(), MediapipeDetector()
    basis = landmark_basis(model)
    limits = {"product": _limits(ReconstructParams().gates), "training": _limits(FitParams().gates)}
    outcomes: dict[str, Counter[str]] = {name: Counter() for name in limits}
    nme, seconds, memory = [], [], []
    photos = list_photos(folder)
    for number, photo in enumerate(photos):
        started = time.perf_counter()
        decoded = decode_image(photo.path.read_bytes())
        faces = detector.detect(decoded.srgb)
        fit = fit_face(basis, crop_face(decoded, faces[0])) if faces else None
        seconds.append(time.perf_counter() - started)
        for name, gates in limits.items():
            outcomes[name][_kind(_objection(faces[0], fit, gates) if fit else "no face was found")] += 1
        if fit:
            nme.append(float(fit.nme_percent))
        memory.append(resident_mib())
        if number % 500 == 499:
            logger.info("%s: %d of %d", folder.name, number + 1, len(photos))
    return {
        "photos": len(photos),
        "outcomes": {name: dict(counts.most_common()) for name, counts in outcomes.items()},
        "passed_percent": {name: 100 * counts["passed"] / len(photos) for name, counts in outcomes.items()},
        "nme_percent": _spread(nme),
        "seconds": _spread(seconds),
        "resident_mib": memory_course(memory),
    }


def _limits(gates: GateParams) -> GateLimits:
    return GateLimits(gates.min_face_px, gates.max_yaw_degrees, gates.max_nme_percent)


def _objection(face: DetectedFace, fit: LandmarkFit, gates: GateLimits) -> str:
    """Return the reason why a face is refused, "passed" without one."""
    by_size = size_objection(face.size_px, gates)
    return by_size or fit_objection(float(fit.yaw_degrees), float(fit.nme_percent), gates) or "passed"


def measure_tone(reconstructor: Reconstructor, count: int, batch: int = 12) -> dict[str, Any]:
    """Estimate the tone of rendered faces, equal numbers of each ITA group, in held-out light, by the whole path."""
    predicted, truth = [], []
    missed = 0
    for start in range(0, count, batch):
        groups = torch.arange(start, min(start + batch, count)) % len(ITA_GROUPS)
        made = portraits(len(groups), 10_000 + start, PortraitConfig(size_px=384, texture_px=256), groups)
        tones = reconstructor.prior.tone_of(made.coefficients.albedo_coeffs)
        ita = reconstructor.ita_of_tone(*tones)
        for index in range(len(groups)):
            content = encode_png_srgb(made.image[index], compression=1)
            result = reconstructor.reconstruct_source(Source("face", "face", lambda content=content: content))[0]
            if result.status != "done":
                missed += 1
                continue
            predicted.append(float(result.numbers["tone"]["ita_degrees"]))
            truth.append(float(ita[index]))
        if start % 120 == 0:
            logger.info("tone: %d of %d", start + len(groups), count)
    errors = tone_errors(torch.tensor(predicted), torch.tensor(truth))
    return errors.as_dict() | {"faces": count, "not_reconstructed": missed}


def _kind(reason: str) -> str:
    """Drop a reason's numbers, so that like ones are counted together."""
    return reason.split(":", maxsplit=1)[0]


def _spread(values: list[float]) -> dict[str, float]:
    if not values:
        return {}
    return {"median": statistics.median(values), "max": max(values)}


def resident_mib() -> float:
    """Return the memory that this process holds now, MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def memory_course(memory: list[float]) -> dict[str, float]:
    """Return memory after a tenth of the photos and at the end, and the slope between by least squares, MiB a photo."""
    start = len(memory) // 10
    later = memory[start:]
    slope = statistics.linear_regression(range(len(later)), later).slope if len(later) > 1 else 0.0
    return {"after_tenth": memory[start], "at_end": memory[-1], "slope_per_1000_photos": 1000 * slope}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--portraits", type=Path, default=SHARED / "photos_eval")
    parser.add_argument("--crops", type=Path, default=SHARED / "photos_train")
    parser.add_argument("--tone-faces", type=int, default=600)
    parser.add_argument("--run-photos", type=int, default=2000, help="how many of the crops `run` exports")
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks/reconstruct_cpu.json"))
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what is measured; the rest stays"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "portraits": lambda: measure_folder(Reconstructor(), arguments.portraits),
        "tone_fabricated": lambda: measure_tone(Reconstructor(ReconstructParams(texture_px=256)), arguments.tone_faces),
        "sharpness": lambda: {
            name: measure_sharpness(folder) | {"study": STUDY[name]}
            for name, folder in (("portraits", arguments.portraits), ("crops", arguments.crops))
        },
        "crops": lambda: measure_gates(arguments.crops),
        "run": lambda: _measure_run(arguments),
    }
    needs = {"portraits": [arguments.portraits], "tone_fabricated": [], "crops": [arguments.crops]}
    needs |= {"sharpness": [arguments.portraits, arguments.crops], "run": [arguments.crops]}
    # What takes longest comes last, and every part is written when it is there.
    for part in PARTS:
        if part in arguments.parts and all(folder.is_dir() for folder in needs[part]):
            _write(part, measures[part](), arguments.output)


def _measure_run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run into a folder that is gone afterwards: the files of 2,000 faces are many GiB."""
    with tempfile.TemporaryDirectory(prefix="facealbedo-run-") as folder:
        return measure_run(arguments.crops, Path(folder), arguments.run_photos)


def _write(part: str, numbers: dict[str, Any], output: Path) -> None:
    """Put one part into the report; the other parts stay as they were measured."""
    report = json.loads(output.read_text(encoding="utf-8")) if output.exists() else {}
    report["command"] = "make bench"
    report["machine"] = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    report |= {"python": platform.python_version(), "torch": torch.__version__}
    one_minute = os.getloadavg()[0]
    report[part] = numbers | {
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "load_of_the_machine": one_minute,
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    logger.info("%s: wrote %s", part, output)


if __name__ == "__main__":
    main()
