"""Region masks: symmetric, where they should be, and their distance function against matplotlib's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.path import Path as PolygonPath

from facealbedo.core.face_model.build import lip_paint
from facealbedo.core.face_model.makehuman import MakeHumanData
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.face_model.regions import REGION_DESCRIPTIONS, _signed_distance

REQUIRED = {"skin", "lips", "lids", "brows", "nose", "ears", "scalp", "neck", "face", "core_skin", "cheeks", "forehead"}
REQUIRED |= {"chin", "under_eye", "beard", "nostrils", "eye_rims"}


def at_landmark(model: FaceModel, region: str, landmark: int) -> float:
    triangle = model.landmark_triangles["mediapipe478"][landmark]
    corners = model.region(region)[model.uv_triangles[triangle]]
    return float((corners * model.landmark_barycentrics["mediapipe478"][landmark]).sum())


def test_every_region_is_there(face_model: FaceModel) -> None:
    assert set(face_model.region_names) == REQUIRED == set(REGION_DESCRIPTIONS)
    with pytest.raises(ValueError, match="unknown region 'tail'"):
        face_model.region("tail")


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_masks_are_symmetric_and_soft(face_model: FaceModel, name: str) -> None:
    mask = face_model.region(name)
    assert torch.equal(mask, mask[face_model.uv_mirror])
    assert mask.min() == 0
    assert mask.max() > 0.99
    # The two copies of a seam vertex agree, or the back would show a line.
    by_vertex = torch.full((face_model.n_vertices,), -1.0)
    by_vertex[face_model.uv_source] = mask
    assert torch.equal(by_vertex[face_model.uv_source], mask)


@pytest.mark.parametrize(
    ("landmark", "inside", "outside"),
    [
        (4, ["nose", "skin", "face", "core_skin"], ["lips", "neck", "scalp", "cheeks", "beard"]),
        (151, ["forehead", "skin", "face"], ["brows", "nose", "scalp"]),
        (105, ["brows", "skin", "face"], ["core_skin", "lids"]),
        (334, ["brows"], ["core_skin", "forehead"]),
        (280, ["cheeks", "face", "core_skin"], ["nose", "lips", "ears", "under_eye"]),
        (50, ["cheeks"], ["ears"]),
        (199, ["chin", "beard"], ["lips", "neck"]),
        (0, [], ["nose", "cheeks", "scalp"]),
        (12, ["lips"], ["skin", "core_skin", "beard"]),
        (15, ["lips"], ["skin", "chin"]),
        (230, ["under_eye", "face"], ["lips", "nose", "brows"]),
        (159, ["lids", "face"], ["core_skin", "brows"]),
        (164, ["beard"], ["lips", "nostrils"]),
    ],
)
def test_landmarks_lie_in_their_regions(
    face_model: FaceModel, landmark: int, inside: list[str], outside: list[str]
) -> None:
    for name in inside:
        assert at_landmark(face_model, name, landmark) > 0.5, name
    for name in outside:
        assert at_landmark(face_model, name, landmark) < 0.5, name


def test_crown_nape_ears_and_throat(face_model: FaceModel) -> None:
    place = face_model.mean[face_model.uv_source]
    crown, back = place[:, 1].argmax(), place[:, 2].argmin()
    bottom, ear = place[:, 1].argmin(), (place[:, 0] * (place[:, 1] > -0.05)).argmax()
    for name, vertex in (("scalp", crown), ("scalp", back), ("neck", bottom), ("ears", ear)):
        assert face_model.region(name)[vertex] > 0.99
    assert face_model.region("ears")[place[:, 0].abs() < 0.05].max() == 0
    # Scalp, neck and ears share the head with the face; none lies inside it.
    for name in ("scalp", "neck", "ears"):
        overlap = face_model.region(name) * (face_model.region("core_skin") > 0.5)
        assert overlap.max() < 0.1, name


def test_parts_hardly_overlap(face_model: FaceModel) -> None:
    for one, other in (("lips", "nose"), ("brows", "lids"), ("lips", "lids"), ("scalp", "neck"), ("nostrils", "lips")):
        assert (face_model.region(one) * face_model.region(other)).max() < 0.3, (one, other)


def test_lips_agree_with_makehuman_s_own_lip_mask(face_model: FaceModel, makehuman: MakeHumanData) -> None:
    """The region is a polygon of detected landmarks; MakeHuman's mask was painted by its authors.

    Lips measure about 50 by 18 mm: an outline that is off by 1 mm all around costs 0.16 of the overlap.
    """
    painted = lip_paint(makehuman, face_model.vertex_mirror.numpy())[face_model.uv_source.numpy()] > 0.5
    ours = face_model.region("lips").numpy() > 0.5
    assert (painted & ours).sum() / (painted | ours).sum() > 0.75


def test_signed_distance_of_a_polygon() -> None:
    generator = np.random.default_rng(0)
    angle = np.sort(generator.uniform(0, 2 * np.pi, 9))
    polygon = np.stack([np.cos(angle), np.sin(angle)], axis=1) * generator.uniform(0.3, 1.0, (9, 1))
    points = generator.uniform(-1.2, 1.2, (500, 2))
    distance = _signed_distance(points, polygon)
    np.testing.assert_array_equal(distance > 0, PolygonPath(polygon).contains_points(points))
    # Dense samples of the border bound the distance from above, closely.
    t = np.linspace(0, 1, 601)[:, None, None]
    border = (polygon * (1 - t) + np.roll(polygon, -1, axis=0) * t).reshape(-1, 2)
    nearest = np.linalg.norm(points[:, None] - border[None], axis=-1).min(axis=1)
    np.testing.assert_allclose(np.abs(distance), nearest, atol=2e-3)
