"""Ambient occlusion and SH shadow transfer of the embedded face model, computed once on its mean face.

To compute the file again after the face model has changed (20 s on two cores)::

    python -m facealbedo.assets.occlusion src/facealbedo/assets/occlusion.safetensors
"""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError

from facealbedo.assets import AssetError, load_face_model
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.render.occlusion import SurfaceOcclusion, compute_occlusion

OCCLUSION_FILE = "occlusion.safetensors"


@lru_cache(maxsize=1)
def load_occlusion() -> SurfaceOcclusion:
    """Return openness and shadow transfer at the vertices of `load_face_model` (CPU, float32).

    Raises:
        AssetError: the file is damaged, or was made for another face model.
    """
    occlusion = occlusion_from_bytes((files("facealbedo.assets") / OCCLUSION_FILE).read_bytes())
    expected = load_face_model().n_vertices
    if len(occlusion.openness) != expected:
        raise AssetError(
            f"{OCCLUSION_FILE} has {len(occlusion.openness)} vertices, the face model {expected}; compute it "
            "again with `python -m facealbedo.assets.occlusion`"
        )
    return occlusion


def compute_model_occlusion(model: FaceModel, n_directions: int = 4096) -> SurfaceOcclusion:
    """Cast rays on the mean face of a model."""
    normals = model.normals(model.mean[None])[0]
    return compute_occlusion(model.mean.numpy(), normals.numpy(), model.triangles.numpy(), n_directions)


def occlusion_from_bytes(data: bytes) -> SurfaceOcclusion:
    """Read what `occlusion_to_bytes` wrote.

    Raises:
        AssetError: damaged, or of another format.
    """
    try:
        tensors = safetensors.torch.load(data)
        openness, transfer = tensors["openness"].float(), tensors["transfer"].float()
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise AssetError(f"this is no occlusion of a face model: {error}") from error
    if openness.ndim != 1 or transfer.shape != (len(openness), 9) or not (openness + transfer.sum(1)).isfinite().all():
        raise AssetError(f"the occlusion is damaged: {tuple(openness.shape)} and {tuple(transfer.shape)} values")
    return SurfaceOcclusion(openness, transfer)


def occlusion_to_bytes(occlusion: SurfaceOcclusion) -> bytes:
    """Pack as safetensors, half precision."""
    return safetensors.torch.save({"openness": occlusion.openness.half(), "transfer": occlusion.transfer.half()})


def main(target: Path) -> None:
    """Compute the file for the embedded face model."""
    target.write_bytes(occlusion_to_bytes(compute_model_occlusion(load_face_model())))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
