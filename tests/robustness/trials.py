"""The trials that `python -m tests.robustness` runs in full and the tests in part."""

from __future__ import annotations

import html.parser
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.robustness import strange_models
from tests.robustness.strange_photos import StrangePhoto
from tests.robustness.strange_places import write_hostile_names, write_odd_places
from tests.robustness.trial import (
    GOOD_NAMES,
    Findings,
    command,
    fingerprint,
    good_photo,
    judge,
    kedro,
    rows_of,
    run,
    write_trial,
)


def photos_by_command(work: Path, photos: Sequence[StrangePhoto]) -> Findings:
    """Strange photos between good ones, by the command; the good ones come out as they do alone."""
    named = write_trial(work / "photos", photos)
    done = command(work / "photos", work / "out")
    findings = judge(done, work / "out" / "journal.jsonl", named)
    write_trial(work / "alone", [])
    command(work / "alone", work / "alone_out")
    expected = {name: digest for name, digest in fingerprint(work / "alone_out").items() if "/" in name}
    found = fingerprint(work / "out")
    changed = sorted(name for name, digest in expected.items() if found.get(name) != digest)
    if changed or len(expected) < 10 * len(GOOD_NAMES):
        findings.defects.append(f"good photos came out otherwise than alone: {changed}")
    findings.defects += _unsafe_pages(work / "out")
    return findings


def photos_by_kedro(work: Path, photos: Sequence[StrangePhoto], pipeline: str) -> Findings:
    """The same by a Kedro pipeline."""
    named = write_trial(work / "photos", photos)
    params: dict[str, object] = {f"{pipeline}.photos": work / "photos"}
    if pipeline == "reconstruct":
        params |= {"reconstruct.texture_px": 256, "reconstruct.refine.method": "prior"}
    done = kedro(pipeline, work / "data", **params)
    places = {
        "reconstruct": "07_model_output/reconstruct/journal.jsonl",
        "preprocess": "02_intermediate/preprocess_journal.jsonl",
    }
    return judge(done, work / "data" / places[pipeline], named)


def hostile_names(work: Path) -> Findings:
    """One face under every hostile name: each gets its own folder, nothing is written elsewhere, pages escape."""
    (work / "photos").mkdir(parents=True)
    count = write_hostile_names(work / "photos", good_photo())
    before = _everything(work)
    done = command(work / "photos", work / "out")
    findings = Findings(inputs=count)
    _expect_clean(findings, done, 0)
    rows = [row for entry in _entries(work / "out" / "journal.jsonl") for row in entry["rows"]]
    if findings.crashes:
        return findings
    findings.photos_lost += count - sum(row["status"] == "done" for row in rows)
    if len({row["id"] for row in rows}) != count:
        findings.defects.append(f"{count} names made {len({row['id'] for row in rows})} folders")
    strays = {path for path in _everything(work) - before if not path.startswith("out")}
    if strays or list(Path.cwd().glob("harmed*")):
        findings.defects.append(f"written outside the output folder: {sorted(strays)}")
    findings.defects += _unsafe_pages(work / "out")
    return findings


def odd_places(work: Path) -> Findings:
    """Links in circles, pipes, sockets, folders with a photo's name: the one readable photo is done, nothing hangs."""
    (work / "photos").mkdir(parents=True)
    findings = Findings(inputs=write_odd_places(work / "photos", good_photo()))
    done = command(work / "photos", work / "out")
    _expect_clean(findings, done, 0)
    finished = [name for name, rows in rows_of(work / "out" / "journal.jsonl").items() if rows[0]["status"] == "done"]
    if finished != ["real.jpg"]:
        findings.photos_lost += "real.jpg" not in finished
        findings.defects.append(f"done: {finished}")
    return findings


