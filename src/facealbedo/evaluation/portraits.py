"""The set `portraits`: any photos. There is no truth; the photo itself, evenness and identity have to do.

High PSNR alone proves nothing: the raw texture reproduces its photo almost perfectly and relights badly.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facealbedo.core.colour import ITA_GROUPS, ita_group, linear_to_srgb, srgb_to_linear
from facealbedo.core.evaluate.identity import cosine, face_descriptor
from facealbedo.core.evaluate.methods import FittedFace, Method, Separation
from facealbedo.core.evaluate.perceptual import lpips, lpips_objection
from facealbedo.core.evaluate.pictures import side_by_side
from facealbedo.core.evaluate.summary import select, summarise
from facealbedo.core.geometry.projection import world_to_view
from facealbedo.core.metrics.albedo import skin_ita
from facealbedo.core.metrics.image import masked_l1, masked_psnr, masked_ssim
from facealbedo.core.metrics.leakage import (
    brightness_symmetry_error,
    detail_kept,
    left_right_error,
    light_correlation,
)
from facealbedo.core.metrics.masks import EvaluationError
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.sampling import sample_uv
from facealbedo.core.types import FaceAsset, GBuffer
from facealbedo.dataloading.photos import list_photos
from facealbedo.evaluation.reports import Row, all_rows, outcome
from facealbedo.evaluation.subjects import Laboratory, code_hash
from facealbedo.reconstructor import Reconstruction, Source, bundled_sources

_SEEN = 0.3


def portrait_sources(place: str | None, limit: int) -> list[Source]:
    """Return the photos of a folder, at most ``limit`` of them evenly chosen, or the bundled faces.

    Raises:
        PhotosError: nothing there.
    """
    if place is None:
        return bundled_sources()
    photos = list_photos(Path(place).expanduser())
    step = max(1.0, len(photos) / limit)
    chosen = [photos[int(index * step)] for index in range(min(limit, len(photos)))]
    return [Source(photo.id, photo.name, photo.path.read_bytes) for photo in chosen]


def measure_missing(
    lab: Laboratory,
    sources: Sequence[Source],
    methods: Mapping[str, Method],
    identities: Mapping[str, str],
    before: Mapping[str, Path],
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Measure the photos that were not measured by this code and these methods.

    Args:
        lab: the reconstructor.
        sources: photos.
        methods: by name.
        identities: of the methods: what their results depend on besides the code.
        before: folders of earlier measurements.

    Yields:
        Photo id and files, one after the other.
    """
    for source in sources:
        photo = source.read()
        facts = [hashlib.sha256(photo).hexdigest(), sorted(identities.items()), code_hash()]
        key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
        if source.id in before and _key_of(before[source.id]) == key:
            continue
        files = measure_portrait(lab, source.id, photo, methods)
        report = json.loads(files["report.json"]) | {"key": key}
        yield source.id, files | {"report.json": json.dumps(report, indent=1).encode()}


def _key_of(folder: Path) -> str | None:
    return json.loads((folder / "report.json").read_text(encoding="utf-8")).get("key")


@torch.no_grad()
def measure_portrait(lab: Laboratory, name: str, photo: bytes, methods: Mapping[str, Method]) -> dict[str, bytes]:
    """Return the rows of one photo and a row of pictures as files."""
    found = lab.reconstruct(photo)
    base = {"person": name, "photo": 0}
    if found.status != "done" or found.asset is None or found.crop is None:
        rows: list[dict[str, Any]] = [{**base, "status": found.status, "reason": found.reason}]
        return {"report.json": json.dumps({"rows": rows}).encode()}
    face = lab.fitted(found.asset)
    view = _View(lab, found, face)
    rows, pictures = [], [found.crop.image[None]]
    for method_name, method in methods.items():
        separation = method(face)
        rows.append(
            {
                **base,
                "status": "done",
                "method": method_name,
                **view.image_scores(separation),
                **view.map_scores(separation),
            }
        )
        pictures += [srgb_to_linear(view.render(separation)), separation.uv_albedo * (lab.score_maps.face > 0.02)]
    return {"report.json": json.dumps({"rows": rows}, indent=1).encode(), "relit.png": side_by_side(pictures)}


