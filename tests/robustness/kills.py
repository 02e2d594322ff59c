"""Killing pipelines at random moments, and comparing what they end with to an undisturbed run."""

from __future__ import annotations

import ctypes
import importlib
import os
import random
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import yaml

from facealbedo.assets import load_face_model
from facealbedo.assets.provenance import checkout
from facealbedo.evaluation.subjects import code_hash
from tests.robustness.strange_photos import encoded, face
from tests.robustness.trial import ROOT, configuration, fingerprint

# What each pipeline needs to be run before it.
BEFORE = {"preprocess": (), "fit": ("preprocess",), "reconstruct": (), "train": ("preprocess", "fit"),
          "evaluate": (), "export": ("preprocess", "fit")}  # fmt: skip
PIPELINES = tuple(BEFORE)


@dataclass(frozen=True)
class KillReport:
    """How a pipeline stood being killed: ``differing`` names the files that are not as in the undisturbed run."""

    pipeline: str
    kills: int
    completed_runs: int
    differing: tuple[str, ...]


def write_photos(folder: Path) -> Path:
    """Write three faces and a file that is none."""
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(encoded(face(), "JPEG", quality=92))
    (folder / "b.png").write_bytes(encoded(face().convert("L")))
    (folder / "c.png").write_bytes(encoded(face().resize((300, 325))))
    (folder / "d.jpg").write_bytes(b"no picture")
    return folder


def run_pipeline(pipeline: str, photos: Path, data: Path) -> None:
    """Run a pipeline in this process."""
    from kedro.framework.session import KedroSession
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(ROOT)
    params = {
        "preprocess": {"photos": str(photos), "crop_px": 128},
        "fit": {"working_px": 128},
        "reconstruct": {"photos": str(photos), "texture_px": 256, "working_px": 128, "refine": {"method": "prior"}},
        "export": {"texture_px": 256},
        "train": _small_training(),
        "evaluate": _small_evaluation(photos),
    }
    with KedroSession.create(ROOT, conf_source=str(configuration(data)), runtime_params=params) as session:
        session.run(pipeline_names=[pipeline])


def _small_training() -> dict[str, object]:
    """The parameters of `conf/test`, with a checkpoint every other step and no held-out photos among three."""
    small = yaml.safe_load((ROOT / "conf" / "test" / "parameters_train.yml").read_text())["train"]
    small["trainer"] |= {"steps": 8, "validate_every": 4, "image_every": 8, "checkpoint_every": 2}
    small["fabrication"] = {"pool_faces": 6}
    return dict(small)


def _small_evaluation(photos: Path) -> dict[str, object]:
    """Six people, path traced in a second each; no gate, for the reference was measured on the real set."""
    trace = {"samples": 1, "gloss_samples": 1}
    people = {"lights": 2, "photo_px": 224, "target_px": 128, "photo_trace": trace, "target_trace": trace}
    methods = ["prior", "quotient"]
    return {"relit": {"small": people}, "methods": methods, "oracle": "prior", "gated": [], "portraits": str(photos)}


def cut_network() -> bool:
    """Leave this process without any network, its own loopback included; return whether the system let it."""
    # The numbers are CLONE_NEWNET, which root may ask for, and CLONE_NEWUSER, which lets others ask for it.
    return any(ctypes.CDLL(None).unshare(flags) == 0 for flags in (0x40000000, 0x50000000))


def network_is_cut() -> bool:
    """Whether children really are without a network: no other machine has a route, and no interface is up."""

    def look() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            try:
                channel.connect(("192.0.2.1", 9))  # sends nothing; fails where there is no route
            except OSError:
                return
        raise RuntimeError("there is a route to other machines")

    with tempfile.TemporaryDirectory() as folder:
        return wait(in_child(look, Path(folder) / "log.txt"), 60) == 0


def in_child(work: Callable[[], None], log: Path) -> int:
    """Start work in a forked process without a network, with everything imported already, and return its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setsid()
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        cut_network()
        work()
        status = 0
    except BaseException as error:  # a forked child must not run on into its parent's code
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(status)


def wait(child: int, seconds: float) -> int | None:
    """Wait for a child; return its exit status, or None when it still runs after so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    return None


def finish(work: Callable[[], None], log: Path) -> float:
    """Run work in a child to its end; return its seconds."""
    started = time.monotonic()
    status = wait(in_child(work, log), 900)
    if status != 0:
        raise RuntimeError(f"exit status {status}: {log.read_text()[-3000:]}")
    return time.monotonic() - started


def warm_up() -> None:
    """Import what the pipelines import, so that a kill hits their work and not their start."""
    for name in ("preparation", "reconstructor", "exporting", "training", "evaluation.runs", "tracking"):
        importlib.import_module(f"facealbedo.{name}")
    load_face_model()
    # Kept for the children: somebody may edit or commit while they run.
    code_hash()
    checkout()


def kill_pipeline(pipeline: str, work: Path, kills: int, seed: int = 0) -> KillReport:
    """Kill a pipeline so often, starting it again each time; begin afresh whenever it got to its end.

    Every data folder that was brought to an end is compared with that of an undisturbed run.
    """
    draw = random.Random(f"{pipeline} {seed}")
    photos = write_photos(work / "photos")
    log = work / "log.txt"

    def prepared(data: Path) -> Callable[[], None]:
        for earlier in BEFORE[pipeline]:
            finish(partial(run_pipeline, earlier, photos, data), log)
        return partial(run_pipeline, pipeline, photos, data)

    seconds = finish(prepared(work / "calm"), log)
    expected = fingerprint(work / "calm")
    done, runs, differing = 0, 0, set()
    while done < kills:
        data = work / f"killed{runs}"
        task = prepared(data)
        while done < kills:
            child = in_child(task, log)
            if wait(child, draw.uniform(0, seconds)) is not None:
                break
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            done += 1
        finish(task, log)
        found = fingerprint(data)
        differing |= {name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)}
        runs += 1
    return KillReport(pipeline, done, runs, tuple(sorted(differing)))
