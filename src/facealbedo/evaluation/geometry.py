"""Predictions of geometry in the layouts of public scorers, for users who have those benchmarks.

NoW (Sanyal et al., CVPR 2019): ``SUBJECT/CHALLENGE/PHOTO.obj`` in millimetres and ``PHOTO.npy``, seven landmarks
[7, 3]: outer and inner corner of the right eye, inner and outer corner of the left eye, base of the nose, right and
left corner of the mouth. REALY (Chai et al., ECCV 2022): ``PHOTO.obj`` in millimetres, all photos in one folder.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.types import FaceAsset
from facealbedo.dataloading.photos import list_photos
from facealbedo.evaluation.subjects import Laboratory

# Of the 68 landmarks: what NoW aligns by.
NOW_LANDMARKS = (36, 39, 42, 45, 33, 48, 54)
_MM = 1000.0


def now_files(model: FaceModel, asset: FaceAsset, stem: str) -> dict[str, bytes]:
    """Return mesh and landmarks of a face as NoW wants them."""
    landmarks = model.landmarks(asset.vertices_world, "ibug68")[0][list(NOW_LANDMARKS)]
    buffer = io.BytesIO()
    np.save(buffer, (_MM * landmarks).double().numpy())
    return {f"{stem}.obj": mesh_obj_mm(model, asset.vertices_world[0]), f"{stem}.npy": buffer.getvalue()}


def realy_files(model: FaceModel, asset: FaceAsset, stem: str) -> dict[str, bytes]:
    """Return the mesh of a face as REALY wants it."""
    return {f"{stem}.obj": mesh_obj_mm(model, asset.vertices_world[0])}


def mesh_obj_mm(model: FaceModel, vertices: torch.Tensor) -> bytes:
    """Return the skin as a Wavefront OBJ in millimetres; eyes, teeth and tongue are left out."""
    skin = model.triangles[: model.uv_triangles.shape[0]].numpy()
    used, compact = np.unique(skin, return_inverse=True)
    points = _MM * vertices.double().numpy()[used]
    lines = [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in points]
    lines += [f"f {a} {b} {c}" for a, b, c in (compact.reshape(skin.shape) + 1).tolist()]
    return ("\n".join(lines) + "\n").encode()


def predict_folder(lab: Laboratory, photos: Path, layout: str) -> Iterator[tuple[str, dict[str, bytes] | str]]:
    """Reconstruct every photo of a folder for a scorer.

    Args:
        lab: the reconstructor.
        photos: folder; its structure is kept for NoW.
        layout: ``now`` or ``realy``.

    Yields:
        The photo's name, and its files by relative path or the reason why there are none.
    """
    for photo in list_photos(photos):
        found = lab.reconstruct(photo.path.read_bytes())
        place = Path(photo.name).with_suffix("").as_posix()
        if found.asset is None:
            yield photo.name, found.reason
        elif layout == "now":
            yield photo.name, now_files(lab.model, found.asset, place)
        else:
            yield photo.name, realy_files(lab.model, found.asset, Path(place).name)
