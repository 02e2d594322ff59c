"""The embedded face model: decoding, mirroring, landmarks, parts, and its file."""

from __future__ import annotations

import dataclasses
import json
import time

import numpy as np
import pytest
import safetensors.numpy
import torch

from facealbedo.core.face_model.basis import ARKIT_NAMES, mirrored_name
from facealbedo.core.face_model.head import EYEBALL_RINGS, IRIS_DEGREES, N_EYEBALL_VERTICES, PUPIL_DEGREES
from facealbedo.core.face_model.model import FORMAT, FaceModel, FaceModelError, StoredFaceModel


def random_coefficients(model: FaceModel, count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    identity = 0.5 * torch.randn(count, model.n_identity, generator=generator)
    return identity, torch.rand(count, model.n_expression, generator=generator)


def eyeballs(model: FaceModel) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertices of the left and the right eyeball, front pole first, back pole last."""
    parts = torch.cat([model.part_vertices[name] for name in ("sclera", "iris", "pupil")]).unique()
    left, right = parts.split(N_EYEBALL_VERTICES)
    return left, right


def test_decoding_is_the_subdivided_base_level(face_model: FaceModel) -> None:
    """Decode at the base level in float64 with numpy, then subdivide: another order of operations."""
    from facealbedo.core.face_model.head import surface_matrix

    identity, expression = random_coefficients(face_model, 3)
    stored = face_model.stored
    base = (
        stored.base_mean.astype(np.float64)
        + np.einsum("bk,kvc->bvc", identity.double().numpy(), stored.base_identity.astype(np.float64))
        + np.einsum("bk,kvc->bvc", expression.double().numpy(), stored.base_expression.astype(np.float64))
    )
    skin, oral = stored.skin_quads.astype(np.int64), stored.oral_quads.astype(np.int64)
    surface = surface_matrix(skin, int(skin.max()) + 1, oral, int(oral.max()) + 1)
    expected = np.stack([surface @ points for points in base])
    np.testing.assert_allclose(face_model.decode(identity, expression).numpy(), expected, atol=1e-6)


def test_decode_is_linear_differentiable_and_batched(face_model: FaceModel) -> None:
    model = face_model.to(dtype=torch.float64)
    identity, expression = (c.double() for c in random_coefficients(model, 2))
    both = model.decode(identity, expression)
    alone = torch.cat([model.decode(identity[i : i + 1], expression[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(both, alone, atol=1e-12, rtol=0)
    identity.requires_grad_()
    weight = torch.randn(both.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((model.decode(identity, expression) * weight).sum(), identity)
    torch.testing.assert_close(gradient, torch.einsum("bvc,kvc->bk", weight, model.identity_basis))


def test_wrong_numbers_of_coefficients_are_named(face_model: FaceModel) -> None:
    with pytest.raises(ValueError, match=r"\[batch, 80\] identity.*got \(1, 79\)"):
        face_model.decode(torch.zeros(1, 79), torch.zeros(1, face_model.n_expression))


def test_frame_and_scale(face_model: FaceModel) -> None:
    left, right = eyeballs(face_model)
    centres = torch.stack([(face_model.mean[eye[0]] + face_model.mean[eye[-1]]) / 2 for eye in (left, right)])
    torch.testing.assert_close(centres, torch.tensor([[0.0315, 0, 0], [-0.0315, 0, 0]]), atol=1e-6, rtol=0)
    height = face_model.mean[:, 1].max() - face_model.landmarks(face_model.mean[None])[0, 152, 1]
    assert 0.20 < height < 0.26, "crown to chin of an adult (0.23 m)"
    nose = face_model.landmarks(face_model.mean[None])[0, 4]
    assert nose[2] > 0.03
    assert abs(nose[0]) < 1e-5


def test_skin_is_one_sheet_open_at_the_neck_only(face_model: FaceModel, edges_of) -> None:
    triangles, part = face_model.triangles.numpy(), face_model.triangle_part.numpy()
    names = list(face_model.part_names)
    skin = triangles[part <= names.index("cavity")]
    euler = {}
    for name, chosen in {"skin": skin, "eyes": triangles[(part >= 2) & (part <= 4)]}.items():
        euler[name] = len(np.unique(chosen)) - len(edges_of(chosen)) + len(chosen)
    assert euler == {"skin": 1, "eyes": 4}, "a disc; two spheres"
    edges = edges_of(skin)
    label = np.arange(face_model.n_vertices)
    for _ in range(400):
        before = label.copy()
        np.minimum.at(label, edges[:, 0], label[edges[:, 1]])
        np.minimum.at(label, edges[:, 1], label[edges[:, 0]])
        label = label[label]
        if (label == before).all():
            break
    assert len(np.unique(label[np.unique(skin)])) == 1


def test_triangles_come_in_the_promised_order(face_model: FaceModel) -> None:
    part = face_model.triangle_part
    assert (part[:-1] <= part[1:]).all()
    assert face_model.part_names == ("skin", "cavity", "sclera", "iris", "pupil", "teeth", "tongue")
    assert int((part == 0).sum()) == face_model.n_atlas_triangles
    assert (part.unique() == torch.arange(7)).all()


def test_neck_border_is_smooth(face_model: FaceModel) -> None:
    """The border turns by a few degrees from edge to edge, not by the right angles of a jagged cut."""
    triangles = face_model.triangles[face_model.triangle_part <= 1].numpy()
    directed = triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    back = {(b, a) for a, b in directed.tolist()}
    following = {a: b for a, b in directed.tolist() if (a, b) not in back}
    loop = [next(iter(following))]
    while following[loop[-1]] != loop[0]:
        loop.append(following[loop[-1]])
    assert len(loop) == len(following) == 84
    points = face_model.mean[loop].double()
    step = torch.nn.functional.normalize(points.roll(-1, 0) - points, dim=1)
    turn = torch.rad2deg(torch.acos((step * step.roll(-1, 0)).sum(1).clamp(-1, 1)))
    assert turn.max() < 40
    assert turn.mean() < 10
    assert points[:, 1].max() < -0.13


def test_mirrored_coefficients_decode_to_the_mirror_image(face_model: FaceModel) -> None:
    identity, expression = random_coefficients(face_model, 4)
    vertices = face_model.decode(identity, expression)
    mirrored = face_model.decode(*face_model.mirror_coefficients(identity, expression))
    # Sums in another order: float32 rounding of coordinates of 0.2 m.
    torch.testing.assert_close(mirrored, face_model.mirror_vertices(vertices), atol=1e-6, rtol=0)
    torch.testing.assert_close(
        face_model.mirror_vertices(face_model.mirror_vertices(vertices)), vertices, atol=0, rtol=0
    )
    assert (vertices - mirrored).abs().max() > 1e-3, "asymmetric coefficients must make asymmetric faces"


def test_mirror_maps_are_involutions_that_keep_the_triangles(face_model: FaceModel) -> None:
    everyone = torch.arange(face_model.n_vertices)
    assert torch.equal(face_model.vertex_mirror[face_model.vertex_mirror], everyone)
    assert torch.equal(face_model.uv_mirror[face_model.uv_mirror], torch.arange(len(face_model.uv)))
    assert torch.equal(face_model.uv_source[face_model.uv_mirror], face_model.vertex_mirror[face_model.uv_source])
    flipped = face_model.vertex_mirror[face_model.triangles].sort(dim=1).values
    rows = {tuple(row) for row in face_model.triangles.sort(dim=1).values.tolist()}
    assert all(tuple(row) in rows for row in flipped.tolist())


def test_expression_units_are_arkit_s_and_pair_up(face_model: FaceModel) -> None:
    from mediapipe.tasks.python.vision.face_landmarker import Blendshapes

    google = {shape.name.lower().replace("_", "") for shape in Blendshapes} - {"neutral"}
    # MediaPipe leaves tongueOut away.
    assert {name.lower() for name in ARKIT_NAMES} == google | {"tongueout"}
    assert set(ARKIT_NAMES) - set(face_model.expression_names) == {"tongueOut"}
    for index, name in enumerate(face_model.expression_names):
        partner = int(face_model.expression_mirror[index])
        assert face_model.expression_names[partner] == mirrored_name(name)
        torch.testing.assert_close(
            face_model.mirror_vertices(face_model.expression_basis[index][None])[0],
            face_model.expression_basis[partner],
            atol=1e-7,
            rtol=0,
        )


@pytest.mark.parametrize(
    ("unit", "vertex_of", "axis", "sign", "least_mm"),
    [
        ("jawOpen", 152, 1, -1, 20.0),
        ("eyeBlinkLeft", 386, 1, -1, 4.0),
        ("eyeBlinkRight", 159, 1, -1, 4.0),
        ("mouthSmileLeft", 291, 1, 1, 4.0),
        ("mouthSmileRight", 61, 1, 1, 4.0),
        ("browInnerUp", 9, 1, 1, 2.0),
        ("mouthPucker", 291, 0, -1, 2.0),
        ("jawLeft", 152, 0, 1, 2.0),
        ("eyeLookInLeft", 473, 0, -1, 2.0),
        ("eyeLookUpRight", 468, 1, 1, 2.0),
    ],
)
def test_expression_units_move_what_their_names_say(
    face_model: FaceModel, unit: str, vertex_of: int, axis: int, sign: int, least_mm: float
) -> None:
    """Left is the subject's left, +x; the landmark's numbers are FaceMesh's."""
    basis = face_model.landmarks(face_model.expression_basis[[face_model.expression_names.index(unit)]])
    assert sign * 1e3 * float(basis[0, vertex_of, axis]) > least_mm


def test_landmarks_lie_on_the_surface(face_model: FaceModel) -> None:
    for kind, count in (("mediapipe478", 478), ("ibug68", 68)):
        triangles, weights = face_model.landmark_triangles[kind], face_model.landmark_barycentrics[kind]
        assert len(triangles) == count
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(count))
        assert weights.min() >= 0
        parts = face_model.triangle_part[triangles]
        assert (parts[:468] == 0).all(), "surface landmarks lie on the outer skin"
        assert face_model.landmark_spread_mm[kind].min() > 0
        identity, expression = random_coefficients(face_model, 2)
        vertices = face_model.decode(identity, expression)
        mean, by_identity, by_expression = face_model.landmark_basis(kind)
        expected = mean + torch.einsum("bk,klc->blc", identity, by_identity)
        expected = expected + torch.einsum("bk,klc->blc", expression, by_expression)
        torch.testing.assert_close(face_model.landmarks(vertices, kind), expected, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="unknown landmarks 'dlib'"):
        face_model.landmarks(face_model.mean[None], "dlib")


