"""The GLB, read back by other libraries (trimesh, Pillow, plain struct and json)."""

from __future__ import annotations

import io
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image as PillowImage
from scipy.spatial import cKDTree

from facealbedo.core.export.asset_files import albedo_picture, export_glb
from facealbedo.core.export.config import ExportConfig
from facealbedo.core.export.gltf import write_glb
from facealbedo.core.export.scene import Image, Material, MeshNode, Morphs, Primitive
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.types import FaceAsset

OBJECTS = {"head", "eye_left", "eye_right", "teeth", "tongue"}


def split_glb(data: bytes) -> tuple[dict, bytes]:
    """Take a GLB apart by its specification: header, JSON chunk, binary chunk."""
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    json_length, json_kind = struct.unpack_from("<I4s", data, 12)
    assert json_kind == b"JSON"
    assert json_length % 4 == 0
    bin_length, bin_kind = struct.unpack_from("<I4s", data, 20 + json_length)
    assert bin_kind == b"BIN\0"
    assert 28 + json_length + bin_length == len(data)
    return json.loads(data[20 : 20 + json_length]), data[28 + json_length :]


def read_accessor(document: dict, blob: bytes, index: int) -> np.ndarray:
    """Read an accessor, sparse or not, as the specification says."""
    accessor = document["accessors"][index]
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[accessor["type"]]
    kinds = {5123: "<u2", 5125: "<u4", 5126: "<f4"}

    def view(number: int, kind: str, count: int) -> np.ndarray:
        found = document["bufferViews"][number]
        return np.frombuffer(blob, kind, count, found.get("byteOffset", 0))

    kind = kinds[accessor["componentType"]]
    values = np.zeros((accessor["count"], width), kind)
    if "bufferView" in accessor:
        values = view(accessor["bufferView"], kind, accessor["count"] * width).reshape(-1, width)
    if "sparse" in accessor:
        sparse = accessor["sparse"]
        values = values.copy()
        places = view(sparse["indices"]["bufferView"], kinds[sparse["indices"]["componentType"]], sparse["count"])
        values[places] = view(sparse["values"]["bufferView"], kind, sparse["count"] * width).reshape(-1, width)
    return values


@pytest.fixture(scope="module")
def glb(asset: FaceAsset, model: FaceModel) -> bytes:
    return export_glb(asset, model)


@pytest.fixture(scope="module")
def scene(glb: bytes) -> trimesh.Scene:
    return trimesh.load(io.BytesIO(glb), file_type="glb", process=False)


def world_mesh(scene: trimesh.Scene, name: str) -> trimesh.Trimesh:
    """Return all geometry whose node or mesh name starts with a name, in the world frame, joined."""
    found = []
    for node in scene.graph.nodes_geometry:
        transform, geometry = scene.graph[node]
        if geometry.startswith(name):
            found.append(scene.geometry[geometry].copy().apply_transform(transform))
    assert found, f"no object {name} in {list(scene.geometry)}"
    return trimesh.util.concatenate(found)


def test_skin_geometry_is_the_fitted_head_split_at_the_seam(glb: bytes, asset: FaceAsset, model: FaceModel) -> None:
    document, blob = split_glb(glb)
    skin = document["meshes"][0]["primitives"][0]
    positions = read_accessor(document, blob, skin["attributes"]["POSITION"])
    uv = read_accessor(document, blob, skin["attributes"]["TEXCOORD_0"])
    triangles = read_accessor(document, blob, skin["indices"]).reshape(-1, 3)
    expected = asset.vertices_world[0].numpy()[model.triangles.numpy()[: model.n_atlas_triangles]]
    np.testing.assert_allclose(positions[triangles], expected, atol=1e-7)
    np.testing.assert_array_equal(uv[triangles], model.uv.numpy()[model.uv_triangles.numpy()])
    assert len(positions) == len(model.uv)
    assert uv.min() >= 0
    assert uv.max() <= 1


def test_trimesh_reads_the_same_objects_texture_and_coordinates(
    scene: trimesh.Scene, asset: FaceAsset, model: FaceModel
) -> None:
    skins = [mesh for mesh in scene.geometry.values() if mesh.visual.material.name == "skin"]
    assert len(skins) == 1
    material = skins[0].visual.material
    assert material.metallicFactor == 0.0
    assert material.roughnessFactor == 0.5
    picture = np.asarray(material.baseColorTexture.convert("RGB"))
    expected = np.asarray(PillowImage.open(io.BytesIO(albedo_picture(asset, model))))
    np.testing.assert_array_equal(picture, expected)
    # trimesh turns v over, to have it point up.
    np.testing.assert_allclose(skins[0].visual.uv * [1, -1] + [0, 1], model.uv.numpy(), atol=1e-6)


def test_every_triangle_of_the_model_is_in_the_file_once(scene: trimesh.Scene, model: FaceModel) -> None:
    assert sum(len(mesh.faces) for mesh in scene.geometry.values()) == len(model.triangles)
    names = {geometry for _, geometry in (scene.graph[node] for node in scene.graph.nodes_geometry)}
    assert {next(o for o in OBJECTS if name.startswith(o)) for name in names} == OBJECTS


