"""How well, how fast and how evenly over skin tones photos are reconstructed on this machine.

    python -m facealbedo.benchmarks.reconstruct [--portraits FOLDER] [--crops FOLDER] [--tone-faces N]

Writes ``docs/benchmarks/reconstruct_cpu.json``. Without photo folders only the fabricated faces are measured.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import resource
import statistics
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

from facealbedo.assets import load_face_model
from facealbedo.core.colour import ITA_GROUPS
from facealbedo.core.detect import MediapipeDetector
from facealbedo.core.detect.crop import crop_face
from facealbedo.core.detect.gates import GateLimits, fit_objection, size_objection
from facealbedo.core.fabricate.portrait import PortraitConfig
from facealbedo.core.fit.landmarks import fit_landmarks, landmark_basis
from facealbedo.core.imaging.decoding import decode_image
from facealbedo.core.imaging.encoding import encode_png_srgb
from facealbedo.core.metrics.tone import tone_errors
from facealbedo.core.types import Landmarks
from facealbedo.dataloading.photos import list_photos
from facealbedo.fabricated import portraits
from facealbedo.params.reconstruct import ReconstructParams
from facealbedo.reconstructor import Reconstructor, Source

logger = logging.getLogger(__name__)
SHARED = Path("..") / "shared" / "data"


def measure_folder(reconstructor: Reconstructor, folder: Path, export: bool) -> dict[str, Any]:
    """Reconstruct every photo of a folder; return rates, landmark errors and times."""
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
            if export:
                started = time.perf_counter()
                reconstructor.export(result)
                laps["export_s"] = time.perf_counter() - started
            laps["total_s"] = sum(laps.values())
            for name, seconds in laps.items():
                times.setdefault(name, []).append(seconds)
        memory.append(_resident_mib())
        if number % 50 == 49:
            logger.info("%s: %d of %d", folder.name, number + 1, len(photos))
    return {
        "photos": len(photos),
        "outcomes": dict(reasons.most_common()),
        "done_percent": 100 * reasons["done"] / len(photos),
        "nme_percent": _spread(nme),
        "seconds": {name: _spread(values) for name, values in times.items()},
        "resident_mib": {"after_tenth": memory[len(memory) // 10], "at_end": memory[-1]},
    }


def measure_gates(folder: Path) -> dict[str, Any]:
    """Find and fit the largest face of every photo; return who passes the gates of training, and why not."""
    model, detector, limits = load_face_model(), MediapipeDetector(), GateLimits(40.0, 40.0, 2.5)
    basis = landmark_basis(model)
    outcomes: Counter[str] = Counter()
    nme, seconds = [], []
    photos = list_photos(folder)
    for number, photo in enumerate(photos):
        started = time.perf_counter()
        decoded = decode_image(photo.path.read_bytes())
        faces = detector.detect(decoded.srgb)
        if not faces:
            outcomes["no face was found"] += 1
            continue
        crop = crop_face(decoded, faces[0])
        landmarks = Landmarks(crop.landmarks_px[None], torch.ones(1))
        fit = fit_landmarks(basis, landmarks, crop.principal_px[None], (crop.side, crop.side))
        objection = size_objection(faces[0].size_px, limits) or fit_objection(
            float(fit.yaw_degrees), float(fit.nme_percent), limits
        )
        outcomes[_kind(objection) if objection else "passed"] += 1
        nme.append(float(fit.nme_percent))
        seconds.append(time.perf_counter() - started)
        if number % 500 == 499:
            logger.info("%s: %d of %d", folder.name, number + 1, len(photos))
    return {
        "photos": len(photos),
        "outcomes": dict(outcomes.most_common()),
        "passed_percent": 100 * outcomes["passed"] / len(photos),
        "nme_percent": _spread(nme),
        "seconds": _spread(seconds),
    }


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


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--portraits", type=Path, default=SHARED / "photos_eval")
    parser.add_argument("--crops", type=Path, default=SHARED / "photos_train")
    parser.add_argument("--tone-faces", type=int, default=600)
    parser.add_argument("--output", type=Path, default=Path("docs/benchmarks/reconstruct_cpu.json"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    report: dict[str, Any] = {
        "command": "make bench",
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    full, quick = Reconstructor(), Reconstructor(ReconstructParams(texture_px=256))
    # What takes longest comes last, and every part is written when it is there.
    if arguments.portraits.is_dir():
        report["portraits"] = measure_folder(full, arguments.portraits, export=True)
        _write(report, arguments.output)
    if arguments.tone_faces:
        report["tone_fabricated"] = measure_tone(quick, arguments.tone_faces)
        _write(report, arguments.output)
    if arguments.crops.is_dir():
        report["crops"] = measure_gates(arguments.crops)
        _write(report, arguments.output)


def _write(report: dict[str, Any], output: Path) -> None:
    report["peak_memory_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    logger.info("wrote %s", output)


if __name__ == "__main__":
    main()