def test_landmarks_are_where_anatomy_has_them(face_model: FaceModel) -> None:
    points = 1e3 * face_model.landmarks(face_model.mean[None])[0]
    flat = points[[10, 151, 168, 4, 2, 0, 17, 152], 1]
    assert (flat[:-1] > flat[1:]).all(), "forehead, brow, root and tip of the nose, lips, chin from top to bottom"
    assert points[33, 0] < points[133, 0] < 0 < points[362, 0] < points[263, 0], (
        "eye corners, the subject's right first"
    )
    iris = points[468:478].reshape(2, 5, 3)
    assert (iris[0, :, 0] < 0).all()
    assert (iris[:, 1, 0] > iris[:, 3, 0]).all(), "first border point to the image's right"
    assert (iris[:, 2, 1] > iris[:, 4, 1]).all()
    diameter = torch.linalg.vector_norm(iris[:, 1] - iris[:, 3], dim=1)
    np.testing.assert_allclose(diameter, 11.7, atol=0.2)
    ibug = 1e3 * face_model.landmarks(face_model.mean[None], "ibug68")[0]
    assert (ibug[:17, 0].diff() > 0).all(), "the jaw runs from the subject's right to the left"
    spacing = torch.linalg.vector_norm(ibug[:17].diff(dim=0), dim=1)
    assert spacing.max() < 2.5 * spacing.min()


