"""From photos to a table of fitted crops, without Kedro: what the pipelines `preprocess` and `fit` call."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pydantic import BaseModel

from facealbedo.assets import load_face_model
from facealbedo.assets.occlusion import load_occlusion
from facealbedo.assets.prior import load_albedo_prior
from facealbedo.assets.tone import load_tone_estimator
from facealbedo.core.detect import FaceAlignmentDetector, FaceDetector, MediapipeDetector
from facealbedo.core.detect.crop import CropConfig, crop_face
from facealbedo.core.detect.gates import GateLimits, fit_objection, size_objection
from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.fit.appearance import appearance_maps, fit_appearance
from facealbedo.core.fit.landmarks import fit_landmarks
from facealbedo.core.fit.quality import measure_fit
from facealbedo.core.fit.surroundings import measure_surroundings
from facealbedo.core.geometry.projection import world_to_view
from facealbedo.core.imaging.decoding import DecodeLimits, decode_image
from facealbedo.core.imaging.encoding import encode_jpeg_srgb
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.uv import unwrap
from facealbedo.core.types import Landmarks
from facealbedo.dataloading.photos import content_hash
from facealbedo.params.prepare import FitParams, PreprocessParams
from facealbedo.reconstructor import Source, sources_of

logger = logging.getLogger(__name__)

Entry = dict[str, Any]
# Raise one whenever a change of the code changes crops or fits: journals of older versions are then done again.
CROPS_VERSION, FITS_VERSION = 1, 4


@dataclass(frozen=True)
class FoundFaces:
    """Crops of a photo's faces, as JPEG by face id, and the photo's entry for the journal."""

    crops: dict[str, bytes]
    entries: list[Entry]


def find_faces(
    params: PreprocessParams, journal: Sequence[Mapping[str, Any]], sources: Sequence[Source] | None = None
) -> Iterator[FoundFaces]:
    """Find and cut out the faces of the photos that the journal does not hold yet, photo by photo.

    Args:
        params: where photos come from and how faces are cut out.
        journal: entries of earlier runs; a photo is done again when its content or the parameters changed.
        sources: the photos; those of ``params`` when omitted.
    """
    settings = _settings_hash(params, CROPS_VERSION)
    known = {entry["photo_id"]: (entry["content"], entry["settings"]) for entry in journal}
    detector = _detector(params)
    for source in sources if sources is not None else sources_of(params):
        try:
            data = source.read()
        except OSError as error:
            rows = [_row(source, source.id, "failed", f"cannot be read: {error.strerror or error}")]
            yield FoundFaces({}, [_entry(source, "", settings, rows)])
            continue
        digest = content_hash(data)
        if known.get(source.id) != (digest, settings):
            crops, rows = _faces_of(params, detector, source, data)
            yield FoundFaces(crops, [_entry(source, digest, settings, rows)])


def faces_table(
    params: PreprocessParams, journal: Sequence[Mapping[str, Any]], sources: Sequence[Source] | None = None
) -> pd.DataFrame:
    """Return the manifest: a row a face, or a photo without one, of this run's photos."""
    newest = {entry["photo_id"]: entry for entry in journal}
    chosen = sources if sources is not None else sources_of(params)
    entries = [newest[source.id] for source in chosen if source.id in newest]
    return pd.DataFrame([{**row, "content": entry["content"]} for entry in entries for row in entry["rows"]])


@torch.no_grad()
def fit_crops(
    params: FitParams, faces: pd.DataFrame, crops: Mapping[str, Path], journal: Sequence[Mapping[str, Any]]
) -> Iterator[list[Entry]]:
    """Fit the crops that the journal does not hold yet, one by one.

    Args:
        params: sizes and gates.
        faces: from `faces_table`.
        crops: file of each face id.
        journal: entries of earlier runs; a face is done again when its crop or the parameters changed.
    """
    settings = _settings_hash(params, FITS_VERSION)
    known = {entry["id"]: (entry["content"], entry["settings"]) for entry in journal}
    fitter = _Fitter(params)
    for row in faces[faces["status"] == "done"].to_dict("records"):
        if row["id"] not in crops:
            raise FaceAlbedoError(f"the crop of {row['id']} is missing: run the preprocess pipeline again")
        data = crops[row["id"]].read_bytes()
        digest = content_hash(data)
        if known.get(row["id"]) != (digest, settings):
            yield [{"id": row["id"], "content": digest, "settings": settings, **fitter.fit(data, row)}]


