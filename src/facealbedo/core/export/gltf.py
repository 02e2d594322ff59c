"""Write a scene of triangle lists, materials and morph targets as one binary glTF 2.0 file (GLB).

Nothing here knows faces: `face_scene` says what goes in. The same input gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pygltflib as gl

from facealbedo.core.export.scene import NEUTRAL_IOR, Image, Material, MeshNode, Morphs, Primitive

FLOAT, UNSIGNED_SHORT, UNSIGNED_INT = 5126, 5123, 5125
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE = 9729, 9987, 33071
# 65535 restarts a strip, so the largest index of a 16-bit list is 65534.
LARGEST_SHORT_COUNT = 65535
# Morph offsets below a hundredth of a millimetre are not worth their bytes.
MORPH_EPSILON = 1e-5


def write_glb(
    nodes: Sequence[MeshNode],
    *,
    scene_name: str,
    generator: str,
    copyright_notice: str | None = None,
    extras: Mapping[str, Any] | None = None,
) -> bytes:
    """Return a GLB file with one root node and the given objects below it.

    Raises:
        ValueError: no objects, an index outside its vertices, or morph targets that do not fit their names.
    """
    if not nodes:
        raise ValueError("a GLB file needs at least one object")
    return _Writer(scene_name, generator, copyright_notice, dict(extras or {})).write(nodes)


class _Writer:
    """Collects the JSON objects and the binary chunk of one file; used once."""

    def __init__(self, scene_name: str, generator: str, copyright_notice: str | None, extras: dict[str, Any]) -> None:
        self._gltf = gl.GLTF2(
            asset=gl.Asset(version="2.0", generator=generator, copyright=copyright_notice, extras=extras or None),
            scene=0,
            scenes=[gl.Scene(nodes=[0], name=scene_name)],
            nodes=[gl.Node(name=scene_name, children=[])],
        )
        self._blob = bytearray()
        self._materials: dict[Material, int] = {}
        self._textures: dict[Image, int] = {}

    def write(self, nodes: Sequence[MeshNode]) -> bytes:
        """Add every object and return the file."""
        root = self._gltf.nodes[0]
        for node in nodes:
            _check(node)
            root.children.append(len(self._gltf.nodes))
            moved = any(value != 0 for value in node.translation)
            self._gltf.nodes.append(
                gl.Node(name=node.name, mesh=self._mesh(node), translation=list(node.translation) if moved else None)
            )
        self._gltf.buffers = [gl.Buffer(byteLength=len(self._blob))]
        self._gltf.set_binary_blob(bytes(self._blob))
        return b"".join(self._gltf.save_to_bytes())

    def _mesh(self, node: MeshNode) -> int:
        extras: dict[str, Any] = dict(node.extras)
        if node.target_names:
            extras["targetNames"] = list(node.target_names)
        mesh = gl.Mesh(
            name=node.name,
            primitives=[self._primitive(primitive) for primitive in node.primitives],
            weights=[float(weight) for weight in node.target_weights] or None,
            extras=extras or None,
        )
        self._gltf.meshes.append(mesh)
        return len(self._gltf.meshes) - 1

    def _primitive(self, primitive: Primitive) -> gl.Primitive:
        attributes = gl.Attributes(
            POSITION=self._vertex_accessor(primitive.positions, bounds=True),
            NORMAL=self._vertex_accessor(primitive.normals),
        )
        if primitive.uv is not None:
            attributes.TEXCOORD_0 = self._vertex_accessor(primitive.uv)
        return gl.Primitive(
            attributes=attributes,
            indices=self._index_accessor(primitive.triangles, len(primitive.positions)),
            material=self._material(primitive.material),
            targets=self._targets(primitive.morphs) if primitive.morphs is not None else None,
        )

    def _targets(self, morphs: Morphs) -> list[Any]:
        targets = []
        for index, deltas in enumerate(morphs.position_deltas):
            target: dict[str, int] = {"POSITION": self._sparse_accessor(deltas, MORPH_EPSILON, bounds=True)}
            if morphs.normal_deltas is not None:
                target["NORMAL"] = self._sparse_accessor(morphs.normal_deltas[index], 1e-3, bounds=False)
            targets.append(target)
        return targets

    def _view(self, data: bytes, target: int | None = None) -> int:
        self._blob.extend(b"\0" * (-len(self._blob) % 4))
        view = gl.BufferView(buffer=0, byteOffset=len(self._blob), byteLength=len(data), target=target)
        self._blob.extend(data)
        self._gltf.bufferViews.append(view)
        return len(self._gltf.bufferViews) - 1

    def _accessor(self, **fields: Any) -> int:
        self._gltf.accessors.append(gl.Accessor(**fields))
        return len(self._gltf.accessors) - 1

    def _vertex_accessor(self, values: np.ndarray, *, bounds: bool = False) -> int:
        array = np.ascontiguousarray(values, dtype="<f4")
        return self._accessor(
            bufferView=self._view(array.tobytes(), ARRAY_BUFFER),
            componentType=FLOAT,
            count=len(array),
            type="VEC3" if array.shape[1] == 3 else "VEC2",
            **(_bounds(array) if bounds else {}),
        )

    def _index_accessor(self, triangles: np.ndarray, n_vertices: int) -> int:
        short = n_vertices <= LARGEST_SHORT_COUNT
        array = np.ascontiguousarray(triangles, dtype="<u2" if short else "<u4").reshape(-1)
        return self._accessor(
            bufferView=self._view(array.tobytes(), ELEMENT_ARRAY_BUFFER),
            componentType=UNSIGNED_SHORT if short else UNSIGNED_INT,
            count=len(array),
            type="SCALAR",
        )

    def _sparse_accessor(self, deltas: np.ndarray, epsilon: float, *, bounds: bool) -> int:
        moved = np.flatnonzero(np.abs(deltas).max(axis=1) > epsilon)
        values = np.zeros_like(deltas, dtype="<f4")
        values[moved] = deltas[moved]
        sparse = None
        if len(moved):
            short = len(deltas) <= LARGEST_SHORT_COUNT
            indices = moved.astype("<u2" if short else "<u4").tobytes()
            sparse = gl.Sparse(
                count=len(moved),
                indices=gl.AccessorSparseIndices(
                    bufferView=self._view(indices), componentType=UNSIGNED_SHORT if short else UNSIGNED_INT
                ),
                values=gl.AccessorSparseValues(bufferView=self._view(values[moved].tobytes())),
            )
        return self._accessor(
            byteOffset=None,  # there is no buffer view to be offset in; the library's default 0 would be an error
            componentType=FLOAT,
            count=len(deltas),
            type="VEC3",
            sparse=sparse,
            **(_bounds(values) if bounds else {}),
        )

    def _material(self, material: Material) -> int:
        if material not in self._materials:
            self._materials[material] = len(self._gltf.materials)
            self._gltf.materials.append(self._new_material(material))
        return self._materials[material]

    def _new_material(self, material: Material) -> gl.Material:
        surface = gl.PbrMetallicRoughness(
            baseColorFactor=[*(float(value) for value in material.base_colour), 1.0],
            metallicFactor=0.0,
            roughnessFactor=float(material.roughness),
        )
        if material.base_image is not None:
            surface.baseColorTexture = gl.TextureInfo(index=self._texture(material.base_image))
        result = gl.Material(
            name=material.name, pbrMetallicRoughness=surface, doubleSided=material.double_sided, alphaCutoff=None
        )
        if material.occlusion_image is not None:
            result.occlusionTexture = gl.OcclusionTextureInfo(index=self._texture(material.occlusion_image))
        if material.ior != NEUTRAL_IOR:
            result.extensions = {"KHR_materials_ior": {"ior": float(material.ior)}}
            self._use_extension("KHR_materials_ior")
        return result

    def _texture(self, image: Image) -> int:
        if image not in self._textures:
            if not self._gltf.samplers:
                self._gltf.samplers.append(
                    gl.Sampler(
                        magFilter=LINEAR, minFilter=LINEAR_MIPMAP_LINEAR, wrapS=CLAMP_TO_EDGE, wrapT=CLAMP_TO_EDGE
                    )
                )
            self._gltf.images.append(
                gl.Image(name=image.name, mimeType=image.mime_type, bufferView=self._view(image.data))
            )
            self._gltf.textures.append(gl.Texture(name=image.name, sampler=0, source=len(self._gltf.images) - 1))
            self._textures[image] = len(self._gltf.textures) - 1
        return self._textures[image]

    def _use_extension(self, name: str) -> None:
        if name not in self._gltf.extensionsUsed:
            self._gltf.extensionsUsed.append(name)


def _bounds(array: np.ndarray) -> dict[str, list[float]]:
    return {
        "min": [float(value) for value in array.min(axis=0)],
        "max": [float(value) for value in array.max(axis=0)],
    }


def _check(node: MeshNode) -> None:
    n_targets = len(node.target_names)
    if len(node.target_weights) != n_targets:
        raise ValueError(f"{node.name}: {len(node.target_weights)} weights for {n_targets} morph targets")
    for primitive in node.primitives:
        n_vertices = len(primitive.positions)
        if len(primitive.triangles) == 0 or primitive.triangles.min() < 0 or primitive.triangles.max() >= n_vertices:
            raise ValueError(f"{node.name}: triangles must index its {n_vertices} vertices, and there must be some")
        got = 0 if primitive.morphs is None else len(primitive.morphs.position_deltas)
        if got != n_targets:
            raise ValueError(f"{node.name}: {got} morph targets in a primitive, {n_targets} names")