def test_eyeballs_are_spheres_that_follow_identity_rigidly(face_model: FaceModel) -> None:
    identity, _ = random_coefficients(face_model, 50)
    vertices = face_model.decode(identity, torch.zeros(50, face_model.n_expression))
    for eye in eyeballs(face_model):
        ball = vertices[:, eye]
        centre = (ball[:, :1] + ball[:, -1:]) / 2
        radius = torch.linalg.vector_norm(ball - centre, dim=-1)
        assert (radius - radius.mean(dim=1, keepdim=True)).abs().max() < 5e-6
        assert radius.mean(dim=1).std() > 1e-4
        axis = torch.nn.functional.normalize(ball[:, 0] - centre[:, 0], dim=-1)
        assert axis[:, 2].min() > 0.99999, "identity never turns an eye"
    look = torch.zeros(1, face_model.n_expression)
    look[0, face_model.expression_names.index("eyeLookInLeft")] = 1.0
    ball = face_model.decode(torch.zeros(1, face_model.n_identity), look)[0, eyeballs(face_model)[0]]
    axis = torch.nn.functional.normalize(ball[0] - ball[-1], dim=0)
    assert 10 < torch.rad2deg(torch.acos(axis[2])) < 45
    assert axis[0] < 0, "the left eye looks towards the nose"


