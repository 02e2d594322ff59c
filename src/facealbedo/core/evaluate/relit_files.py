"""A person of the `relit` set as files, and back, with every check that keeps wrong data from being measured.

``report.json``: what and how. ``truth.npz``: coefficients and linear albedo. ``photo_N.png``: 8-bit sRGB, what a method
sees. ``photo_N.npz``, ``target_N.npz``: pose, camera and the light of each view.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facealbedo.core.colour import linear_to_srgb, srgb_to_linear
from facealbedo.core.evaluate.relit_set import RelitConfig, RelitPerson, RelitView, albedo_image
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.geometry.projection import world_to_view
from facealbedo.core.imaging.decoding import decode_image
from facealbedo.core.imaging.encoding import encode_png_srgb
from facealbedo.core.metrics.masks import EvaluationError
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.types import Camera, FaceCoefficients, Pose

FORMAT = "facealbedo-relit-2"
# Largest mean error of sRGB codes between a photo and what its truth renders to; rounding and noise stay far below.
_LARGEST_CODE_ERROR = 0.02


def config_hash(config: RelitConfig) -> str:
    """Return a hash of everything that decides a person's files, how many people there are left out."""
    relevant = {name: value for name, value in asdict(config).items() if name != "people_per_group"}
    return hashlib.sha256(json.dumps({"format": FORMAT, **relevant}, sort_keys=True).encode()).hexdigest()[:16]


def person_to_files(person: RelitPerson, config: RelitConfig) -> dict[str, bytes]:
    """Return the files of a person by name."""
    coefficients = person.coefficients
    files = {
        "truth.npz": _pack(
            identity=coefficients.identity_coeffs,
            expression=coefficients.expression_coeffs,
            albedo_coeffs=coefficients.albedo_coeffs,
            uv_albedo=person.uv_albedo.half(),
            uv_unmarked=person.uv_unmarked.half(),
        )
    }
    for number, photo in enumerate(person.photos):
        files[f"photo_{number}.png"] = encode_png_srgb(photo.image[0])
        files[f"photo_{number}.npz"] = _view_to_bytes(photo)
    for number, target in enumerate(person.targets):
        files[f"target_{number}.png"] = encode_png_srgb(target.image[0])
        files[f"target_{number}.npz"] = _view_to_bytes(target)
    report = {
        "format": FORMAT,
        "config": config_hash(config),
        "number": person.number,
        "group": person.group,
        "marks": list(person.marks),
        "photos": len(person.photos),
        "targets": len(person.targets),
        "seed": config.seed,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
    }
    return files | {"report.json": json.dumps(report, indent=1).encode()}


def person_from_files(files: Mapping[str, bytes], model: FaceModel, name: str) -> RelitPerson:
    """Read a person and check that the truth renders to the photos.

    Args:
        files: content by name.
        model: of the faces.
        name: for messages.

    Raises:
        EvaluationError: a file is missing or damaged, sizes do not fit, or albedo or light are sRGB codes.
    """
    report = read_report(files, name)
    truth = _unpack(files, "truth.npz", name)
    coefficients = FaceCoefficients(truth["identity"], truth["expression"], truth["albedo_coeffs"])
    views: dict[str, tuple[RelitView, ...]] = {}
    for kind in ("photo", "target"):
        views[kind] = tuple(
            _read_view(files, f"{kind}_{number}", model, coefficients, truth["uv_albedo"].float(), name)
            for number in range(int(report[f"{kind}s"]))
        )
    return RelitPerson(
        int(report["number"]),
        int(report["group"]),
        tuple(report["marks"]),
        coefficients,
        truth["uv_albedo"].float(),
        truth["uv_unmarked"].float(),
        views["photo"],
        views["target"],
    )


def read_report(files: Mapping[str, bytes], name: str) -> dict[str, Any]:
    """Return a person's description.

    Raises:
        EvaluationError: missing, or of another version.
    """
    try:
        report = json.loads(files["report.json"])
        if report["format"] == FORMAT:
            return dict(report)
    except (KeyError, ValueError):
        pass
    raise EvaluationError(f"{name}: no report.json of the format {FORMAT}; make the set again")


