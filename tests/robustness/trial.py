"""Putting strange photos beside good ones through the command and through Kedro, and judging what came of it."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.robustness.strange_photos import StrangePhoto, encoded, face

ROOT = Path(__file__).resolve().parents[2]
GOOD_NAMES = ("0_first.jpg", "m_middle.jpg", "zz_last.jpg")
# Every reason that the documents list, as it begins; anything else is a defect.
DOCUMENTED = (
    "the file is ", "this kind of picture is not read", "its kind of pixels is not read", "the picture is ",
    "no face was found", "the face is too small", "the head is turned too far", "the face model does not fit",
    "the face could not be fitted", "cannot be read: ",
)  # fmt: skip


@dataclass
class Findings:
    """What a trial found; ``defects`` is empty when all is well."""

    inputs: int = 0
    crashes: int = 0
    photos_lost: int = 0
    defects: list[str] = field(default_factory=list)

    def add(self, other: Findings) -> None:
        self.inputs += other.inputs
        self.crashes += other.crashes
        self.photos_lost += other.photos_lost
        self.defects += other.defects


def good_photo() -> bytes:
    """A face that is reconstructed without objection."""
    return encoded(face(), "JPEG", quality=92)


def write_trial(folder: Path, photos: Sequence[StrangePhoto]) -> dict[str, StrangePhoto]:
    """Write strange photos between good ones; return them by file name."""
    folder.mkdir(parents=True)
    for name in GOOD_NAMES:
        (folder / name).write_bytes(good_photo())
    named = {f"{index:03d}_{re.sub('[^a-z0-9]+', '_', p.kind)}{p.suffix}": p for index, p in enumerate(photos, 1)}
    for name, photo in named.items():
        (folder / name).write_bytes(photo.data)
    return named


def run(arguments: Sequence[str | bytes], timeout_s: float = 3000, **environment: str) -> subprocess.CompletedProcess:
    """Run a command in the project's folder with nothing to read and no network address to speak of."""
    return subprocess.run(
        list(arguments), cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
        check=False, timeout=timeout_s, env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )  # fmt: skip


def command(photos: Path, output: Path, *options: str) -> subprocess.CompletedProcess:
    """Run the `facealbedo` command at its fastest."""
    call = [sys.executable, "-m", "facealbedo.command_line", str(photos), "-o", str(output)]
    return run([*call, "--texture-px", "256", *(() if "--refine" in options else ("--refine", "prior")), *options])


def kedro(pipeline: str, data: Path, **params: object) -> subprocess.CompletedProcess:
    """Run a Kedro pipeline on its own data folder."""
    given = ",".join(f"{key}={value}" for key, value in params.items())
    call = [sys.executable, "-m", "kedro", "run", "--pipelines", pipeline, "--conf-source", str(configuration(data))]
    return run([*call, "--params", given] if given else call)


def configuration(data: Path) -> Path:
    """Return a copy of `conf` whose data lies in another folder; made at the first call."""
    import shutil

    target = data.parent / f"{data.name}-conf"
    if not target.exists():
        # Whoever makes it may be killed on the way: it gets its name when it is whole.
        begun = data.parent / f"{data.name}-conf-{os.getpid()}"
        shutil.copytree(ROOT / "conf", begun)
        shutil.rmtree(begun / "local")
        (begun / "local").mkdir()
        (begun / "local" / "globals.yml").write_text(f"data: {data}\n")
        mlflow = begun / "base" / "mlflow.yml"
        mlflow.write_text(mlflow.read_text().replace("sqlite:///mlflow.db", f"sqlite:///{data.parent}/mlflow.db"))
        begun.rename(target)
    return target


def rows_of(journal: Path) -> dict[str, list[dict]]:
    """Return the newest rows of each photo of a journal, by the photo's name."""
    entries = [json.loads(line) for line in journal.read_text().splitlines()]
    return {row["photo"]: entry["rows"] for entry in entries for row in entry["rows"]}


def judge(
    done: subprocess.CompletedProcess, journal: Path, named: dict[str, StrangePhoto], status: int = 0
) -> Findings:
    """Compare a run's end and its journal with what the photos allow."""
    findings = Findings(inputs=len(named))
    if done.returncode != status or "Traceback" in done.stderr + done.stdout:
        findings.crashes += 1
        findings.defects.append(f"exit status {done.returncode}: {done.stderr[-2000:]}")
    rows = rows_of(journal) if journal.is_file() else {}
    for name in GOOD_NAMES:
        if [row["status"] for row in rows.get(name, [])] != ["done"]:
            findings.photos_lost += 1
            findings.defects.append(f"the good photo {name}: {rows.get(name)}")
    for name, photo in named.items():
        objection = _objection(photo, rows.get(name, []))
        if objection:
            findings.defects.append(f"{name}: {objection}")
    return findings


def _objection(photo: StrangePhoto, rows: list[dict]) -> str | None:
    if not rows:
        return "has no row"
    for row in rows:
        reason = row["reason"]
        if row["status"] not in photo.statuses:
            return f"is {row['status']} ({reason}), expected {' or '.join(photo.statuses)}"
        if row["status"] != "done" and not reason.startswith(DOCUMENTED):
            return f"has the undocumented reason {reason!r}"
        if row["status"] != "done" and photo.words and photo.words not in reason:
            return f"has the reason {reason!r}, expected {photo.words!r}"
    return None


def fingerprint(folder: Path) -> dict[str, str]:
    """Return the hash of every file of a folder, run times left out of JSON and tables of them."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[path.relative_to(folder).as_posix()] = hashlib.sha256(_timeless(path)).hexdigest()
    return found


# What differs between two runs though nothing is wrong: how long they took, and hashes of files that say so.
_TIMING = re.compile(r'^\s*"(detect_s|fit_s|unwrap_s|appearance_s|refine_s|export_s|total_s)":.*$', re.M)


def _timeless(path: Path) -> bytes:
    data = path.read_bytes()
    if path.name == "report.json":
        return _TIMING.sub("", data.decode()).encode()
    if path.name == "manifest.json":
        content = json.loads(data)
        del content["manifest_sha256"], content["code"]  # somebody may commit between two runs
        content["outputs"].pop("report.json")
        return json.dumps(content, sort_keys=True).encode()
    if path.suffix == ".jsonl":
        # The newest entry of each photo counts; a run that was killed may have written one twice.
        entries = [entry for entry in map(_entry, data.splitlines()) if entry]
        if any("step" in entry for entry in entries):
            # Speed and means since the line before, which a training that goes on begins anew: names are compared.
            return json.dumps(sorted({(entry["step"], name) for entry in entries for name in entry})).encode()
        newest = {entry.get("photo_id", entry.get("id")): entry for entry in entries}
        return json.dumps(_without_timing(newest), sort_keys=True).encode()
    if path.suffix in {".csv", ".html"}:  # their numbers are the journal's
        return re.sub(rb"\d+\.\d+(e-\d+)?", b"#", data)
    return data


def _entry(line: bytes) -> dict:
    """Return a line of a journal or log; nothing of one that was cut off."""
    try:
        return json.loads(line)
    except ValueError:
        return {}


def _without_timing(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_timing(entry) for key, entry in value.items() if key != "timing"}
    return [_without_timing(entry) for entry in value] if isinstance(value, list) else value