class _View:
    """A reconstructed photo: what its methods' results are compared with."""

    def __init__(self, lab: Laboratory, found: Reconstruction, face: FittedFace):
        assert found.asset is not None and found.crop is not None  # noqa: S101, PT018 (for the type checker)
        self.maps, self.face = lab.score_maps, face
        self.buffer = _buffer(lab, found.asset)
        self.photo = linear_to_srgb(found.crop.image[None].clamp(0, 1))
        trusted = sample_uv(face.observation.uv_visibility * self.maps.face, self.buffer.uv) > 0.5
        self.mask = (trusted & self.buffer.skin_coverage & found.crop.valid[None, None]).float()
        self.landmarks = found.crop.landmarks_px.double().numpy()
        self.descriptor = face_descriptor(_codes(self.photo), self.landmarks)
        self.seen = (face.observation.uv_visibility > _SEEN).float()

    def render(self, separation: Separation) -> torch.Tensor:
        """Return albedo in the method's own light over the photo, sRGB."""
        image = sample_uv(separation.uv_albedo, self.buffer.uv) * sample_uv(separation.uv_shading, self.buffer.uv)
        return torch.lerp(self.photo, linear_to_srgb(image.clamp(0, 1)), self.mask)

    def image_scores(self, separation: Separation) -> dict[str, float]:
        image = self.render(separation)
        scores = {
            "l1": float(masked_l1(image, self.photo, self.mask)[0]),
            "psnr": float(masked_psnr(image, self.photo, self.mask)[0]),
            "ssim": float(masked_ssim(image, self.photo, self.mask)[0]),
            "identity_cosine": cosine(face_descriptor(_codes(image), self.landmarks), self.descriptor),
        }
        return scores if lpips_objection() else scores | {"lpips": lpips(image, self.photo)}

    def map_scores(self, separation: Separation) -> dict[str, float]:
        maps, albedo, texture = self.maps, separation.uv_albedo, self.face.observation.uv_texture
        correlation = light_correlation(albedo, self.face.shading(), maps.skin * self.seen)
        return {
            "light_correlation": abs(float(correlation[0])),
            "left_right_error": float(left_right_error(albedo, maps.face * self.seen)[0]),
            "bs_error": float(brightness_symmetry_error(albedo, (maps.face > 0.5).float())[0]),
            "skin_detail_kept": float(detail_kept(albedo, texture, maps.skin * self.seen)[0]),
            "feature_detail_kept": float(detail_kept(albedo, texture, maps.features * self.seen)[0]),
            "ita": float(skin_ita(albedo, maps.core)[0]),
        }


def _buffer(lab: Laboratory, asset: FaceAsset) -> GBuffer:
    return render_gbuffer(lab.model, world_to_view(asset.vertices_world, asset.pose), asset.camera)[1]


def _codes(srgb: torch.Tensor) -> np.ndarray:
    return (srgb[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()


def portrait_metrics(reports: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return every number of the set `portraits`.

    Raises:
        EvaluationError: no photo was reconstructed.
    """
    rows = all_rows(reports)
    methods = list(dict.fromkeys(str(row["method"]) for row in select(rows)))
    if not methods:
        raise EvaluationError("no photo of the set was reconstructed")
    tables = {method: summarise(select(rows, method=method), False) for method in methods}
    distribution = {method: ita_distribution(select(rows, method=method)) for method in methods}
    note = lpips_objection()
    return {
        "set": "portraits",
        **facts,
        **outcome(rows),
        "lpips": note or "computed",
        "tables": {"fitted": tables},
        "ita_distribution": distribution,
    }


def ita_distribution(rows: Sequence[Row]) -> dict[str, int]:
    """Return how many faces came out in each ITA group."""
    groups = ita_group(torch.tensor([float(row["ita"]) for row in rows]))
    counts = Counter(int(index) for index in groups)
    return {group.name: counts[index] for index, group in enumerate(ITA_GROUPS)}