def _view_to_bytes(view: RelitView) -> bytes:
    return _pack(
        shading=view.shading.half(),
        gloss=view.gloss.half(),
        rotation=view.pose.rotation,
        translation=view.pose.translation,
        focal_px=view.camera.focal_px,
        principal_px=view.camera.principal_px,
        gain=view.gain,
        environment=torch.tensor(view.environment),
        lamp=torch.tensor(view.lamp),
    )


def _read_view(
    files: Mapping[str, bytes],
    stem: str,
    model: FaceModel,
    coefficients: FaceCoefficients,
    uv_albedo: Tensor,
    name: str,
) -> RelitView:
    stored = _unpack(files, f"{stem}.npz", name)
    shading, gloss = stored["shading"].float(), stored["gloss"].float()
    size = shading.shape[-1]
    camera = Camera(stored["focal_px"], stored["principal_px"], size, size)
    pose = Pose(stored["rotation"], stored["translation"])
    decoded = decode_image(_file(files, f"{stem}.png", name))
    if (decoded.height, decoded.width) != (size, size):
        raise EvaluationError(
            f"{name}/{stem}: the photo has {decoded.width} x {decoded.height} pixels, its truth {size} x {size}"
        )
    pixels = np.ascontiguousarray(decoded.linear_pixels(0, size, 0, size).transpose(2, 0, 1))
    image = torch.from_numpy(pixels).float()[None]
    view = RelitView(
        image, shading, gloss, pose, camera, stored["gain"], int(stored["environment"]), float(stored["lamp"])
    )
    _check_truth(view, model, coefficients, uv_albedo, f"{name}/{stem}")
    return view


def _check_truth(
    view: RelitView, model: FaceModel, coefficients: FaceCoefficients, uv_albedo: Tensor, what: str
) -> None:
    """Raise unless albedo x shading + gloss is the photo; say so when albedo or light are sRGB codes."""
    vertices = world_to_view(model.decode(coefficients.identity_coeffs, coefficients.expression_coeffs), view.pose)
    fragments, buffer = render_gbuffer(model, vertices, view.camera)
    mask = buffer.skin_coverage

    def error(albedo_map: Tensor, shading: Tensor) -> float:
        image = (albedo_image(model, fragments, buffer, albedo_map) * shading + view.gloss).clamp(0, 1)
        return float(((linear_to_srgb(image) - linear_to_srgb(view.image)).abs() * mask).sum() / (3 * mask.sum()))

    if not bool(mask.any()) or error(uv_albedo, view.shading) < _LARGEST_CODE_ERROR:
        return
    suspects = {
        "the albedo is sRGB-encoded, not linear": (srgb_to_linear(uv_albedo), view.shading),
        "the shading is sRGB-encoded, not linear": (uv_albedo, srgb_to_linear(view.shading)),
    }
    for reason, (albedo_map, shading) in suspects.items():
        if error(albedo_map, shading) < _LARGEST_CODE_ERROR:
            raise EvaluationError(f"{what}: {reason}; decode it with srgb_to_linear first")
    raise EvaluationError(
        f"{what}: albedo x shading + gloss differs from the photo by {error(uv_albedo, view.shading):.3f} of the "
        "range of codes; photo and truth are not of one face"
    )


def _pack(**tensors: Tensor) -> bytes:
    """Pack arrays as npz; NumPy writes a fixed date into it, so the same arrays give the same bytes."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: value.numpy() for name, value in tensors.items()})  # type: ignore[arg-type]
    return buffer.getvalue()


def _file(files: Mapping[str, bytes], file_name: str, name: str) -> bytes:
    if file_name not in files:
        raise EvaluationError(f"{name}: the ground truth lacks {file_name}; make the set again")
    return files[file_name]


def _unpack(files: Mapping[str, bytes], file_name: str, name: str) -> dict[str, Tensor]:
    content = _file(files, file_name, name)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise EvaluationError(f"{name}/{file_name} is damaged ({error}); make the set again") from error
