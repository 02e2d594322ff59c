"""The face model: what is stored, and what decodes a face from coefficients.

World frame, metres: +y up, the face looks along +z, the subject's left is +x. The origin is the midpoint between the
mean face's eyeball centres.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from jaxtyping import Float, Int, Integer
from safetensors import SafetensorError
from torch import Tensor

from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.face_model.head import surface_matrix
from facealbedo.core.geometry.normals import vertex_normals

FORMAT = "facealbedo-face-model-1"
LANDMARK_KINDS = ("mediapipe478", "ibug68")


class FaceModelError(FaceAlbedoError):
    """The bytes are not a face model that this version can read."""


@dataclass(frozen=True)
class LandmarkEmbedding:
    """Where landmarks lie on the surface.

    Args:
        triangles: triangle of each landmark.
        barycentrics: weights of the triangle's three vertices, in [0, 1], summing to 1.
        spread_mm: how far the detector's landmark wanders on the surface, median over heads.
    """

    triangles: Integer[np.ndarray, "landmark"]
    barycentrics: Float[np.ndarray, "landmark 3"]
    spread_mm: Float[np.ndarray, "landmark"]


@dataclass(frozen=True)
class StoredFaceModel:
    """The face model as it is stored: base-level bases and everything that cannot be recomputed quickly.

    Lengths in metres. Index types are the smallest that hold them. ``base_*`` live on the base level: ``n_skin``
    vertices of skin, then teeth and tongue, then four control points an eye (see `head`).
    """

    base_mean: Float[np.ndarray, "base 3"]
    base_identity: Float[np.ndarray, "identity base 3"]
    base_expression: Float[np.ndarray, "expression base 3"]
    skin_quads: Integer[np.ndarray, "quad 4"]
    oral_quads: Integer[np.ndarray, "oral 4"]
    identity_parity: Integer[np.ndarray, "identity"]
    expression_mirror: Integer[np.ndarray, "expression"]
    triangles: Integer[np.ndarray, "triangle 3"]
    triangle_part: Integer[np.ndarray, "triangle"]
    vertex_mirror: Integer[np.ndarray, "vertex"]
    uv: Float[np.ndarray, "uv 2"]
    uv_triangles: Integer[np.ndarray, "atlas_triangle 3"]
    uv_source: Integer[np.ndarray, "uv"]
    uv_mirror: Integer[np.ndarray, "uv"]
    region_weights: Integer[np.ndarray, "region uv"]
    part_names: tuple[str, ...]
    expression_names: tuple[str, ...]
    region_names: tuple[str, ...]
    landmarks: Mapping[str, LandmarkEmbedding]
    identity_sampling_std: float
    provenance: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """Return the model as a safetensors file with JSON metadata."""
        tensors = {
            item.name: np.ascontiguousarray(getattr(self, item.name))
            for item in fields(self)
            if isinstance(getattr(self, item.name), np.ndarray)
        }
        for kind, embedding in self.landmarks.items():
            tensors[f"{kind}.triangles"] = embedding.triangles
            tensors[f"{kind}.barycentrics"] = embedding.barycentrics
            tensors[f"{kind}.spread_mm"] = embedding.spread_mm
        metadata = {
            "part_names": list(self.part_names),
            "expression_names": list(self.expression_names),
            "region_names": list(self.region_names),
            "landmark_kinds": list(self.landmarks),
            "identity_sampling_std": self.identity_sampling_std,
            "provenance": dict(self.provenance),
        }
        # One entry only: safetensors writes several in an unstable order, and equal models must give equal bytes.
        return safetensors.numpy.save(tensors, {FORMAT: json.dumps(metadata, sort_keys=True)})

    @classmethod
    def from_bytes(cls, data: bytes) -> StoredFaceModel:
        """Read what `to_bytes` wrote.

        Raises:
            FaceModelError: if the bytes are damaged, of another format, or inconsistent.
        """
        tensors, metadata = _read(data)
        names = {key: tuple(metadata[key]) for key in ("part_names", "expression_names", "region_names")}
        tables = {key: _table(tensors, key) for key in _SHAPES}
        landmarks = {
            kind: [_table(tensors, f"{kind}.{item.name}") for item in fields(LandmarkEmbedding)]
            for kind in metadata["landmark_kinds"]
        }
        # Before the records are made, so that a wrong shape gets this message also where types are checked.
        _check_tables(tables, {key: len(value) for key, value in names.items()})
        for kind, parts in landmarks.items():
            _check_landmarks(kind, *parts, n_triangles=len(tables["triangles"]))  # type: ignore[arg-type]
        return cls(
            **tables,  # type: ignore[arg-type]
            **names,  # type: ignore[arg-type]
            landmarks={kind: LandmarkEmbedding(*parts) for kind, parts in landmarks.items()},
            identity_sampling_std=float(metadata["identity_sampling_std"]),
            provenance=metadata["provenance"],
        )


_KINDS = {"f": "floating", "i": "signed", "u": "unsigned", "iu": "integer"}
_DTYPES = {
    "base_mean": "f", "base_identity": "f", "base_expression": "f", "skin_quads": "iu", "oral_quads": "iu",
    "identity_parity": "i", "expression_mirror": "iu", "triangles": "iu", "triangle_part": "iu",
    "vertex_mirror": "iu", "uv": "f", "uv_triangles": "iu", "uv_source": "iu", "uv_mirror": "iu",
    "region_weights": "u",
}  # fmt: skip
_SHAPES: dict[str, tuple[str | int, ...]] = {
    "base_mean": ("base", 3), "base_identity": ("identity", "base", 3), "base_expression": ("expression", "base", 3),
    "skin_quads": ("quad", 4), "oral_quads": ("oral", 4), "identity_parity": ("identity",),
    "expression_mirror": ("expression",), "triangles": ("triangle", 3), "triangle_part": ("triangle",),
    "vertex_mirror": ("vertex",), "uv": ("uv", 2), "uv_triangles": ("atlas_triangle", 3), "uv_source": ("uv",),
    "uv_mirror": ("uv",), "region_weights": ("region", "uv"),
}  # fmt: skip
_INDEX_OF = {
    "skin_quads": "base", "oral_quads": "base", "expression_mirror": "expression", "triangles": "vertex",
    "triangle_part": "part", "vertex_mirror": "vertex", "uv_triangles": "uv", "uv_source": "vertex",
    "uv_mirror": "uv",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class FaceModel:
    """The face model, ready to decode. Tensors of one device; immutable: do not write into them.

    Args:
        mean: mean face, neutral expression (world, metres).
        basis: displacements for one unit of each coefficient (metres): identity first, then expression.
        n_identity: number of identity coefficients; they have unit variance over the model's own population.
        identity_parity: +1 or -1: the mirror image of a face has ``identity_parity * identity_coeffs``.
        expression_names: ARKit names.
        expression_mirror: the mirror image of a face has ``expression_coeffs[:, expression_mirror]``.
        triangles: those of the atlas first, then cavities (mouth bag, eye sockets), eyeballs, teeth, tongue.
        triangle_part: index into ``part_names``.
        part_names: skin, cavity, sclera, iris, pupil, teeth, tongue.
        uv: atlas coordinates (u right, v down, in [0, 1]), mirror-symmetric about u = 0.5.
        uv_triangles: corners in ``uv`` of the first ``n_atlas_triangles`` triangles.
        uv_source: vertex of each uv vertex (two along the seam at the back).
        vertex_mirror, uv_mirror: partner of each vertex, of each uv vertex.
        region_names, region_weights: soft masks in [0, 1] at the uv vertices, symmetric.
        landmark_triangles, landmark_barycentrics, landmark_spread_mm: by kind of landmarks.
        identity_sampling_std: standard deviation of the coefficients of real faces; sample with this, not with 1.
        stored: what the model was made from.
    """

    mean: Float[Tensor, "vertex 3"]
    basis: Float[Tensor, "coeff vertex 3"] = field(repr=False)
    n_identity: int
    identity_parity: Float[Tensor, "identity"]
    expression_names: tuple[str, ...]
    expression_mirror: Int[Tensor, "expression"]
    triangles: Int[Tensor, "triangle 3"]
    triangle_part: Int[Tensor, "triangle"]
    part_names: tuple[str, ...]
    uv: Float[Tensor, "uv 2"]
    uv_triangles: Int[Tensor, "atlas_triangle 3"]
    uv_source: Int[Tensor, "uv"]
    vertex_mirror: Int[Tensor, "vertex"]
    uv_mirror: Int[Tensor, "uv"]
    region_names: tuple[str, ...]
    region_weights: Float[Tensor, "region uv"] = field(repr=False)
    landmark_triangles: Mapping[str, Int[Tensor, "landmark"]]
    landmark_barycentrics: Mapping[str, Float[Tensor, "landmark 3"]]
    landmark_spread_mm: Mapping[str, Float[Tensor, "landmark"]]
    identity_sampling_std: float
    stored: StoredFaceModel = field(repr=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> FaceModel:
        """Read a face model (float32, CPU) from the content of its file.

        Raises:
            FaceModelError: if the bytes are damaged, of another format, or inconsistent.
        """
        return cls.from_stored(StoredFaceModel.from_bytes(data))

    @classmethod
    def from_stored(cls, stored: StoredFaceModel) -> FaceModel:
        """Subdivide the bases of a stored model and make it ready to decode.

        Raises:
            FaceModelError: if its quads do not make the mesh that its other tables speak of.
        """
        try:
            surface = surface_matrix(
                stored.skin_quads.astype(np.int64),
                int(stored.skin_quads.max()) + 1,
                stored.oral_quads.astype(np.int64),
                int(stored.oral_quads.max()) + 1,
            ).astype(np.float32)
        except ValueError as error:
            raise FaceModelError(f"the face model's quads do not make a mesh: {error}") from error
        n_vertices, n_base = surface.shape
        if (n_vertices, n_base) != (len(stored.vertex_mirror), len(stored.base_mean)):
            raise FaceModelError(
                f"the quads make {n_vertices} vertices from {n_base}; the other tables have "
                f"{len(stored.vertex_mirror)} and {len(stored.base_mean)}"
            )
        base = np.concatenate([stored.base_mean[None], stored.base_identity, stored.base_expression], dtype=np.float32)
        flat = surface @ base.transpose(1, 0, 2).reshape(n_base, -1)
        points = np.ascontiguousarray(flat.reshape(n_vertices, -1, 3).transpose(1, 0, 2))
        index = {
            name: torch.from_numpy(getattr(stored, name).astype(np.int64))
            for name in (
                "expression_mirror", "triangles", "triangle_part", "uv_triangles", "uv_source", "vertex_mirror",
                "uv_mirror",
            )
        }  # fmt: skip
        landmarks = stored.landmarks.items()
        return cls(
            mean=torch.from_numpy(points[0]),
            basis=torch.from_numpy(points[1:]),
            n_identity=len(stored.base_identity),
            identity_parity=torch.from_numpy(stored.identity_parity.astype(np.float32)),
            expression_names=stored.expression_names,
            part_names=stored.part_names,
            uv=torch.from_numpy(stored.uv.astype(np.float32)),
            region_names=stored.region_names,
            region_weights=torch.from_numpy(stored.region_weights.astype(np.float32) / 255.0),
            landmark_triangles={k: torch.from_numpy(e.triangles.astype(np.int64)) for k, e in landmarks},
            landmark_barycentrics={k: torch.from_numpy(e.barycentrics.astype(np.float32)) for k, e in landmarks},
            landmark_spread_mm={k: torch.from_numpy(e.spread_mm.astype(np.float32)) for k, e in landmarks},
            identity_sampling_std=stored.identity_sampling_std,
            stored=stored,
            **index,
        )

    def to_bytes(self) -> bytes:
        """Return the content of the model's file."""
        return self.stored.to_bytes()

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> FaceModel:
        """Return the model with every tensor on ``device`` and every floating one of ``dtype``."""

        def move(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value.to(device=device, dtype=dtype if value.is_floating_point() else None)
            if isinstance(value, dict):
                return {key: move(item) for key, item in value.items()}
            return value

        return replace(self, **{item.name: move(getattr(self, item.name)) for item in fields(self)})

    @property
    def n_vertices(self) -> int:
        """Number of vertices, all parts."""
        return self.mean.shape[0]

    @property
    def n_expression(self) -> int:
        """Number of expression coefficients."""
        return len(self.expression_names)

    @property
    def n_atlas_triangles(self) -> int:
        """Number of triangles with a place in the atlas; they come first."""
        return self.uv_triangles.shape[0]

    @property
    def device(self) -> torch.device:
        """The device of every tensor."""
        return self.mean.device

    @property
    def identity_basis(self) -> Float[Tensor, "identity vertex 3"]:
        """Displacements for one unit of each identity coefficient (metres)."""
        return self.basis[: self.n_identity]

    @property
    def expression_basis(self) -> Float[Tensor, "expression vertex 3"]:
        """Displacements for a full activation of each expression unit (metres)."""
        return self.basis[self.n_identity :]

    @cached_property
    def part_vertices(self) -> Mapping[str, Int[Tensor, "part_vertex"]]:
        """The vertices of each part, sorted; neighbouring parts share their border."""
        return {
            name: torch.unique(self.triangles[self.triangle_part == number])
            for number, name in enumerate(self.part_names)
        }

    def decode(
        self,
        identity_coeffs: Float[Tensor, "batch identity"],
        expression_coeffs: Float[Tensor, "batch expression"],
    ) -> Float[Tensor, "batch vertex 3"]:
        """Return the vertices of faces (world, metres). Differentiable; device and dtype follow the model's.

        Raises:
            ValueError: if the number of coefficients is not the model's.
        """
        if identity_coeffs.shape[1:] != (self.n_identity,) or expression_coeffs.shape[1:] != (self.n_expression,):
            raise ValueError(
                f"expected [batch, {self.n_identity}] identity and [batch, {self.n_expression}] expression "
                f"coefficients, got {tuple(identity_coeffs.shape)} and {tuple(expression_coeffs.shape)}"
            )
        coeffs = torch.cat([identity_coeffs, expression_coeffs], dim=1)
        flat = torch.addmm(self.mean.reshape(1, -1), coeffs, self.basis.flatten(1))
        return flat.unflatten(1, (-1, 3))

    def landmarks(
        self, vertices: Float[Tensor, "batch vertex 3"], kind: str = "mediapipe478"
    ) -> Float[Tensor, "batch landmark 3"]:
        """Return the landmarks of ``kind`` on given vertices, in their frame and unit.

        Raises:
            ValueError: if the model has no landmarks of that kind.
        """
        if kind not in self.landmark_triangles:
            raise ValueError(f"unknown landmarks {kind!r}; the model has {sorted(self.landmark_triangles)}")
        corners = vertices[:, self.triangles[self.landmark_triangles[kind]]]
        return torch.einsum("blkc,lk->blc", corners, self.landmark_barycentrics[kind])

    def landmark_basis(
        self, kind: str = "mediapipe478"
    ) -> tuple[
        Float[Tensor, "landmark 3"], Float[Tensor, "identity landmark 3"], Float[Tensor, "expression landmark 3"]
    ]:
        """Return mean, identity basis and expression basis of the landmarks alone: all that a landmark fit needs."""
        mean = self.landmarks(self.mean[None], kind)[0]
        basis = self.landmarks(self.basis, kind)
        return mean, basis[: self.n_identity], basis[self.n_identity :]

    def normals(self, vertices: Float[Tensor, "batch vertex 3"]) -> Float[Tensor, "batch vertex 3"]:
        """Return unit smooth normals at the vertices, in their frame."""
        return vertex_normals(vertices, self.triangles)

    def mirror_coefficients(
        self,
        identity_coeffs: Float[Tensor, "batch identity"],
        expression_coeffs: Float[Tensor, "batch expression"],
    ) -> tuple[Float[Tensor, "batch identity"], Float[Tensor, "batch expression"]]:
        """Return the coefficients of the mirror image of faces (in the plane x = 0)."""
        return identity_coeffs * self.identity_parity, expression_coeffs[:, self.expression_mirror]

    def mirror_vertices(self, vertices: Float[Tensor, "batch vertex 3"]) -> Float[Tensor, "batch vertex 3"]:
        """Return the mirror image of vertices in the plane x = 0, vertex order kept."""
        return vertices[:, self.vertex_mirror] * vertices.new_tensor([-1.0, 1.0, 1.0])

    def region(self, name: str) -> Float[Tensor, "uv"]:
        """Return a region's mask at the uv vertices.

        Raises:
            ValueError: if there is no such region.
        """
        if name not in self.region_names:
            raise ValueError(f"unknown region {name!r}; the model has {self.region_names}")
        return self.region_weights[self.region_names.index(name)]


def _read(data: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Split a safetensors file into its tensors and the model's metadata."""
    try:
        tensors = safetensors.numpy.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    except (SafetensorError, ValueError, KeyError) as error:
        raise FaceModelError(f"these {len(data)} bytes are not a complete safetensors file: {error}") from error
    text = header.get("__metadata__", {}).get(FORMAT)
    if text is None:
        raise FaceModelError(f"this safetensors file is not a face model of the format {FORMAT!r}")
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FaceModelError(f"the face model's metadata is no JSON: {error}") from error
    expected = {
        "part_names": list, "expression_names": list, "region_names": list, "landmark_kinds": list,
        "identity_sampling_std": float, "provenance": dict,
    }  # fmt: skip
    types = {key: type(value) for key, value in metadata.items()} if isinstance(metadata, dict) else None
    if types != expected:
        raise FaceModelError(f"the face model's metadata should have the entries {sorted(expected)}")
    return tensors, metadata


def _table(tensors: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in tensors:
        raise FaceModelError(f"the face model lacks the table {name!r}")
    return tensors[name]


def _check_tables(tables: Mapping[str, np.ndarray], counts: Mapping[str, int]) -> None:
    """Check types, shapes, index ranges and finiteness; raise a `FaceModelError` that names the wrong table."""
    for name, shape in _SHAPES.items():
        table, kind = tables[name], _DTYPES[name]
        if table.dtype.kind not in kind or table.ndim != len(shape):
            raise FaceModelError(
                f"{name} has shape {table.shape} and type {table.dtype}; expected {shape}, {_KINDS[kind]}"
            )
    sizes = {
        "base": len(tables["base_mean"]),
        "identity": len(tables["base_identity"]),
        "expression": counts["expression_names"],
        "quad": len(tables["skin_quads"]),
        "oral": len(tables["oral_quads"]),
        "triangle": len(tables["triangles"]),
        "vertex": len(tables["vertex_mirror"]),
        "uv": len(tables["uv"]),
        "atlas_triangle": len(tables["uv_triangles"]),
        "region": counts["region_names"],
        "part": counts["part_names"],
    }
    for name, shape in _SHAPES.items():
        expected = tuple(sizes[length] if isinstance(length, str) else length for length in shape)
        if tables[name].shape != expected or 0 in expected:
            raise FaceModelError(f"{name} has shape {tables[name].shape}; expected {expected}, none of them 0")
    for name, limit in _INDEX_OF.items():
        _check_range(name, tables[name], sizes[limit])
    for name, kind in _DTYPES.items():
        if kind == "f" and not np.isfinite(tables[name]).all():
            raise FaceModelError(f"{name} has values that are not finite")


def _check_landmarks(
    kind: str, triangles: np.ndarray, barycentrics: np.ndarray, spread_mm: np.ndarray, n_triangles: int
) -> None:
    if triangles.ndim != 1 or barycentrics.shape != (*triangles.shape, 3) or spread_mm.shape != triangles.shape:
        raise FaceModelError(f"the tables of the landmarks {kind!r} do not have the same length")
    if triangles.dtype.kind not in "iu" or barycentrics.dtype.kind != "f" or spread_mm.dtype.kind != "f":
        raise FaceModelError(f"the tables of the landmarks {kind!r} have the wrong types")
    _check_range(f"{kind}.triangles", triangles, n_triangles)
    if not np.allclose(barycentrics.sum(axis=1), 1.0, atol=1e-5):
        raise FaceModelError(f"the barycentrics of the landmarks {kind!r} do not sum to 1")


def _check_range(name: str, index: np.ndarray, size: int) -> None:
    if index.size and (index.min() < 0 or index.max() >= size):
        raise FaceModelError(f"{name} has indexes from {index.min()} to {index.max()}; expected [0, {size})")