def test_eyes_stand_where_the_model_has_them(scene: trimesh.Scene, asset: FaceAsset, model: FaceModel) -> None:
    vertices = asset.vertices_world[0].numpy()
    sclera = np.unique(model.triangles.numpy()[model.triangle_part.numpy() == model.part_names.index("sclera")])
    for name, sign in (("eye_left", 1), ("eye_right", -1)):
        eye = world_mesh(scene, name)
        ours = vertices[sclera[vertices[sclera, 0] * sign > 0]]
        assert cKDTree(eye.vertices).query(ours)[0].max() < 1e-6
        assert cKDTree(vertices).query(eye.vertices)[0].max() < 1e-6
    document, _ = split_glb(export_glb(asset, model))
    moved = {node["name"]: node.get("translation") for node in document["nodes"]}
    assert moved["eye_left"][0] > 0.02 > -0.02 > moved["eye_right"][0]
    assert moved["head"] is None


def test_normals_are_unit_smooth_and_on_the_side_of_the_winding(glb: bytes) -> None:
    document, blob = split_glb(glb)
    for mesh in document["meshes"]:
        for primitive in mesh["primitives"]:
            positions = read_accessor(document, blob, primitive["attributes"]["POSITION"]).astype(float)
            normals = read_accessor(document, blob, primitive["attributes"]["NORMAL"]).astype(float)
            triangles = read_accessor(document, blob, primitive["indices"]).reshape(-1, 3)
            np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
            corners = positions[triangles]
            facing = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
            # Folds (lips, lids, nostrils) may turn a smooth normal away from a small triangle, but rarely.
            agree = (facing * normals[triangles].mean(axis=1)).sum(axis=1) > 0
            assert agree.mean() > 0.995


def test_normals_agree_across_the_seam(glb: bytes, model: FaceModel) -> None:
    document, blob = split_glb(glb)
    normals = read_accessor(document, blob, document["meshes"][0]["primitives"][0]["attributes"]["NORMAL"])
    source = model.uv_source.numpy()
    vertices, counts = np.unique(source, return_counts=True)
    doubled = vertices[counts > 1]
    assert len(doubled) > 10
    for vertex in doubled:
        copies = normals[source == vertex]
        np.testing.assert_array_equal(copies, np.broadcast_to(copies[0], copies.shape))


def test_outer_head_faces_outward(scene: trimesh.Scene) -> None:
    skins = [mesh for mesh in scene.geometry.values() if mesh.visual.material.name == "skin"]
    away = skins[0].triangles_center - skins[0].vertices.mean(axis=0)
    assert ((skins[0].face_normals * away).sum(axis=1) > 0).mean() > 0.8
    # Closing the neck (and the mouth and the eye sockets, which are small) leaves a positive volume of a head.
    assert 0.001 < skins[0].volume < 0.01


def test_eyeballs_are_watertight(scene: trimesh.Scene) -> None:
    eye = world_mesh(scene, "eye_left")
    eye.merge_vertices(merge_tex=True, merge_norm=True)
    # The back of the eyeball is left open; there is one hole and nothing else is torn.
    boundary = trimesh.grouping.group_rows(eye.edges_sorted, require_count=1)
    assert len(boundary) in {0, 32}
    assert eye.is_winding_consistent


def test_neutral_expression(asset: FaceAsset, model: FaceModel) -> None:
    document, blob = split_glb(export_glb(asset, model, ExportConfig(expression="neutral")))
    positions = read_accessor(document, blob, document["meshes"][0]["primitives"][0]["attributes"]["POSITION"])
    coefficients = asset.coefficients
    neutral = model.decode(coefficients.identity_coeffs, torch.zeros_like(coefficients.expression_coeffs))
    np.testing.assert_allclose(positions, neutral[0].numpy()[model.uv_source.numpy()], atol=1e-6)


def test_morph_targets_make_the_fitted_face(asset: FaceAsset, model: FaceModel) -> None:
    document, blob = split_glb(export_glb(asset, model, ExportConfig(morph_targets=True)))
    mesh = document["meshes"][0]
    assert mesh["extras"]["targetNames"] == list(model.expression_names)
    np.testing.assert_allclose(mesh["weights"], asset.coefficients.expression_coeffs[0], atol=1e-7)
    for primitive, source in zip(mesh["primitives"], (model.uv_source.numpy(), None), strict=False):
        base = read_accessor(document, blob, primitive["attributes"]["POSITION"]).astype(float)
        moved = base.copy()
        for weight, target in zip(mesh["weights"], primitive["targets"], strict=True):
            moved += weight * read_accessor(document, blob, target["POSITION"])
        if source is not None:
            # Offsets below 0.01 mm are not stored, so 51 units may sum to a little.
            np.testing.assert_allclose(moved, asset.vertices_world[0].numpy()[source], atol=5e-5)
        assert np.abs(moved - base).max() > 1e-3