def test_iris_and_pupil_are_clean_rings(face_model: FaceModel) -> None:
    left, _ = eyeballs(face_model)
    ball = face_model.mean[left]
    centre = (ball[0] + ball[-1]) / 2
    polar = torch.rad2deg(torch.acos(torch.nn.functional.normalize(face_model.mean - centre, dim=1)[:, 2]))
    for name, low, high in (
        ("pupil", 0.0, PUPIL_DEGREES),
        ("iris", PUPIL_DEGREES, IRIS_DEGREES),
        ("sclera", IRIS_DEGREES, 180.0),
    ):
        vertices = face_model.part_vertices[name]
        angles = polar[vertices[torch.isin(vertices, left)]]
        assert angles.min() == pytest.approx(low, abs=0.02)
        assert angles.max() == pytest.approx(high, abs=0.02)
    assert IRIS_DEGREES in EYEBALL_RINGS
    assert PUPIL_DEGREES in EYEBALL_RINGS


def test_lids_rest_on_the_eyeballs(face_model: FaceModel) -> None:
    """The visible lid stays outside the eyeball (MakeHuman's touches it in places), the rim's inner side dips in."""
    identity, _ = random_coefficients(face_model, 100)
    vertices = face_model.decode(identity, torch.zeros(100, face_model.n_expression))
    left, _ = eyeballs(face_model)
    centre = (vertices[:, left[:1]] + vertices[:, left[-1:]]) / 2
    radius = torch.linalg.vector_norm(vertices[:, left[:1]] - centre, dim=-1)
    side = face_model.uv[:, 0] > 0.5
    visible = side & (face_model.region("lids") > 0.5) & (face_model.region("eye_rims") < 0.5)
    rim = side & (face_model.region("eye_rims") > 0.9)
    height = {
        name: 1e3 * (torch.linalg.vector_norm(vertices[:, face_model.uv_source[mask]] - centre, dim=-1) - radius)
        for name, mask in (("visible", visible), ("rim", rim))
    }
    assert height["visible"].min() > -2.0
    assert (height["visible"] < 0).float().mean() < 0.05
    assert (height["rim"].amin(dim=1) < 0).all(), "every eye is closed around by lid"


def test_normals_point_outward(face_model: FaceModel) -> None:
    normals = face_model.normals(face_model.mean[None])[0]
    torch.testing.assert_close(torch.linalg.vector_norm(normals, dim=1), torch.ones(face_model.n_vertices))
    crown, tip = face_model.mean[:, 1].argmax(), face_model.mean[:, 2].argmax()
    assert normals[crown, 1] > 0.9
    assert normals[tip, 2] > 0.5
    left, _ = eyeballs(face_model)
    outward = torch.nn.functional.normalize(face_model.mean[left] - torch.tensor([0.0315, 0, 0]), dim=1)
    assert (normals[left] * outward).sum(dim=1).min() > 0.98


def test_bytes_round_trip_is_exact(face_model: FaceModel) -> None:
    data = face_model.to_bytes()
    assert data == FaceModel.from_bytes(data).to_bytes()
    assert len(data) < 6e6
    again = StoredFaceModel.from_bytes(data)
    for item in dataclasses.fields(again):
        value, expected = getattr(again, item.name), getattr(face_model.stored, item.name)
        if isinstance(value, np.ndarray):
            assert value.dtype == expected.dtype
            np.testing.assert_array_equal(value, expected)
        elif item.name != "landmarks":
            assert value == expected


def test_loading_and_decoding_are_quick(face_model: FaceModel) -> None:
    """Generous limits, for a machine that is busy: measured 0.1 s and 1 ms."""
    data = face_model.to_bytes()
    start = time.perf_counter()
    model = FaceModel.from_bytes(data)
    assert time.perf_counter() - start < 2.0
    identity, expression = random_coefficients(model, 1)
    durations = []
    for _ in range(5):
        start = time.perf_counter()
        model.decode(identity, expression)
        durations.append(time.perf_counter() - start)
    assert min(durations) < 0.05


