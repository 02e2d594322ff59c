"""From photos to what methods get, with the geometry that was found or the one that is true."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from importlib.resources import files
from pathlib import Path

import torch

from facealbedo.assets import load_face_model
from facealbedo.assets.occlusion import load_occlusion
from facealbedo.assets.pigment import load_pigment_net
from facealbedo.assets.refiner import REFINER_FILE
from facealbedo.core.evaluate.methods import FittedFace
from facealbedo.core.evaluate.relit_score import ScoreMaps, score_maps
from facealbedo.core.evaluate.relit_set import RelitPerson, RelitView
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.fit.appearance import AppearanceMaps, appearance_maps
from facealbedo.core.fit.landmarks import fit_landmarks
from facealbedo.core.metrics.masks import EvaluationError
from facealbedo.core.networks.pigment import feature_region
from facealbedo.core.render.uv import bake_region
from facealbedo.core.types import Camera, FaceAsset, Landmarks
from facealbedo.params.evaluate import SHIPPED
from facealbedo.params.reconstruct import ReconstructParams, RefineParams
from facealbedo.reconstructor import Reconstruction, Reconstructor

# Scores are taken on maps of this side: that of the networks and of the definitions of detail and leakage.
SCORE_PX = 256


@dataclass(frozen=True)
class Laboratory:
    """The reconstructor as it is measured, and the regions that scores are taken in."""

    detector: str = "mediapipe"

    @cached_property
    def reconstructor(self) -> Reconstructor:
        """The whole pipeline up to the refinement, which every method does in its own way."""
        return Reconstructor(
            ReconstructParams.model_validate(
                {
                    "texture_px": SCORE_PX,
                    "faces": "largest",
                    "detector": self.detector,
                    "refine": RefineParams(method="prior"),
                }
            )
        )

    @property
    def model(self) -> FaceModel:
        """The face model."""
        return load_face_model()

    @cached_property
    def maps(self) -> AppearanceMaps:
        """Openness and regions of the fit at the scores' resolution."""
        return appearance_maps(self.model, load_occlusion().openness, SCORE_PX)

    @cached_property
    def score_maps(self) -> ScoreMaps:
        """Regions of the scores."""
        return score_maps(self.model, self.maps.face)

    def reconstruct(self, photo: bytes) -> Reconstruction:
        """Reconstruct the largest face of an encoded photo."""
        return next(iter(self.reconstructor.reconstruct([photo])))

    def fitted(self, asset: FaceAsset | None) -> FittedFace:
        """Return what methods get.

        Raises:
            EvaluationError: there is no asset.
        """
        if asset is None:
            raise EvaluationError("a photo that was not reconstructed cannot be measured")
        maps, scores = self.maps, self.score_maps
        bare = FittedFace(
            asset.observation,
            asset.prior_albedo,
            asset.lighting,
            maps.openness,
            maps.face,
            scores.skin,
            *self._features,
        )
        return bare.judged(load_pigment_net())

    @cached_property
    def _features(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Brows and lips, as the separation takes them, and lips."""
        brows, lips = (bake_region(self.model, name, SCORE_PX)[None, None] for name in ("brows", "lips"))
        return feature_region(brows, lips), lips

    def with_true_geometry(self, found: Reconstruction, person: RelitPerson, view: RelitView) -> FaceAsset:
        """Reconstruct the same crop with the true shape, pose and camera; tone and light are still estimated."""
        crop = found.crop
        if crop is None:
            raise EvaluationError("true geometry needs the crop of a face that was found")
        landmarks = Landmarks(crop.landmarks_px[None], torch.ones(1))
        fit = fit_landmarks(self.model, landmarks, crop.principal_px[None], (crop.side, crop.side))
        origin = view.camera.principal_px.new_tensor([crop.origin_px])
        camera = Camera(
            view.camera.focal_px * crop.scale,
            (view.camera.principal_px - origin) * crop.scale,
            crop.side,
            crop.side,
        )
        true_fit = replace(fit, coefficients=person.coefficients, pose=view.pose, camera=camera)
        return self.reconstructor.reconstruct_with_fit(crop, true_fit)


@lru_cache(maxsize=1)
def code_hash() -> str:
    """Return a hash of the package's code and data: results of other code are not results of this one."""
    digest = hashlib.sha256()
    root = Path(str(files("facealbedo")))
    for path in sorted(root.rglob("*")):
        if path.suffix in {".py", ".safetensors", ".json"}:
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def read_weights(paths: Mapping[str, str]) -> dict[str, bytes]:
    """Return the weights files of networks by method name; `SHIPPED` stands for the package's own.

    Raises:
        EvaluationError: a file is missing.
    """
    shipped = Path(str(files("facealbedo.assets"))) / REFINER_FILE
    places = {name: shipped if path == SHIPPED else Path(path) for name, path in paths.items()}
    missing = [f"{name}: {place}" for name, place in places.items() if not place.is_file()]
    if missing:
        raise EvaluationError(f"no weights at {', '.join(missing)}; train first, or take the entry out of the methods")
    return {name: place.read_bytes() for name, place in places.items()}
