"""Killing pipelines at random moments, and comparing what they end with to an undisturbed run."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.robustness.strange_photos import encoded, face
from tests.robustness.trial import ROOT, configuration, fingerprint

PIPELINES = ("preprocess", "fit", "reconstruct")


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
        "preprocess": {"photos": str(photos)},
        "fit": {"working_px": 128},
        "reconstruct": {"photos": str(photos), "texture_px": 256, "working_px": 128, "refine": {"method": "prior"}},
    }
    with KedroSession.create(ROOT, conf_source=str(configuration(data)), runtime_params=params) as session:
        session.run(pipeline_names=[pipeline])


def in_child(work: Callable[[], None], log: Path) -> int:
    """Start work in a forked process, with everything imported already, and return its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.setsid()
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
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
    import facealbedo.preparation
    import facealbedo.reconstructor
    from facealbedo.assets import load_face_model

    load_face_model()
    assert facealbedo.preparation
    assert facealbedo.reconstructor


def kill_pipeline(pipeline: str, work: Path, kills: int, seed: int = 0) -> KillReport:
    """Kill a pipeline so often, starting it again each time; begin afresh whenever it got to its end.

    Every data folder that was brought to an end is compared with that of an undisturbed run.
    """
    draw = random.Random(f"{pipeline} {seed}")
    photos = write_photos(work / "photos")
    log = work / "log.txt"

    def prepared(data: Path) -> Callable[[], None]:
        if pipeline == "fit":
            finish(lambda: run_pipeline("preprocess", photos, data), log)
        return lambda: run_pipeline(pipeline, photos, data)

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