def change(model: FaceModel, **tables: np.ndarray) -> bytes:
    """The model's file with some tables replaced, written without any check."""
    data = model.to_bytes()
    metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    return safetensors.numpy.save({**safetensors.numpy.load(data), **tables}, metadata)


@pytest.mark.parametrize("share", [0.0, 1e-6, 0.1, 0.5, 0.999999])
def test_truncated_files_are_refused(face_model: FaceModel, share: float) -> None:
    data = face_model.to_bytes()
    with pytest.raises(FaceModelError, match="not a complete safetensors file"):
        FaceModel.from_bytes(data[: int(share * len(data))])


def test_other_files_are_refused(face_model: FaceModel) -> None:
    with pytest.raises(FaceModelError, match="not a complete"):
        FaceModel.from_bytes(b"some text that is no model at all, but long enough for a header")
    with pytest.raises(FaceModelError, match="not a face model"):
        FaceModel.from_bytes(safetensors.numpy.save({"a": np.zeros(3)}))
    with pytest.raises(FaceModelError, match="metadata should have"):
        FaceModel.from_bytes(safetensors.numpy.save({"a": np.zeros(3)}, {FORMAT: "{}"}))
    with pytest.raises(FaceModelError, match="metadata"):
        FaceModel.from_bytes(safetensors.numpy.save({"a": np.zeros(3)}, {FORMAT: "no json"}))


def test_damaged_tables_are_named(face_model: FaceModel) -> None:
    stored = face_model.stored
    wild = stored.triangles.copy()
    wild[7, 1] = face_model.n_vertices
    nan = stored.base_mean.copy()
    nan[3, 0] = np.nan
    cases = {
        "triangles has indexes": {"triangles": wild},
        "base_mean has values that are not finite": {"base_mean": nan},
        "uv_source has shape": {"uv": stored.uv[:-1]},
        "base_identity has shape": {"base_identity": stored.base_identity[:, :-1]},
        "uv_mirror has shape": {"uv_mirror": stored.uv_mirror[:-1]},
        "region_weights has shape .* and type float32": {"region_weights": stored.region_weights.astype(np.float32)},
        "mediapipe478.triangles has indexes": {"mediapipe478.triangles": np.full(478, 60000, dtype=np.uint16)},
        "do not have the same length": {"ibug68.spread_mm": np.ones(3, dtype=np.float32)},
        "do not sum to 1": {"ibug68.barycentrics": np.ones((68, 3), dtype=np.float32)},
        "quads": {"skin_quads": np.zeros_like(stored.skin_quads)},
    }
    for message, tables in cases.items():
        with pytest.raises(FaceModelError, match=message):
            FaceModel.from_bytes(change(face_model, **tables))


def test_a_missing_table_is_named(face_model: FaceModel) -> None:
    data = face_model.to_bytes()
    metadata = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    tensors = safetensors.numpy.load(data)
    del tensors["uv_source"]
    with pytest.raises(FaceModelError, match="lacks the table 'uv_source'"):
        FaceModel.from_bytes(safetensors.numpy.save(tensors, metadata))


def test_flipped_bytes_never_crash_otherwise(face_model: FaceModel) -> None:
    """Any damage is either refused with the one error or leaves a model whose tables fit together."""
    data = bytearray(face_model.to_bytes())
    generator = np.random.default_rng(0)
    for place in [*generator.integers(0, 3000, 12), *generator.integers(3000, len(data), 6)]:
        damaged = data.copy()
        damaged[place] ^= 0xFF
        try:
            model = FaceModel.from_bytes(bytes(damaged))
        except FaceModelError:
            continue
        assert model.basis.shape[1:] == (model.n_vertices, 3)


def test_to_moves_and_converts_everything(face_model: FaceModel) -> None:
    double = face_model.to(dtype=torch.float64)
    assert double.mean.dtype == double.uv.dtype == double.landmark_barycentrics["ibug68"].dtype == torch.float64
    assert double.triangles.dtype == torch.int64
    assert face_model.mean.dtype == torch.float32
    assert double.normals(double.mean[None]).dtype == torch.float64


@pytest.mark.gpu
def test_decodes_on_the_gpu(face_model: FaceModel) -> None:
    identity, expression = random_coefficients(face_model, 3)
    model = face_model.to("cuda")
    decoded = model.decode(identity.cuda(), expression.cuda())
    assert decoded.device.type == "cuda"
    torch.testing.assert_close(decoded.cpu(), face_model.decode(identity, expression), atol=1e-5, rtol=0)