def fits_table(faces: pd.DataFrame, journal: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the newest fit of each face of the manifest."""
    newest = {entry["id"]: entry for entry in journal}
    chosen = [newest[face] for face in faces.loc[faces["status"] == "done", "id"] if face in newest]
    return pd.DataFrame([{key: value for key, value in entry.items() if key != "settings"} for entry in chosen])


class _Fitter:
    """Models and maps that every fit needs."""

    def __init__(self, params: FitParams):
        self._params = params
        self._model = load_face_model()
        self._prior = load_albedo_prior()
        self._estimator = load_tone_estimator()
        self._maps = appearance_maps(self._model, load_occlusion().openness, params.working_px)
        gates = params.gates
        self._limits = GateLimits(gates.min_face_px, gates.max_yaw_degrees, gates.max_nme_percent)

    def fit(self, data: bytes, row: Mapping[str, Any]) -> Entry:
        """Return status, reason, coefficients and numbers of one crop."""
        image = decode_image(data).linear()
        side = image.shape[-1]
        points = torch.tensor(np.stack(row["landmarks_px"]), dtype=torch.float32).reshape(-1, 2)
        principal = torch.tensor(np.asarray(row["principal_px"]), dtype=torch.float32)
        landmarks = Landmarks(points[None], torch.ones(1))
        fit = fit_landmarks(self._model, landmarks, principal[None], (side, side))
        quality = measure_fit(self._model, fit).rows()[0]
        objection = fit_objection(float(fit.yaw_degrees), float(fit.nme_percent), self._limits)
        if objection:
            return {"status": "rejected", "reason": objection, **quality}
        valid = _valid(row["valid_box_px"], side)
        world = self._model.decode(fit.coefficients.identity_coeffs, fit.coefficients.expression_coeffs)
        view = world_to_view(world, fit.pose)
        normals = self._model.normals(view)
        fragments, buffer = render_gbuffer(self._model, view, fit.camera, normals_view=normals)
        observation = unwrap(
            self._model,
            image[None],
            view,
            fit.camera,
            fragments,
            self._params.working_px,
            image_valid=valid[None, None].float(),
            normals_view=normals,
        )
        around = measure_surroundings(image, valid, buffer.coverage[0, 0], points, float(fit.yaw_degrees))
        skin = fit_appearance(observation, around, self._maps, self._prior, self._estimator)
        # Trust without visibility: what the fit takes for the face's own skin wherever it is seen.
        own = skin.trust / observation.uv_visibility.clamp(min=1e-6)
        own = torch.where(observation.uv_visibility > 0, own.clamp(0, 1), 1.0)
        factor = self._params.working_px // self._params.trust_px
        trust = torch.nn.functional.avg_pool2d(own, factor) if factor > 1 else own
        return {
            "status": "done",
            "reason": "",
            **quality,
            "side_px": side,
            "identity_coeffs": _flat(fit.coefficients.identity_coeffs),
            "expression_coeffs": _flat(fit.coefficients.expression_coeffs),
            "albedo_coeffs": _flat(skin.albedo_coeffs),
            "rotation": _flat(fit.pose.rotation),
            "translation": _flat(fit.pose.translation),
            "focal_px": float(fit.camera.focal_px),
            "principal_px": _flat(fit.camera.principal_px),
            "sh_radiance": _flat(skin.lighting.sh_radiance),
            "ita_degrees": float(skin.tone.ita_degrees),
            "ita_error_expected_degrees": float(skin.tone.ita_scale_degrees),
            "light_residual": float(skin.log_residual),
            "uv_trust": (trust * 255).round().int().flatten().tolist(),
        }


def _faces_of(
    params: PreprocessParams, detector: FaceDetector, source: Source, data: bytes
) -> tuple[dict[str, bytes], list[Entry]]:
    try:
        photo = decode_image(data, DecodeLimits(max_megapixels=params.max_megapixels))
        found = detector.detect(photo.srgb)
    except FaceAlbedoError as error:
        return {}, [_row(source, source.id, "failed", str(error))]
    if not found:
        return {}, [_row(source, source.id, "rejected", "no face was found")]
    chosen = found[:1] if params.faces == "largest" else found
    limits = GateLimits(min_face_px=params.min_face_px)
    size = CropConfig(max_size_px=params.crop_px, min_size_px=params.crop_px, margin=params.margin)
    crops: dict[str, bytes] = {}
    rows = []
    for number, face in enumerate(chosen):
        face_id = source.id if len(chosen) == 1 else f"{source.id}-face{number + 1}"
        objection = size_objection(face.size_px, limits)
        if objection:
            rows.append(_row(source, face_id, "rejected", objection))
            continue
        crop = crop_face(photo, face, size)
        crops[face_id] = encode_jpeg_srgb(crop.image, params.jpeg_quality)
        covered = torch.nonzero(crop.valid)
        box = [*covered.amin(0).tolist(), *(covered.amax(0) + 1).tolist()]
        rows.append(
            _row(source, face_id, "done", "")
            | {
                "face_px": face.size_px,
                "confidence": face.confidence,
                "landmarks_px": crop.landmarks_px.tolist(),
                "principal_px": crop.principal_px.tolist(),
                "valid_box_px": box,
                "scale": crop.scale,
            }
        )
    return crops, rows


def _row(source: Source, face_id: str, status: str, reason: str) -> Entry:
    return {"id": face_id, "photo": source.name, "status": status, "reason": reason}


def _entry(source: Source, digest: str, settings: str, rows: list[Entry]) -> Entry:
    return {"photo_id": source.id, "content": digest, "settings": settings, "rows": rows}


def _valid(box: Sequence[int], side: int) -> torch.Tensor:
    """Where a crop is photo: the rectangle top, left, bottom, right."""
    valid = torch.zeros(side, side, dtype=torch.bool)
    top, left, bottom, right = (int(value) for value in box)
    valid[top:bottom, left:right] = True
    return valid


def _flat(values: torch.Tensor) -> list[float]:
    return [round(float(value), 7) for value in values.flatten()]


def _detector(params: PreprocessParams) -> FaceDetector:
    kind = FaceAlignmentDetector if params.detector == "face_alignment" else MediapipeDetector
    return kind(min_face_px=params.min_face_px, max_faces=params.max_faces)


def _settings_hash(params: BaseModel, version: int) -> str:
    relevant = params.model_dump(mode="json", exclude={"photos"}) | {"version": version}
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]
