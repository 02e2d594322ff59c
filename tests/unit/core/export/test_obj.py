from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from PIL import Image

from facealbedo.core.export.asset_files import export_obj
from facealbedo.core.export.config import ExportConfig
from facealbedo.core.export.obj import write_obj
from facealbedo.core.export.scene import Material, MeshNode, Primitive
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.types import FaceAsset


@pytest.fixture(scope="module")
def files(asset: FaceAsset, model: FaceModel) -> dict[str, bytes]:
    return export_obj(asset, model, ExportConfig(morph_targets=True))


def load(files: dict[str, bytes]) -> trimesh.Scene:

    class Memory(trimesh.resolvers.Resolver):
        def __init__(self) -> None:
            pass

        def get(self, name: str) -> bytes:
            return files[name]

        def write(self, name: str, data: bytes) -> None:
            raise NotImplementedError

        def namespaced(self, namespace: str) -> Memory:
            raise NotImplementedError

        def keys(self) -> list[str]:
            return list(files)

    return trimesh.load(
        io.BytesIO(files["face.obj"]), file_type="obj", resolver=Memory(), split_object=False, group_material=True,
        process=False, maintain_order=True,
    )  # fmt: skip


def test_trimesh_reads_geometry_coordinates_and_picture(
    files: dict[str, bytes], asset: FaceAsset, model: FaceModel
) -> None:
    scene = load(files)
    parts = {mesh.visual.material.name: mesh for mesh in scene.geometry.values()}
    skin = parts["skin"]
    expected = asset.vertices_world[0].numpy()[model.triangles.numpy()[: model.n_atlas_triangles]]
    np.testing.assert_allclose(skin.vertices[skin.faces], expected, atol=2e-6)
    uv = skin.visual.uv[skin.faces] * [1, -1] + [0, 1]
    np.testing.assert_allclose(uv, model.uv.numpy()[model.uv_triangles.numpy()], atol=2e-6)
    np.testing.assert_array_equal(
        np.asarray(skin.visual.material.image.convert("RGB")), np.asarray(Image.open(io.BytesIO(files["albedo.png"])))
    )
    assert {"skin", "cavity", "sclera", "iris", "pupil", "teeth", "tongue"} == set(parts)
    assert sum(len(mesh.faces) for mesh in parts.values()) == len(model.triangles)


def test_every_file_that_is_named_is_there(files: dict[str, bytes]) -> None:
    lines = files["face.mtl"].decode().splitlines()
    named = {line.split()[1] for line in lines if line.startswith("map_Kd")}
    assert named == {"albedo.png", "eye.png"}
    assert "mtllib face.mtl" in files["face.obj"].decode()
    assert set(files) == {"face.obj", "face.mtl", *named}


def test_materials_of_one_name_must_be_one() -> None:
    points, normals = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)
    first = Primitive(points, normals, None, np.array([[0, 1, 2]]), Material("m"))
    node = MeshNode("n", (first, replace(first, material=Material("m", roughness=0.1))))
    with pytest.raises(ValueError, match="two different materials"):
        write_obj([node])


def test_faces_index_the_right_rows() -> None:
    points = np.eye(3, dtype=np.float32)
    uv = np.array([[0, 0], [1, 0], [0, 1]], np.float32)
    plain = Primitive(points, points, None, np.array([[0, 1, 2]]), Material("a"))
    mapped = replace(plain, uv=uv, triangles=np.array([[2, 1, 0]]), material=Material("b"))
    text = write_obj([MeshNode("n", (plain, mapped), translation=(1.0, 0.0, 0.0))])["face.obj"].decode()
    assert [line for line in text.splitlines() if line.startswith("f ")] == ["f 1//1 2//2 3//3", "f 6/3/6 5/2/5 4/1/4"]
    assert "v 2.000000 0.000000 0.000000" in text
    assert "vt 0.000000 1.000000" in text
