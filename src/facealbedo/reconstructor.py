"""Photos in, relightable faces out, without Kedro: what the pipelines, the command and notebooks call.

from facealbedo.reconstructor import Reconstructor

for face in Reconstructor().reconstruct(["portrait.jpg"]):
    print(face.face_id, face.status, face.reason)
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch

import facealbedo
from facealbedo.assets import load_face_model
from facealbedo.assets.occlusion import load_occlusion
from facealbedo.assets.pigment import PIGMENT_FILE, load_pigment_net
from facealbedo.assets.prior import load_albedo_prior
from facealbedo.assets.provenance import checkout, embedded_models, versions
from facealbedo.assets.refiner import REFINER_FILE, load_refiner
from facealbedo.assets.tone import load_tone_estimator
from facealbedo.core.colour import ITA_GROUPS, ita_degrees, ita_group, linear_rgb_to_lab, linear_to_srgb
from facealbedo.core.detect import DetectedFace, FaceAlignmentDetector, FaceDetector, MediapipeDetector
from facealbedo.core.detect.crop import CropConfig, FaceCrop, crop_face
from facealbedo.core.detect.gates import GateLimits, fit_objection, size_objection
from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.export.bundle import export_face
from facealbedo.core.export.config import ExportConfig
from facealbedo.core.export.manifest import MANIFEST_FILE, encode_manifest
from facealbedo.core.export.report import LIMITS, FaceRow, encode_summary, plain
from facealbedo.core.export.sheet import build_index
from facealbedo.core.face_model.albedo_prior import AlbedoPrior
from facealbedo.core.fit.appearance import AppearanceFit, AppearanceMaps, appearance_maps, fit_appearance
from facealbedo.core.fit.landmarks import LandmarkFit, fit_landmarks
from facealbedo.core.fit.light import openness_shading
from facealbedo.core.fit.quality import inside_outline, measure_fit, outside_mouth
from facealbedo.core.fit.surroundings import measure_surroundings
from facealbedo.core.fit.tone import tone_rgb
from facealbedo.core.geometry.projection import world_to_view
from facealbedo.core.imaging.decoding import DecodedImage, DecodeLimits, ImageError, decode_image
from facealbedo.core.networks.pigment import feature_region
from facealbedo.core.networks.records import RefinerInput
from facealbedo.core.networks.refiner import Refiner, face_shares, with_pigment
from facealbedo.core.refine.network import NETWORK_PX, refine_with_network
from facealbedo.core.refine.quotient import quotient_albedo
from facealbedo.core.refine.separation import separate_albedo
from facealbedo.core.refine.unseen import complete_lips, keep_outside
from facealbedo.core.render.gbuffer import render_gbuffer
from facealbedo.core.render.uv import bake_region, unwrap
from facealbedo.core.train.checkpoint import weights_from_bytes
from facealbedo.core.types import FaceAsset, Landmarks, UVObservation
from facealbedo.dataloading.photos import PhotoFile, PhotosError, content_hash, list_photos
from facealbedo.datasets.face_folders import FaceFiles, remove_stale_staging, write_face_folder, write_file
from facealbedo.datasets.journal import append_journal, read_journal
from facealbedo.fabricated import fabricated_portrait
from facealbedo.params.prepare import PreprocessParams
from facealbedo.params.reconstruct import ReconstructParams

logger = logging.getLogger(__name__)

# The face mask is as coarse here as in training.
TRUST_PX = 64
JOURNAL_FILE, SUMMARY_FILE, INDEX_FILE = "journal.jsonl", "summary.csv", "index.html"
# Raise it whenever a change of the code changes results: journals of older versions are then done again.
RESULTS_VERSION = 13


@dataclass(frozen=True)
class Source:
    """A photo that is still to be read.

    Attributes:
        id: unique, safe as a folder's name.
        name: what people see.
        read: returns the file's bytes, or raises OSError.
    """

    id: str
    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True)
class Reconstruction:
    """What became of one face, or of a photo without one.

    Attributes:
        face_id: name of its folder.
        photo: name of the photo.
        status: "done", "rejected" (a gate, with its reason) or "failed" (the photo could not be used).
        reason: a sentence, empty when done.
        numbers: what was measured, in sections.
        asset, crop: the result and the piece of photo that it was made from; None unless done.
        photo_sha256: of the photo's file, or of the pixels where an array was given.
    """

    face_id: str
    photo: str
    status: str
    reason: str = ""
    numbers: Mapping[str, Any] = field(default_factory=dict)
    asset: FaceAsset | None = None
    crop: FaceCrop | None = None
    photo_sha256: str = ""


@dataclass(frozen=True)
class PhotoOutcome:
    """Files of a photo's faces, by face id, and the photo's entry for the journal."""

    files: dict[str, FaceFiles]
    entries: list[dict[str, Any]]


@dataclass(frozen=True)
class RunSummary:
    """All rows of a run and where its page lies."""

    rows: tuple[FaceRow, ...]
    index_path: Path

    def counts(self) -> tuple[int, int]:
        """Return how many faces were reconstructed and how many rows were not."""
        done = sum(row.status == "done" for row in self.rows)
        return done, len(self.rows) - done


class Reconstructor:
    """Turns photos into faces. Models are loaded when they are first needed and kept."""

    def __init__(self, params: ReconstructParams | None = None):
        """Remember the parameters, the defaults when omitted, and read the network's weights.

        Raises:
            FaceAlbedoError: the weights cannot be read; no photo would be reconstructed with them.
        """
        self.params = params or ReconstructParams()
        weights = self.params.refine.weights
        if self.params.refine.method == "network":
            self._refiner = load_refiner() if weights is None else _read_refiner(Path(weights))
        self._model = load_face_model()
        self._prior = load_albedo_prior()
        self._openness = load_occlusion().openness

    @property
    def prior(self) -> AlbedoPrior:
        """The albedo prior that faces are fitted with."""
        return self._prior

    @staticmethod
    def ita_of_tone(log_melanin: torch.Tensor, log_haemoglobin: torch.Tensor) -> torch.Tensor:
        """Return the ITA in degrees of skin of a tone (natural logs of fractions)."""
        return ita_degrees(linear_rgb_to_lab(tone_rgb(log_melanin, log_haemoglobin)))

    @cached_property
    def _detector(self) -> FaceDetector:
        params = self.params
        if params.detector == "face_alignment":
            return FaceAlignmentDetector(min_face_px=params.gates.min_face_px, max_faces=params.max_faces)
        return MediapipeDetector(min_face_px=params.gates.min_face_px, max_faces=params.max_faces)

    @cached_property
    def _working_maps(self) -> AppearanceMaps:
        return appearance_maps(self._model, self._openness, self.params.working_px)

    @cached_property
    def _texture_maps(self) -> AppearanceMaps:
        return appearance_maps(self._model, self._openness, self.params.texture_px)

    @cached_property
    def _network_maps(self) -> AppearanceMaps:
        return appearance_maps(self._model, self._openness, NETWORK_PX)

    @cached_property
    def _feature_maps(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return bare skin, and brows and lips, in the texture's atlas."""
        names = ("core_skin", "brows")
        skin, brows = (bake_region(self._model, name, self.params.texture_px)[None, None] for name in names)
        return (skin > 0.6).float(), feature_region(brows, self._lips)

    @cached_property
    def _oval(self) -> torch.Tensor:
        return bake_region(self._model, "face", self.params.texture_px)[None, None]

    @cached_property
    def _lips(self) -> torch.Tensor:
        return bake_region(self._model, "lips", self.params.texture_px)[None, None]

    @cached_property
    def _limits(self) -> GateLimits:
        gates = self.params.gates
        return GateLimits(gates.min_face_px, gates.max_yaw_degrees, gates.max_nme_percent)

    def reconstruct(self, images: Iterable[str | Path | bytes | np.ndarray]) -> Iterator[Reconstruction]:
        """Reconstruct the faces of photos, one after the other.

        Args:
            images: paths, encoded files, or sRGB arrays [height, width, 3] of uint8 or uint16.

        Yields:
            One result a face; a photo that cannot be used gives one with status and reason. Nothing is written.
        """
        for number, image in enumerate(images):
            yield from self.reconstruct_source(_as_source(image, number))

    def reconstruct_source(self, source: Source | DecodedSource) -> list[Reconstruction]:
        """Reconstruct the faces of one photo; never raises for what is wrong with the photo."""
        try:
            photo, digest = self._read(source)
            results = self._reconstruct_photo(photo, source.id, source.name)
            return [replace(result, photo_sha256=digest) for result in results]
        except (FaceAlbedoError, OSError) as error:
            reason = str(error) if isinstance(error, FaceAlbedoError) else f"cannot be read: {error.strerror or error}"
            return [Reconstruction(source.id, source.name, "failed", reason)]
        except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
            # One photo must never stop the others, whatever it holds.
            logger.debug("%s", source.name, exc_info=True)
            reason = f"internal error ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
            return [Reconstruction(source.id, source.name, "failed", reason)]

    @torch.no_grad()
    def reconstruct_with_fit(self, crop: FaceCrop, fit: LandmarkFit) -> FaceAsset:
        """Reconstruct a crop whose geometry is given, not found: for measuring what errors of the fit cost."""
        return self._asset(crop, fit, _Clock())[0]

    def export(self, result: Reconstruction) -> FaceFiles:
        """Return the files of a reconstructed face: file name, then content."""
        if result.asset is None or result.crop is None:
            raise ValueError(f"{result.face_id} was not reconstructed: {result.reason}")
        choices = self.params.export
        files = export_face(
            result.asset,
            result.crop.image,
            self._model,
            face_id=result.face_id,
            photo_name=result.photo,
            numbers=result.numbers,
            facts={
                "facealbedo": {"version": facealbedo.__version__, "results_version": RESULTS_VERSION},
                "parameters": self._shown_parameters(),
            },
            config=ExportConfig(expression=choices.expression, morph_targets=choices.morph_targets),
        )
        return files | {MANIFEST_FILE: self._manifest(result, files)}

    def _manifest(self, result: Reconstruction, files: FaceFiles) -> bytes:
        facts = {
            "models": self._models(),
            "versions": versions(),
            "code": checkout(),
            "parameters": self._shown_parameters(),
            "results_version": RESULTS_VERSION,
        }
        inputs = [{"name": result.photo, "kind": "photo", "sha256": result.photo_sha256}]
        return encode_manifest(result.face_id, inputs, files, facts)

    def _models(self) -> dict[str, dict[str, str]]:
        refine, models = self.params.refine, dict(embedded_models())
        if refine.method != "network" or refine.weights is not None:
            models.pop(REFINER_FILE)
        if refine.method in ("prior", "quotient"):
            models.pop(PIGMENT_FILE)
        if refine.weights is not None:
            own = {"sha256": content_hash(Path(refine.weights).read_bytes()), "licence": "that of its model card"}
            models[Path(refine.weights).name] = own
        return models

    def _shown_parameters(self) -> dict[str, Any]:
        """Return the parameters without places on this machine: photos left out, weights by their file's name."""
        shown = self.params.model_dump(mode="json", exclude={"photos"})
        if self.params.refine.weights is not None:
            shown["refine"]["weights"] = Path(self.params.refine.weights).name
        return shown

    def _read(self, source: Source | DecodedSource) -> tuple[DecodedImage, str]:
        """Return a photo and its SHA-256."""
        if isinstance(source, DecodedSource):
            return source.photo, content_hash(np.ascontiguousarray(source.photo.pixels_srgb).tobytes())
        data = source.read()
        return decode_image(data, DecodeLimits(max_megapixels=self.params.max_megapixels)), content_hash(data)

    def _reconstruct_photo(self, photo: DecodedImage, photo_id: str, name: str) -> list[Reconstruction]:
        started = time.perf_counter()
        faces = self._detector.detect(photo.srgb)
        detect_s = time.perf_counter() - started
        if not faces:
            return [Reconstruction(photo_id, name, "rejected", "no face was found")]
        chosen = faces[:1] if self.params.faces == "largest" else faces
        results = []
        for number, face in enumerate(chosen):
            face_id = photo_id if len(chosen) == 1 else f"{photo_id}-face{number + 1}"
            results.append(self._reconstruct_face(photo, face, face_id, name, detect_s / len(chosen)))
        return results

    @torch.no_grad()
    def _reconstruct_face(
        self, photo: DecodedImage, face: DetectedFace, face_id: str, name: str, detect_s: float
    ) -> Reconstruction:
        clock = _Clock()
        numbers: dict[str, Any] = {
            "input": {"width": photo.original_width, "height": photo.original_height, "notes": list(photo.notes)},
            "detection": {"confidence": face.confidence, "detector": self.params.detector},
        }
        objection = size_objection(face.size_px, self._limits)
        if objection:
            return Reconstruction(face_id, name, "rejected", objection, numbers)
        sizes = self.params.crop
        crop = crop_face(photo, face, CropConfig(max_size_px=sizes.max_size_px, margin=sizes.margin))
        landmarks = Landmarks(crop.landmarks_px[None], torch.tensor([face.confidence]))
        fit = fit_landmarks(self._model, landmarks, crop.principal_px[None], (crop.side, crop.side))
        numbers["fit"] = measure_fit(self._model, fit).rows()[0] | {"face_px": face.size_px}
        clock.lap("fit_s")
        objection = fit_objection(float(fit.yaw_degrees), float(fit.nme_percent), self._limits)
        if objection:
            return Reconstruction(face_id, name, "rejected", objection, numbers)
        asset, appearance = self._asset(crop, fit, clock)
        numbers |= _appearance_numbers(appearance) | {"timing": {"detect_s": detect_s, **clock.laps}}
        return Reconstruction(face_id, name, "done", "", numbers, asset, crop)

    def _asset(self, crop: FaceCrop, fit: LandmarkFit, clock: _Clock) -> tuple[FaceAsset, AppearanceFit]:
        """Unwrap the photo, fit skin and light, and refine."""
        model, params = self._model, self.params
        world = model.decode(fit.coefficients.identity_coeffs, fit.coefficients.expression_coeffs)
        view = world_to_view(world, fit.pose)
        normals = model.normals(view)
        image, valid = crop.image[None], crop.valid[None, None].float()
        fragments, buffer = render_gbuffer(model, view, fit.camera, normals_view=normals)
        valid = valid * inside_outline(buffer.coverage[:, 0], fit)
        valid = valid * outside_mouth(crop.landmarks_px, fit, crop.side, crop.side)
        arguments = (model, image, view, fit.camera, fragments)
        working = unwrap(*arguments, params.working_px, image_valid=valid, normals_view=normals)
        texture = unwrap(*arguments, params.texture_px, image_valid=valid, normals_view=normals)
        coarse = working
        if params.refine.method in ("network", "separation") and params.working_px != NETWORK_PX:
            coarse = unwrap(*arguments, NETWORK_PX, image_valid=valid, normals_view=normals)
        clock.lap("unwrap_s")
        around = measure_surroundings(
            crop.image, crop.valid, buffer.coverage[0, 0], crop.landmarks_px, float(fit.yaw_degrees)
        )
        appearance = fit_appearance(working, around, self._working_maps, self._prior, load_tone_estimator())
        clock.lap("appearance_s")
        unoccluded = _unoccluded(appearance.trust, working)
        observation = UVObservation(
            texture.uv_texture, texture.uv_visibility * _resized(unoccluded, params.texture_px), texture.uv_normal_view
        )
        prior_albedo = self._prior.decode(appearance.albedo_coeffs, params.texture_px)
        refined = self._refine(coarse, unoccluded, observation, appearance, prior_albedo)
        clock.lap("refine_s")
        asset = FaceAsset(
            coefficients=_with_albedo(fit, appearance),
            pose=fit.pose,
            camera=fit.camera,
            lighting=appearance.lighting,
            vertices_world=world,
            observation=observation,
            prior_albedo=prior_albedo,
            uv_albedo=refined[0],
            uv_illumination=refined[1],
        )
        return asset, appearance

    def _refine(
        self,
        coarse: UVObservation,
        unoccluded: torch.Tensor,
        observation: UVObservation,
        appearance: AppearanceFit,
        prior_albedo: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return complete albedo and illumination map."""
        fitted = appearance.lighting.sh_radiance.reshape(1, 27, 1, 1).expand(1, 27, 8, 8).contiguous()
        if self.params.refine.method == "prior":
            return prior_albedo, fitted
        maps = self._texture_maps
        shading = openness_shading(appearance.lighting, observation.uv_normal_view, maps.openness)
        if self.params.refine.method == "quotient":
            return quotient_albedo(observation, shading, prior_albedo, region=maps.face[0, 0]).uv_albedo, fitted
        small, full = self._network_inputs(coarse, unoccluded, observation, appearance, prior_albedo)
        shares = face_shares(load_pigment_net(), small)
        seen = full.observation
        if self.params.refine.method == "separation":
            albedo = separate_albedo(seen, shading, prior_albedo, *self._feature_maps, shares=shares)
            return complete_lips(albedo, prior_albedo, seen.uv_visibility, self._lips), fitted
        face = refine_with_network(self._refiner, with_pigment(small, shares), with_pigment(full, shares))
        albedo = complete_lips(face.uv_albedo, prior_albedo, seen.uv_visibility, self._lips)
        return keep_outside(albedo, prior_albedo, self._oval, self._feature_maps[0]), face.uv_illumination

    def _network_inputs(
        self,
        coarse: UVObservation,
        unoccluded: torch.Tensor,
        observation: UVObservation,
        appearance: AppearanceFit,
        prior_albedo: torch.Tensor,
    ) -> tuple[RefinerInput, RefinerInput]:
        """Return the face as the network sees it in training, and at the texture's resolution."""
        light = appearance.lighting.sh_radiance
        trust = torch.nn.functional.adaptive_avg_pool2d(unoccluded, TRUST_PX)
        region = self._network_maps.face * _resized(trust, NETWORK_PX)
        coarse = replace(coarse, uv_visibility=coarse.uv_visibility * region)
        prior = self._prior.decode(appearance.albedo_coeffs, NETWORK_PX)
        regions = torch.cat(self._feature_maps, dim=1)
        shrunk = torch.nn.functional.adaptive_avg_pool2d(regions, NETWORK_PX)
        small = RefinerInput(coarse, prior, light, self._network_maps.openness, shrunk)
        fine = replace(observation, uv_visibility=observation.uv_visibility * self._texture_maps.face)
        return small, RefinerInput(fine, prior_albedo, light, self._texture_maps.openness, regions)


@dataclass(frozen=True)
class DecodedSource:
    """A photo that somebody else decoded."""

    id: str
    name: str
    photo: DecodedImage


class _Clock:
    """Seconds of each stage."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now


def _read_refiner(weights: Path) -> Refiner:
    try:
        return weights_from_bytes(weights.read_bytes())[0]
    except OSError as error:
        raise FaceAlbedoError(f"cannot read the network's weights {weights}: {error.strerror or error}") from error
    except FaceAlbedoError as error:
        raise FaceAlbedoError(f"{weights}: {error}") from error


def _unoccluded(trust: torch.Tensor, seen: UVObservation) -> torch.Tensor:
    """What the fit takes for the face's own skin, wherever it is seen; 1 where nothing is."""
    own = trust / seen.uv_visibility.clamp(min=1e-6)
    return torch.where(seen.uv_visibility > 0, own.clamp(0, 1), 1.0)


def _resized(uv_map: torch.Tensor, size: int) -> torch.Tensor:
    return torch.nn.functional.interpolate(uv_map, size=(size, size), mode="bilinear", align_corners=False)


def _with_albedo(fit: LandmarkFit, appearance: AppearanceFit) -> Any:
    return replace(fit.coefficients, albedo_coeffs=appearance.albedo_coeffs)


def _appearance_numbers(fit: AppearanceFit) -> dict[str, Any]:
    """Return tone and light as the report names them."""
    colour = tone_rgb(fit.tone.log_melanin, fit.tone.log_haemoglobin)[0]
    codes = (linear_to_srgb(colour) * 255).round().int().tolist()
    return {
        "tone": {
            "ita_degrees": float(fit.tone.ita_degrees),
            "ita_error_expected_degrees": float(fit.tone.ita_scale_degrees),
            "ita_group": ITA_GROUPS[int(ita_group(fit.tone.ita_degrees)[0])].name,
            "albedo_srgb": "#{:02x}{:02x}{:02x}".format(*codes),
            "melanin_fraction": math.exp(float(fit.tone.log_melanin)),
            "haemoglobin_fraction": math.exp(float(fit.tone.log_haemoglobin)),
        },
        "light": {"exposure": float(fit.exposure), "log_residual": float(fit.log_residual)},
    }


def reconstruct_missing(
    params: ReconstructParams,
    journal: Sequence[Mapping[str, Any]],
    on_photo: Callable[[int, int], None] | None = None,
    sources: Sequence[Source] | None = None,
) -> Iterator[PhotoOutcome]:
    """Reconstruct the photos that a journal does not hold yet, in order.

    A photo is done again when its content, the parameters or the version of the results changed.

    Args:
        params: what and how.
        journal: entries of earlier runs, oldest first.
        on_photo: called after each photo, also those already done, with how many are through and how many there are.
        sources: the photos; those of ``params`` when omitted.
    """
    todo = list(sources if sources is not None else sources_of(params))
    known = {entry["photo_id"]: entry for entry in journal if "photo_id" in entry}
    settings = settings_hash(params)
    reconstructor: Reconstructor | None = None
    for number, source in enumerate(todo):
        outcome = None
        entry = known.get(source.id)
        try:
            digest = content_hash(source.read())
        except OSError:
            digest = ""
        if entry is None or not digest or (entry.get("content"), entry.get("settings")) != (digest, settings):
            reconstructor = reconstructor or Reconstructor(params)
            outcome = _outcome(reconstructor, source, digest, settings)
            logger.info("%d of %d: %s", number + 1, len(todo), _outcome_line(source, outcome))
        if on_photo:
            on_photo(number + 1, len(todo))
        if outcome is not None:
            yield outcome


def _outcome(reconstructor: Reconstructor, source: Source, digest: str, settings: str) -> PhotoOutcome:
    files: dict[str, FaceFiles] = {}
    rows = []
    for result in reconstructor.reconstruct_source(source):
        started = time.perf_counter()
        numbers = dict(result.numbers)
        if result.status == "done":
            files[result.face_id] = reconstructor.export(result)
            export_s = time.perf_counter() - started
            timing = {**numbers["timing"], "export_s": export_s}
            numbers["timing"] = timing | {"total_s": sum(timing.values())}
            numbers |= {key: value for key, value in _report_numbers(files[result.face_id]).items() if key == "maps"}
        rows.append(
            {
                "id": result.face_id,
                "photo": result.photo,
                "status": result.status,
                "reason": result.reason,
                "numbers": numbers,
                "files": {name: f"{result.face_id}/{name}" for name in files.get(result.face_id, {})},
            }
        )
    entry = {"photo_id": source.id, "content": digest, "settings": settings, "rows": _jsonable(rows)}
    return PhotoOutcome(files, [entry])


def _report_numbers(files: FaceFiles) -> dict[str, Any]:
    report = json.loads(files["report.json"])
    return dict(report.get("numbers", {}))


def _jsonable(value: Any) -> Any:
    return plain(value)


def _outcome_line(source: Source, outcome: PhotoOutcome) -> str:
    rows = outcome.entries[0]["rows"]
    parts = [f"{row['id']} {row['status']}" + (f" ({row['reason']})" if row["reason"] else "") for row in rows]
    return f"{source.name}: {', '.join(parts)}"


def summarise_journal(
    params: ReconstructParams, journal: Sequence[Mapping[str, Any]], sources: Sequence[Source] | None = None
) -> tuple[bytes, bytes]:
    """Return `summary.csv` and `index.html` over the photos of this run."""
    rows = rows_of(params, journal, sources)
    page = build_index(rows, title="Reconstructed faces", facts={"facealbedo": facealbedo.__version__}, limits=LIMITS)
    return encode_summary(rows), page


def rows_of(
    params: ReconstructParams, journal: Sequence[Mapping[str, Any]], sources: Sequence[Source] | None = None
) -> tuple[FaceRow, ...]:
    """Return the newest rows of each photo of this run, in the run's order."""
    newest = {entry["photo_id"]: entry for entry in journal if "photo_id" in entry}
    chosen = sources if sources is not None else sources_of(params)
    entries = [newest[source.id] for source in chosen if source.id in newest]
    return tuple(FaceRow(**row) for entry in entries for row in entry["rows"])


def reconstruct_folder(
    params: ReconstructParams, output: Path, on_photo: Callable[[int, int], None] | None = None
) -> RunSummary:
    """Reconstruct photos into a folder: a folder a face, `summary.csv`, `index.html` and the journal.

    Raises:
        FaceAlbedoError: nothing to read, or nowhere to write; what was finished is kept.
    """
    sources = sources_of(params)
    remove_stale_staging(output)
    journal_path = output / JOURNAL_FILE
    journal = read_journal(journal_path)
    for outcome in reconstruct_missing(params, journal, on_photo, sources):
        for face_id, face_files in outcome.files.items():
            write_face_folder(output, face_id, face_files)
        append_journal(journal_path, outcome.entries)
        journal.extend(outcome.entries)
    table, page = summarise_journal(params, journal, sources)
    write_file(output / SUMMARY_FILE, table)
    write_file(output / INDEX_FILE, page)
    return RunSummary(rows_of(params, journal, sources), output / INDEX_FILE)


def sources_of(params: ReconstructParams | PreprocessParams) -> list[Source]:
    """Return the photos of a run: those of ``params.photos``, or the bundled faces when it is not set."""
    if params.photos is None:
        return bundled_sources()
    photos = list_photos(Path(params.photos).expanduser())
    return [Source(photo.id, photo.name, photo.path.read_bytes) for photo in photos]


def bundled_sources() -> list[Source]:
    """Return one real photograph (scikit-image's astronaut, public domain) and two fabricated faces."""

    def astronaut() -> bytes:
        return (files("skimage.data") / "astronaut.png").read_bytes()

    return [
        Source("astronaut", "astronaut.png (NASA, public domain)", astronaut),
        Source("fabricated_1", "fabricated face 1", lambda: fabricated_portrait(1)),
        Source("fabricated_2", "fabricated face 2", lambda: fabricated_portrait(2)),
    ]


def settings_hash(params: ReconstructParams) -> str:
    """Return a hash of everything besides the photo that decides a result."""
    relevant = params.model_dump(mode="json", exclude={"photos"}) | {"results": RESULTS_VERSION}
    if params.refine.weights is not None:
        try:
            relevant["weights"] = content_hash(Path(params.refine.weights).read_bytes())
        except OSError as error:
            raise FaceAlbedoError(f"cannot read the weights {params.refine.weights}: {error.strerror}") from error
    return hashlib.sha256(json.dumps(relevant, sort_keys=True).encode()).hexdigest()[:16]


def _as_source(image: str | Path | bytes | np.ndarray, number: int) -> Source | DecodedSource:
    if isinstance(image, bytes):
        return Source(f"photo_{number:05d}", f"photo {number}", lambda: image)
    if isinstance(image, np.ndarray):
        return DecodedSource(f"photo_{number:05d}", f"photo {number}", DecodedImage.from_srgb(image))
    path = Path(image)
    listed: PhotoFile = list_photos(path)[0] if path.is_file() else PhotoFile(path.name, str(path), path)
    return Source(listed.id, listed.name, path.read_bytes)


__all__ = [
    "ImageError",
    "PhotosError",
    "Reconstruction",
    "Reconstructor",
    "reconstruct_folder",
    "reconstruct_missing",
]
