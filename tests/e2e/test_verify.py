"""`facealbedo verify` on a real face: what is whole passes, and each kind of damage is named."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
from typer.testing import CliRunner

from facealbedo.command_line import _run, verify_app

CHEAP = {"texture_px": 256, "working_px": 128, "refine": {"method": "prior"}}


@pytest.fixture(scope="module")
def made(strange_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("verify") / "out"
    assert _run({"photos": str(strange_photos / "plain.jpg"), **CHEAP}, output) == 0
    return output


@pytest.fixture
def output(made: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(made, tmp_path / "out"))


def face_of(output: Path) -> Path:
    (manifest,) = output.glob("*/manifest.json")
    return manifest.parent


def verify(place: Path) -> tuple[int, str]:
    """Run the subcommand in this process: each interpreter costs seconds."""
    done = CliRunner().invoke(verify_app, [str(place)])
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.output


def test_a_whole_run_passes_and_names_its_photo_and_models(output: Path, strange_photos: Path) -> None:
    assert verify(output)[0] == 0
    assert verify(face_of(output))[0] == 0
    manifest = json.loads((face_of(output) / "manifest.json").read_text())
    photo = hashlib.sha256((strange_photos / "plain.jpg").read_bytes()).hexdigest()
    assert manifest["inputs"] == [{"name": "plain.jpg", "kind": "photo", "sha256": photo}]
    model = (files("facealbedo.assets") / "face_model.safetensors").read_bytes()
    assert manifest["models"]["face_model.safetensors"]["sha256"] == hashlib.sha256(model).hexdigest()
    assert manifest["parameters"]["texture_px"] == 256
    assert set(manifest["outputs"]) | {"manifest.json"} == {path.name for path in face_of(output).iterdir()}


def test_the_commit_is_that_of_the_checkout(output: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    code = json.loads((face_of(output) / "manifest.json").read_text())["code"]
    assert (code or {}).get("commit", "") == head.stdout.strip()


def test_damage_is_named(output: Path) -> None:
    face = face_of(output)
    albedo = face / "albedo.png"
    content = bytearray(albedo.read_bytes())
    content[len(content) // 2] ^= 1
    albedo.write_bytes(content)
    (face / "face.glb").unlink()
    (face / "sub").mkdir()
    (face / "sub" / "new.txt").write_text("x")
    (face / "loop").symlink_to(face)
    status, text = verify(output)
    assert status == 1
    for line in ("altered: albedo.png", "missing: face.glb", "extra: sub/new.txt", "extra: loop"):
        assert line in text


def test_a_link_to_equal_content_is_no_file(output: Path, tmp_path: Path) -> None:
    albedo = face_of(output) / "albedo.png"
    albedo.rename(tmp_path / "elsewhere.png")
    albedo.symlink_to(tmp_path / "elsewhere.png")
    status, text = verify(output)
    assert (status, "altered: albedo.png" in text) == (1, True)


def test_a_lost_face_and_a_lost_manifest_are_noticed(output: Path) -> None:
    manifest = face_of(output) / "manifest.json"
    content = manifest.read_bytes()
    manifest.unlink()
    status, text = verify(output)
    assert (status, "missing: manifest.json" in text) == (1, True)
    shutil.rmtree(manifest.parent)
    status, text = verify(output)
    assert (status, "the folder is missing" in text) == (1, True)
    manifest.parent.mkdir()
    manifest.write_bytes(content.replace(b"plain.jpg", b"other.jpg"))
    status, text = verify(output)
    assert (status, "altered" in text) == (1, True)


def test_the_command_itself_gives_the_status(output: Path) -> None:
    (face_of(output) / "face.glb").unlink()
    command = [sys.executable, "-m", "facealbedo.command_line", "verify", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, "missing: face.glb" in done.stdout, done.stderr) == (1, True, "")


def test_wrong_places_get_one_message(tmp_path: Path) -> None:
    assert verify(tmp_path / "nowhere") == (1, f"facealbedo: there is no folder {tmp_path / 'nowhere'}\n")
    status, text = verify(tmp_path)
    assert (status, "holds neither" in text) == (1, True)


def test_a_folder_of_photos_named_verify_is_still_reached(tmp_path: Path) -> None:
    (tmp_path / "verify").mkdir()
    (tmp_path / "verify" / "bad.jpg").write_bytes(b"")
    command = [sys.executable, "-m", "facealbedo.command_line", "./verify", "-o", "out"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "bad.jpg: the file is empty" in done.stderr