def test_morph_normals_point_to_the_normals_of_the_moved_face(asset: FaceAsset, model: FaceModel) -> None:
    document, blob = split_glb(export_glb(asset, model, ExportConfig(morph_targets=True, morph_normals=True)))
    primitive = document["meshes"][0]["primitives"][0]
    unit = model.expression_names.index("jawOpen")
    rest = read_accessor(document, blob, primitive["attributes"]["NORMAL"])
    change = read_accessor(document, blob, primitive["targets"][unit]["NORMAL"])
    jaw = torch.zeros(1, model.n_expression)
    jaw[0, unit] = 1
    moved = model.normals(model.decode(asset.coefficients.identity_coeffs, jaw))[0].numpy()[model.uv_source.numpy()]
    np.testing.assert_allclose(rest + change, moved, atol=3e-3)
    assert np.abs(change).max() > 0.1


def test_same_input_same_bytes_and_nothing_is_changed(asset: FaceAsset, model: FaceModel) -> None:
    before = asset.uv_albedo.clone(), asset.vertices_world.clone()
    config = ExportConfig(morph_targets=True, glb_texture="jpeg")
    assert export_glb(asset, model, config) == export_glb(asset, model, config)
    assert torch.equal(before[0], asset.uv_albedo)
    assert torch.equal(before[1], asset.vertices_world)


def test_extras_and_iris_colour_are_kept(asset: FaceAsset, model: FaceModel) -> None:
    document, blob = split_glb(export_glb(asset, model, ExportConfig(iris_albedo=(0.02, 0.1, 0.3)), extras={"id": "a"}))
    assert document["asset"]["extras"] == {"id": "a"}
    eye = next(image for image in document["images"] if image["name"] == "eye")
    view = document["bufferViews"][eye["bufferView"]]
    picture = PillowImage.open(io.BytesIO(blob[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]))
    ring = np.asarray(picture)[256, 256 + 50]  # 12.5 degrees off the axis: iris
    assert ring[2] > 2 * ring[0]


def test_wrong_assets_are_refused(asset: FaceAsset, model: FaceModel) -> None:
    two = asset._map(lambda tensor: torch.cat([tensor, tensor]))
    with pytest.raises(ValueError, match="one face"):
        export_glb(two, model)
    broken = asset.vertices_world.clone()
    broken[0, 5, 1] = float("nan")
    with pytest.raises(ValueError, match="finite"):
        export_glb(replace(asset, vertices_world=broken), model)


@pytest.fixture
def triangle() -> Primitive:
    points = np.eye(3, dtype=np.float32)
    normal = np.full((3, 3), 3**-0.5, np.float32)
    return Primitive(points, normal, None, np.array([[0, 1, 2]]), Material("plain", ior=1.4))


def test_writer_refuses_what_does_not_fit(triangle: Primitive) -> None:
    with pytest.raises(ValueError, match="at least one object"):
        write_glb([], scene_name="s", generator="g")
    outside = replace(triangle, triangles=np.array([[0, 1, 3]]))
    with pytest.raises(ValueError, match="index its 3 vertices"):
        write_glb([MeshNode("n", (outside,))], scene_name="s", generator="g")
    with pytest.raises(ValueError, match="morph targets"):
        write_glb(
            [MeshNode("n", (triangle,), target_names=("a",), target_weights=(0.0,))], scene_name="s", generator="g"
        )
    with pytest.raises(ValueError, match="1 weights for 0"):
        write_glb([MeshNode("n", (triangle,), target_weights=(0.0,))], scene_name="s", generator="g")


def test_equal_materials_and_pictures_are_stored_once(triangle: Primitive) -> None:
    picture = Image("p", "image/png", b"not looked at")
    textured = Material("t", base_image=picture, occlusion_image=picture)
    uv = np.zeros((3, 2), np.float32)
    first, second = (replace(triangle, uv=uv, material=textured) for _ in range(2))
    document, _ = split_glb(write_glb([MeshNode("n", (first, second, triangle))], scene_name="s", generator="g"))
    assert [material["name"] for material in document["materials"]] == ["t", "plain"]
    assert len(document["images"]) == len(document["textures"]) == 1
    assert document["extensionsUsed"] == ["KHR_materials_ior"]
    assert document["materials"][1]["extensions"]["KHR_materials_ior"]["ior"] == 1.4


def test_large_meshes_get_wide_indices() -> None:
    count = 65536
    positions = np.random.default_rng(0).random((count, 3)).astype(np.float32)
    normals = np.tile(np.array([0, 0, 1], np.float32), (count, 1))
    triangles = np.array([[0, 1, 2], [count - 3, count - 2, count - 1]])
    deltas = np.zeros((1, count, 3), np.float32)
    deltas[0, count - 1] = 0.5
    primitive = Primitive(positions, normals, None, triangles, Material("m"), Morphs(deltas))
    node = MeshNode("n", (primitive,), target_names=("t",), target_weights=(0.25,))
    document, blob = split_glb(write_glb([node], scene_name="s", generator="g"))
    stored = document["meshes"][0]["primitives"][0]
    assert document["accessors"][stored["indices"]]["componentType"] == 5125
    np.testing.assert_array_equal(read_accessor(document, blob, stored["indices"]).reshape(-1, 3), triangles)
    np.testing.assert_array_equal(read_accessor(document, blob, stored["targets"][0]["POSITION"]), deltas[0])
