"""The landmark groups against MediaPipe's own tables and the 300-W layout."""

from __future__ import annotations

import pytest

from facealbedo.core.fit import landmark_groups as groups


@pytest.fixture(scope="module")
def connections() -> object:
    from mediapipe.python.solutions import face_mesh_connections

    return face_mesh_connections


@pytest.mark.parametrize(
    ("points", "table"),
    [
        (groups.MEDIAPIPE_OVAL, "FACEMESH_FACE_OVAL"),
        (groups.MEDIAPIPE_OUTER_LIPS + groups.MEDIAPIPE_INNER_LIPS, "FACEMESH_LIPS"),
        (groups.MEDIAPIPE_RIGHT_LIDS, "FACEMESH_RIGHT_EYE"),
        (groups.MEDIAPIPE_LEFT_LIDS, "FACEMESH_LEFT_EYE"),
        (groups.MEDIAPIPE_RIGHT_BROW, "FACEMESH_RIGHT_EYEBROW"),
        (groups.MEDIAPIPE_LEFT_BROW, "FACEMESH_LEFT_EYEBROW"),
        (groups.MEDIAPIPE_NOSE, "FACEMESH_NOSE"),
    ],
)
def test_groups_are_those_of_mediapipe(connections: object, points: tuple[int, ...], table: str) -> None:
    assert len(set(points)) == len(points)
    assert set(points) == {index for edge in getattr(connections, table) for index in edge}


@pytest.mark.parametrize(
    ("polygon", "table"),
    [
        (groups.MEDIAPIPE_OVAL, "FACEMESH_FACE_OVAL"),
        (groups.MEDIAPIPE_OUTER_LIPS, "FACEMESH_LIPS"),
        (groups.MEDIAPIPE_INNER_LIPS, "FACEMESH_LIPS"),
        (groups.MEDIAPIPE_RIGHT_LIDS, "FACEMESH_RIGHT_EYE"),
        (groups.MEDIAPIPE_LEFT_LIDS, "FACEMESH_LEFT_EYE"),
    ],
)
def test_polygons_follow_the_edges_of_the_mesh(connections: object, polygon: tuple[int, ...], table: str) -> None:
    edges = {frozenset(edge) for edge in getattr(connections, table)}
    closed = zip(polygon, polygon[1:] + polygon[:1], strict=True)
    assert all(frozenset(edge) in edges for edge in closed)


@pytest.mark.parametrize("layout", groups.LAYOUTS.values(), ids=list(groups.LAYOUTS))
def test_groups_share_no_point_and_leave_none_out(layout: groups.LandmarkLayout) -> None:
    together = [index for group in layout.groups.values() for index in group]
    assert sorted(together) == list(range(layout.n_surface))
    assert set(layout.inner) == set(range(layout.n_surface)) - set(layout.oval)
    assert {index for eye in layout.eye_corners for index in eye} <= set(layout.eyelids)


def test_layout_is_told_by_the_count() -> None:
    assert groups.layout_of(478) is groups.layout_of(468) is groups.MEDIAPIPE478
    assert groups.layout_of(68) is groups.IBUG68
    with pytest.raises(ValueError, match="no landmark layout has 70 points"):
        groups.layout_of(70)


@pytest.mark.parametrize("layout", groups.LAYOUTS.values(), ids=list(groups.LAYOUTS))
def test_mirror_pairs_points_of_the_same_group(layout: groups.LandmarkLayout) -> None:
    assert [layout.mirror[partner] for partner in layout.mirror] == list(range(layout.n_surface))
    for group in layout.groups.values():
        assert {layout.mirror[index] for index in group} == set(group)
    right, left = layout.eye_corners
    assert tuple(layout.mirror[index] for index in right) == left


def test_mirror_maps_the_mesh_of_mediapipe_onto_itself(connections: object) -> None:
    edges = {frozenset(edge) for edge in connections.FACEMESH_TESSELATION}
    partner = groups.MEDIAPIPE478.mirror
    missed = [edge for edge in edges if frozenset(partner[index] for index in edge) not in edges]
    assert len(missed) <= 6  # of 1,322: quads whose diagonals MediaPipe drew the same way on both sides
