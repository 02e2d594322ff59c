"""From fitted crops to folders of assets, without Kedro: what the pipeline `export` calls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import facealbedo
from facealbedo.assets import load_face_model
from facealbedo.assets.occlusion import load_occlusion
from facealbedo.assets.prior import load_albedo_prior
from facealbedo.assets.provenance import checkout, embedded_models, versions
from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.evaluate.methods import BASELINES, FittedFace, Method, network_method
from facealbedo.core.export.bundle import export_face
from facealbedo.core.export.config import ExportConfig
from facealbedo.core.export.manifest import MANIFEST_FILE, encode_manifest
from facealbedo.core.export.report import LIMITS, FaceRow, encode_summary, row_of_report
from facealbedo.core.export.sheet import build_index
from facealbedo.core.fit.appearance import appearance_maps
from facealbedo.core.geometry.projection import world_to_view
from facealbedo.core.imaging.decoding import decode_image
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.uv import unwrap
from facealbedo.core.train.batch import CropBatch
from facealbedo.core.types import FaceAsset, Lighting
from facealbedo.dataloading.crops import CropTable, crop_table
from facealbedo.dataloading.photos import content_hash
from facealbedo.datasets.face_folders import FaceFiles
from facealbedo.params.export import ExportFitsParams

Entry = dict[str, Any]


def export_missing(
    params: ExportFitsParams,
    fits: pd.DataFrame,
    faces: pd.DataFrame,
    crops: Mapping[str, Path],
    journal: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[dict[str, FaceFiles], list[Entry]]]:
    """Make the assets that the journal does not hold yet, one after the other.

    Args:
        params: what is made.
        fits: from the pipeline `fit`.
        faces: manifest of the pipeline `preprocess`.
        crops: its JPEG of each face id.
        journal: entries of earlier runs; a face is done again when its crop, its fit, the weights or the parameters
            changed.
    """
    exporter = Exporter(params)
    table = crop_table(fits, faces, crops)
    photos = dict(zip(faces["id"], faces["photo"], strict=True))
    known = {entry["id"]: (entry["content"], entry["settings"]) for entry in journal}
    for row, face_id in enumerate(table.ids):
        data = table.paths[row].read_bytes()
        one = table.pick([row])
        content = content_hash(data + one.digest().encode())
        if known.get(face_id) != (content, exporter.settings):
            files = exporter.export(one, data, photos[face_id])
            report = row_of_report(files["report.json"], face_id)
            entry = {"id": face_id, "content": content, "settings": exporter.settings, "row": _row(report)}
            yield {face_id: files}, [entry]


def summarise(
    params: ExportFitsParams, fits: pd.DataFrame, journal: Sequence[Mapping[str, Any]]
) -> tuple[bytes, bytes]:
    """Return `summary.csv` and `index.html` over the fitted faces."""
    newest = {entry["id"]: entry["row"] for entry in journal}
    chosen = sorted(face_id for face_id in fits.loc[fits["status"] == "done", "id"] if face_id in newest)
    rows = [FaceRow(**newest[face_id]) for face_id in chosen]
    facts = {"facealbedo": facealbedo.__version__, "method": params.method}
    return encode_summary(rows), build_index(rows, title="Exported faces", facts=facts, limits=LIMITS)


class Exporter:
    """Models, maps and method that every export needs.

    Attributes:
        settings: hash of everything besides a face's own data that decides its files.
    """

    def __init__(self, params: ExportFitsParams):
        """Read the models and the weights.

        Raises:
            FaceAlbedoError: `network` without a readable weights file.
        """
        self._params = params
        self._model = load_face_model()
        self._prior = load_albedo_prior()
        self._maps = appearance_maps(self._model, load_occlusion().openness, params.texture_px)
        self._method, self._weights = _method(params)
        relevant = [params.model_dump(mode="json", exclude={"weights"}), self._weights, embedded_models()]
        self.settings = hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]

    @torch.no_grad()
    def export(self, table: CropTable, crop: bytes, photo_name: str) -> FaceFiles:
        """Return the files of one fitted crop, its manifest included.

        Args:
            table: of one row.
            crop: its JPEG.
            photo_name: name of the photo that it was cut from.
        """
        face_id = table.ids[0]
        photo = decode_image(crop).linear()
        files = export_face(
            self._asset(table.fits, photo, table.valid_box[0]),
            photo,
            self._model,
            face_id=face_id,
            photo_name=photo_name,
            facts={"facealbedo": {"version": facealbedo.__version__}, "parameters": self._parameters()},
            config=ExportConfig(expression=self._params.expression, morph_targets=self._params.morph_targets),
        )
        models = embedded_models()
        if self._weights:
            models = models | {"refiner": {"sha256": self._weights, "licence": "that of its model card"}}
        facts = {"models": models, "versions": versions(), "code": checkout(), "parameters": self._parameters()}
        inputs = [{"name": photo_name, "kind": "crop", "sha256": content_hash(crop)}]
        return files | {MANIFEST_FILE: encode_manifest(face_id, inputs, files, facts)}

    def _parameters(self) -> dict[str, Any]:
        return self._params.model_dump(mode="json", exclude={"weights"})

    def _asset(self, fit: CropBatch, photo: torch.Tensor, valid_box: tuple[int, int, int, int]) -> FaceAsset:
        """Unwrap the crop with its fit, and complete the albedo."""
        model, side = self._model, self._params.texture_px
        world = model.decode(fit.coefficients.identity_coeffs, fit.coefficients.expression_coeffs)
        view = world_to_view(world, fit.pose)
        normals = model.normals(view)
        fragments, _ = render_gbuffer(model, view, fit.camera, normals_view=normals)
        valid = torch.zeros(1, 1, *photo.shape[1:])
        top, left, bottom, right = valid_box
        valid[..., top:bottom, left:right] = 1
        seen = unwrap(model, photo[None], view, fit.camera, fragments, side, image_valid=valid, normals_view=normals)
        trust = torch.nn.functional.interpolate(fit.uv_trust.float() / 255, size=(side, side), mode="bilinear")
        observation = replace(seen, uv_visibility=seen.uv_visibility * trust)
        prior_albedo = self._prior.decode(fit.coefficients.albedo_coeffs, side)
        light = Lighting(fit.sh_radiance)
        face = FittedFace(observation, prior_albedo, light, self._maps.openness, self._maps.face)
        return FaceAsset(
            coefficients=fit.coefficients,
            pose=fit.pose,
            camera=fit.camera,
            lighting=light,
            vertices_world=world,
            observation=observation,
            prior_albedo=prior_albedo,
            uv_albedo=self._method(face).uv_albedo,
            uv_illumination=fit.sh_radiance.reshape(1, 27, 1, 1).expand(1, 27, 8, 8).contiguous(),
        )


def _method(params: ExportFitsParams) -> tuple[Method, str]:
    """Return the method, and the hash of its weights file if it has one."""
    if params.method != "network":
        return BASELINES[params.method], ""
    if params.weights is None:
        raise FaceAlbedoError("the method `network` needs `export.weights`, a file that the pipeline `train` wrote")
    try:
        data = Path(params.weights).expanduser().read_bytes()
    except OSError as error:
        raise FaceAlbedoError(f"cannot read the weights {params.weights}: {error.strerror or error}") from error
    return network_method(data), content_hash(data)


def _row(row: FaceRow) -> Entry:
    return {
        "id": row.id,
        "photo": row.photo,
        "status": row.status,
        "reason": row.reason,
        "numbers": row.numbers,
        "files": dict(row.files),
    }
