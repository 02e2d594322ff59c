"""From fitted crops to folders of assets, without Kedro: what the pipeline `export` calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import facealbedo
from facealbedo.assets import load_face_model
from facealbedo.core.detect.crop import FaceCrop
from facealbedo.core.export.report import LIMITS, FaceRow, encode_summary, row_of_report
from facealbedo.core.export.sheet import build_index
from facealbedo.core.fit.landmarks import LandmarkFit, fit_landmarks
from facealbedo.core.fit.quality import measure_fit
from facealbedo.core.imaging.decoding import decode_image
from facealbedo.core.types import Landmarks
from facealbedo.dataloading.crops import CropTable, crop_table
from facealbedo.dataloading.photos import content_hash
from facealbedo.datasets.face_folders import FaceFiles
from facealbedo.params.export import ExportFitsParams
from facealbedo.params.reconstruct import ReconstructParams
from facealbedo.reconstructor import Reconstruction, Reconstructor, settings_hash

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
    rows = {face["id"]: face for face in faces.to_dict("records")}
    known = {entry["id"]: (entry["content"], entry["settings"]) for entry in journal}
    for row, face_id in enumerate(table.ids):
        data = table.paths[row].read_bytes()
        one = table.pick([row])
        content = content_hash(data + one.digest().encode())
        if known.get(face_id) != (content, exporter.settings):
            files = exporter.export(one, data, rows[face_id])
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
    facts = {"facealbedo": facealbedo.__version__, "method": params.refine.method}
    return encode_summary(rows), build_index(rows, title="Exported faces", facts=facts, limits=LIMITS)


class Exporter:
    """The reconstructor from the fit on.

    Attributes:
        settings: hash of everything besides a face's own data that decides its files.
    """

    def __init__(self, params: ExportFitsParams):
        """Read the models and the weights.

        Raises:
            FaceAlbedoError: `network` without a readable weights file.
        """
        chosen = ReconstructParams.model_validate(params.model_dump())
        self._reconstructor = Reconstructor(chosen)
        self.settings = settings_hash(chosen)

    def export(self, table: CropTable, crop: bytes, face: Mapping[str, Any]) -> FaceFiles:
        """Return the files of one fitted crop, its manifest included.

        Args:
            table: of one row.
            crop: its JPEG.
            face: its row of the manifest of faces.
        """
        piece = _piece(table, crop, face)
        fit = self._fit(table, piece)
        result = Reconstruction(
            face_id=table.ids[0],
            photo=face["photo"],
            status="done",
            numbers={"fit": measure_fit(load_face_model(), fit).rows()[0] | {"face_px": face["face_px"]}},
            asset=self._reconstructor.reconstruct_with_fit(piece, fit),
            crop=piece,
            photo_sha256=face["content"],
        )
        return self._reconstructor.export(result)

    def _fit(self, table: CropTable, piece: FaceCrop) -> LandmarkFit:
        """Return the stored fit; what is not stored follows from the landmarks, as when it was made."""
        landmarks = Landmarks(piece.landmarks_px[None], torch.ones(1))
        found = fit_landmarks(load_face_model(), landmarks, piece.principal_px[None], (piece.side, piece.side))
        stored = table.fits
        return replace(found, coefficients=stored.coefficients, pose=stored.pose, camera=stored.camera)


def _piece(table: CropTable, crop: bytes, face: Mapping[str, Any]) -> FaceCrop:
    """Return the crop as it was cut; where it lay in its photo is not stored and not needed."""
    image = decode_image(crop).linear()
    valid = torch.zeros(image.shape[1:], dtype=torch.bool)
    top, left, bottom, right = table.valid_box[0]
    valid[top:bottom, left:right] = True
    points = torch.tensor(np.stack(face["landmarks_px"]), dtype=torch.float32).reshape(-1, 2)
    principal = torch.tensor(np.asarray(face["principal_px"]), dtype=torch.float32)
    return FaceCrop(image, valid, points, principal, float(face["scale"]), (0.0, 0.0))


def _row(row: FaceRow) -> Entry:
    return {
        "id": row.id,
        "photo": row.photo,
        "status": row.status,
        "reason": row.reason,
        "numbers": row.numbers,
        "files": dict(row.files),
    }