def wrong_calls(work: Path) -> Findings:
    """Calls that cannot work: a documented exit status and one message, never a traceback."""
    work.mkdir(parents=True)
    (work / "file").write_bytes(b"")
    (work / "good.jpg").write_bytes(good_photo())
    (work / "damaged").mkdir()
    (work / "damaged" / "journal.jsonl").write_bytes(b"\xff\x00no journal\n{}\n")
    good = work / "good.jpg"
    calls: list[tuple[int, list[str]]] = [
        (1, [str(work / "missing")]),
        (1, ["/dev/zero", "-o", str(work / "o0")]),
        (1, [str(work / "file"), "-o", str(work / "o1")]),
        (1, [str(good), "-o", str(work / "file")]),
        (1, [str(good), "-o", str(work / "file" / "below")]),
        (1, [str(good), "-o", str(work / "damaged")]),
        (1, [str(good), "-o", "/proc/nowhere"]),
        *((2, [str(good), option, value]) for option, value in (
            ("--texture-px", "7"), ("--texture-px", "nan"), ("--texture-px", ""), ("--texture-px", "9" * 400),
            ("--faces", "none"), ("--detector", "../x"), ("--refine", "\u202e"), ("--expression", ""),
            ("--no-such-option", "1"),
        )),
        (2, []),
        (2, ["verify"]),
        (1, ["verify", str(work / "file")]),
        (1, ["verify", str(work / "damaged")]),
        (2, [str(good), "--refine", "prior", "--weights", str(work / "file")]),
    ]  # fmt: skip
    findings = Findings(inputs=len(calls))
    for status, arguments in calls:
        done = run([sys.executable, "-m", "facealbedo.command_line", *arguments], timeout_s=300)
        _expect_clean(findings, done, status, str(arguments))
    return findings


def wrong_weights(work: Path, count: int | None = None) -> Findings:
    """Weights that cannot be used end the run before its first photo: status 1, one message that names the file."""
    write_trial(work / "photos", [])
    good = strange_models.good_files()
    contents = {
        "pickle": strange_models.HARMFUL_PICKLE,
        "empty": b"",
        "cut": good["weights"][: len(good["weights"]) // 2],
        "face_model": good["face_model"],
        "lost_metadata": strange_models.with_metadata(good["weights"], {}),
    }
    for name, content in contents.items():
        (work / f"{name}.safetensors").write_bytes(content)
    (work / "folder.safetensors").mkdir()
    names = [*contents, "folder", "missing"][:count]
    findings = Findings(inputs=len(names))
    for name in names:
        weights = str(work / f"{name}.safetensors")
        done = command(work / "photos", work / "out", "--refine", "network", "--weights", weights)
        _expect_clean(findings, done, 1, name)
        if done.stderr.count(weights) != 1 or (work / "out" / "journal.jsonl").exists():
            findings.defects.append(f"{name}: not named once before the first photo: {done.stderr[-1500:]}")
    return findings


WRONG_PARAMETERS = (
    ("reconstruct", "reconstruct.gates.max_yaw_degrees", "words"),
    ("reconstruct", "reconstruct.texture_px", "7"),
    ("preprocess", "preprocess.no_such", "1"),
    ("fit", "fit.gates", "5"),
)


def wrong_parameters(work: Path, count: int = len(WRONG_PARAMETERS)) -> Findings:
    """Wrong parameters given to Kedro end with status 2 and their name."""
    work.mkdir(parents=True)
    findings = Findings()
    for pipeline, name, value in WRONG_PARAMETERS[:count]:
        findings.inputs += 1
        done = kedro(pipeline, work / "data", **{name: value})
        _expect_clean(findings, done, 2, f"{name}={value}")
        if name.split(".")[-1] not in done.stderr:
            findings.defects.append(f"{name}: not named in the message")
    return findings


def _expect_clean(findings: Findings, done: subprocess.CompletedProcess, status: int, what: str = "") -> None:
    if done.returncode != status or "Traceback" in done.stdout + done.stderr:
        findings.crashes += 1
        findings.defects.append(f"{what}: status {done.returncode}, not {status}: {done.stderr[-1500:]}")


def _everything(folder: Path) -> set[str]:
    return {
        os.path.relpath(os.path.join(place, name), folder)  # noqa: PTH118
        for place, folders, names in os.walk(folder)
        for name in (*folders, *names)
    }


def _entries(journal: Path) -> list[dict]:
    return [json.loads(line) for line in journal.read_text().splitlines()]


class PageReader(html.parser.HTMLParser):
    """Finds what a file name could have smuggled into a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            address = (value or "").strip().lower()
            if name.startswith("on") or (name in {"src", "href"} and address.startswith(("javascript:", "http", "//"))):
                self.found.append(f"<{tag} {name}={value!r}>")


def _unsafe_pages(folder: Path) -> list[str]:
    """Return what runs or loads something in the pages of a run, apart from the page's own script."""
    lines = []
    for path in folder.rglob("*.html"):
        page = PageReader()
        page.feed(path.read_text(encoding="utf-8"))
        lines += [f"{path.name}: {found}" for found in page.found]
    return lines
