"""A reconstructed face as a scene: head, eyes, teeth and tongue as objects with their materials."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int

from facealbedo.core.export.config import ExportConfig
from facealbedo.core.export.eyes import eye_directions, eye_texture, eye_uv, fit_sphere
from facealbedo.core.export.mesh import SKIN, MeshPart, PartTopology, part_topologies, split_mesh, unit_rows
from facealbedo.core.export.scene import Image, Material, MeshNode, Morphs, Primitive
from facealbedo.core.export.textures import encode_png, srgb8_from_linear
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.types import FaceAsset

# Index of refraction of skin (F0 = 0.028), of the tear film and cornea, of enamel and of wet mucosa.
SKIN_IOR, CORNEA_IOR, ENAMEL_IOR, MUCOSA_IOR = 1.4, 1.376, 1.62, 1.38
SKIN_ROUGHNESS = 0.5
TEETH_ALBEDO = (0.56, 0.50, 0.40)
TONGUE_ALBEDO = (0.30, 0.105, 0.095)
CAVITY_ALBEDO = (0.13, 0.032, 0.028)
UNKNOWN_PART_ALBEDO = (0.35, 0.35, 0.35)
EYE_PARTS = ("sclera", "iris", "pupil")
EYE_TEXTURE_PX = 512
SIDES = (("left", 1.0), ("right", -1.0))


@dataclass(frozen=True)
class EyeLayout:
    """One eyeball of the face model: its vertices and where its optical axis points (half angles in radians)."""

    side: str
    vertices: Int[np.ndarray, "eye_vertex"]
    iris_vertices: Int[np.ndarray, "iris_vertex"]
    iris_half_angle: float
    pupil_half_angle: float

    def centre_and_axis(
        self, vertices: Float[np.ndarray, "vertex 3"]
    ) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"]]:
        """Return the centre and the unit optical axis of this eye on given model vertices, in their frame."""
        centre, _ = fit_sphere(vertices[self.vertices])
        axis = vertices[self.iris_vertices].mean(axis=0) - centre
        return centre, axis / np.linalg.norm(axis)


@dataclass(frozen=True)
class SceneLayout:
    """What of a scene is the same for every face: the pieces, per object, and the eyes."""

    objects: tuple[tuple[str, tuple[PartTopology, ...]], ...]
    eyes: tuple[EyeLayout, ...]


@lru_cache(maxsize=4)
def scene_layout(model: FaceModel) -> SceneLayout:
    """Sort the pieces of a face model into objects; the eyeballs are split into left and right and get coordinates."""
    mean = model.mean.detach().cpu().numpy().astype(np.float64)
    topologies = part_topologies(model)
    eyes = tuple(eye for side, sign in SIDES if (eye := _eye_layout(topologies, mean, side, sign)) is not None)
    objects: list[tuple[str, tuple[PartTopology, ...]]] = [
        ("head", tuple(part for part in topologies if part.name in (SKIN, "skin_inner", "cavity")))
    ]
    for eye, (_, sign) in zip(eyes, SIDES, strict=True):
        parts = (_eye_part(part, eye, mean, sign) for part in topologies if part.name in EYE_PARTS)
        objects.append((f"eye_{eye.side}", tuple(part for part in parts if len(part.triangles))))
    placed = (SKIN, "skin_inner", "cavity", *EYE_PARTS)
    objects += [(part.name, (part,)) for part in topologies if part.name not in placed]
    return SceneLayout(tuple(objects), eyes)


def build_scene(asset: FaceAsset, model: FaceModel, albedo_image: Image, config: ExportConfig) -> tuple[MeshNode, ...]:
    """Return the objects of a face, in the world frame (metres, +y up, the face looks along +z).

    Args:
        asset: one face (batch 1).
        model: the face model that it was fitted with, on any device.
        albedo_image: encoded sRGB albedo, dilated over the cuts of the atlas.
        config: what to write.

    Raises:
        ValueError: the asset holds another number of faces than one, or its vertices are not the model's.
    """
    vertices, weights = posed_vertices(asset, model, config)
    normals = model.normals(vertices)
    layout = scene_layout(model)
    materials = _materials(layout, albedo_image, config)
    nodes = []
    for name, topologies in layout.objects:
        parts = split_mesh(topologies, vertices[0], normals[0])
        eye = next((eye for eye in layout.eyes if name == f"eye_{eye.side}"), None)
        origin = np.zeros(3) if eye is None else eye.centre_and_axis(vertices[0].double().cpu().numpy())[0]
        origin = origin.astype(np.float32)
        morphs = _morphs(parts, model, vertices, config) if config.morph_targets else None
        nodes.append(_node(name, parts, materials, origin, morphs, model, weights))
    return tuple(nodes)


def posed_vertices(
    asset: FaceAsset, model: FaceModel, config: ExportConfig
) -> tuple[Float[torch.Tensor, "1 vertex 3"], tuple[float, ...]]:
    """Return the vertices to write (world, metres, on the model's device) and the weights of the morph targets.

    With morph targets the vertices are those of the neutral face: a viewer adds weight times offset itself.
    """
    if asset.vertices_world.shape != (1, model.n_vertices, 3):
        raise ValueError(
            f"export takes one face of {model.n_vertices} vertices, got shape {tuple(asset.vertices_world.shape)}"
        )
    coefficients = asset.coefficients.expression_coeffs.to(model.mean)
    fitted = config.expression == "fitted"
    weights = tuple(float(value) for value in coefficients[0]) if fitted else (0.0,) * model.n_expression
    if fitted and not config.morph_targets:
        return asset.vertices_world.to(model.mean), weights
    # Taking the expression off, rather than decoding the identity, keeps what a fit may have added to the vertices.
    offset = torch.einsum("be,evc->bvc", coefficients, model.expression_basis)
    return asset.vertices_world.to(model.mean) - offset, weights


def _node(
    name: str,
    parts: tuple[MeshPart, ...],
    materials: dict[str, Material],
    origin: Float[np.ndarray, "3"],
    morphs: tuple[Morphs, ...] | None,
    model: FaceModel,
    weights: tuple[float, ...],
) -> MeshNode:
    moving = morphs is not None and any(np.abs(morph.position_deltas).max() > 0 for morph in morphs)
    primitives = tuple(
        Primitive(
            positions=part.positions - origin,
            normals=part.normals,
            uv=part.topology.uv,
            triangles=part.topology.triangles,
            material=materials[part.name],
            morphs=morphs[index] if moving and morphs is not None else None,
        )
        for index, part in enumerate(parts)
    )
    return MeshNode(
        name=name,
        primitives=primitives,
        translation=(float(origin[0]), float(origin[1]), float(origin[2])),
        target_names=model.expression_names if moving else (),
        target_weights=weights if moving else (),
    )


def _morphs(
    parts: tuple[MeshPart, ...], model: FaceModel, neutral: Float[torch.Tensor, "1 vertex 3"], config: ExportConfig
) -> tuple[Morphs, ...]:
    deltas = model.expression_basis.cpu().numpy()
    turned = None
    if config.morph_normals:
        rest = unit_rows(model.normals(neutral)[0].double().cpu().numpy())
        moved = model.normals(neutral + model.expression_basis).double().cpu().numpy()
        turned = (moved - rest).astype(np.float32)
    return tuple(
        Morphs(
            position_deltas=deltas[:, part.topology.source],
            normal_deltas=None if turned is None else turned[:, part.topology.source],
        )
        for part in parts
    )


def part_material(name: str) -> Material:
    """Return the material of a part of the face model, without pictures; grey for a part that is not known."""
    return _MATERIALS.get(name, Material(name, UNKNOWN_PART_ALBEDO))


_CAVITY = Material("cavity", CAVITY_ALBEDO, roughness=0.4, ior=MUCOSA_IOR, double_sided=True)
_MATERIALS = {
    SKIN: Material("skin", roughness=SKIN_ROUGHNESS, ior=SKIN_IOR, double_sided=True),
    "skin_inner": _CAVITY,
    "cavity": _CAVITY,
    "sclera": Material("sclera", roughness=0.22, ior=CORNEA_IOR),
    "iris": Material("iris", roughness=0.08, ior=CORNEA_IOR),
    "pupil": Material("pupil", roughness=0.08, ior=CORNEA_IOR),
    "teeth": Material("teeth", TEETH_ALBEDO, roughness=0.25, ior=ENAMEL_IOR),
    "tongue": Material("tongue", TONGUE_ALBEDO, roughness=0.45, ior=MUCOSA_IOR),
}


def _materials(layout: SceneLayout, albedo_image: Image, config: ExportConfig) -> dict[str, Material]:
    images = {SKIN: albedo_image}
    if layout.eyes:
        eye = layout.eyes[0]
        image = _eye_image(eye.iris_half_angle, eye.pupil_half_angle, config.iris_albedo)
        images |= dict.fromkeys(EYE_PARTS, image)
    names = dict.fromkeys(part.name for _, topologies in layout.objects for part in topologies)
    return {name: replace(part_material(name), base_image=images.get(name)) for name in names}


@lru_cache(maxsize=8)
def _eye_image(iris_half_angle: float, pupil_half_angle: float, iris_albedo: tuple[float, float, float]) -> Image:
    albedo = eye_texture(
        EYE_TEXTURE_PX,
        iris_half_angle=iris_half_angle,
        pupil_half_angle=pupil_half_angle,
        iris_albedo=iris_albedo,
    )
    return Image("eye", "image/png", encode_png(srgb8_from_linear(torch.from_numpy(albedo).permute(2, 0, 1)), level=6))


def _eye_layout(topologies: tuple[PartTopology, ...], mean: np.ndarray, side: str, sign: float) -> EyeLayout | None:
    def of_side(name: str) -> np.ndarray:
        sources = [part.source for part in topologies if part.name == name]
        vertices = np.concatenate(sources) if sources else np.zeros(0, dtype=np.int64)
        return np.asarray(vertices[mean[vertices, 0] * sign > 0])

    sclera, iris, pupil = (of_side(name) for name in EYE_PARTS)
    if not (len(sclera) and len(iris)):
        return None
    vertices = np.unique(np.concatenate([sclera, iris, pupil]))
    centre, _ = fit_sphere(mean[vertices])
    axis = mean[iris].mean(axis=0) - centre
    iris_theta, _ = eye_directions(mean[iris], centre, axis)
    pupil_theta = eye_directions(mean[pupil], centre, axis)[0] if len(pupil) else iris_theta.max() * np.array([0.35])
    return EyeLayout(side, vertices, iris, round(float(iris_theta.max()), 6), round(float(pupil_theta.max()), 6))


def _eye_part(part: PartTopology, eye: EyeLayout, mean: np.ndarray, sign: float) -> PartTopology:
    """Keep the triangles of one side; texture coordinates come from the direction in the mean face."""
    on_side = mean[part.source, 0] * sign > 0
    kept, compact = np.unique(part.triangles[on_side[part.triangles].all(axis=1)], return_inverse=True)
    source = part.source[kept]
    theta, phi = eye_directions(mean[source], *eye.centre_and_axis(mean))
    return PartTopology(part.name, source, compact.reshape(-1, 3), eye_uv(theta, phi).astype(np.float32))
