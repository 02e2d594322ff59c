"""The landmark fit on faces with known answers, and what must not change it."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor

from facealbedo.core.fit.landmark_groups import MEDIAPIPE478
from facealbedo.core.fit.landmarks import (
    LandmarkBasis,
    LandmarkFit,
    LandmarkFitConfig,
    LandmarkRow,
    fit_landmarks,
    fit_many,
    landmark_scale,
    landmark_weights,
    nme_percent,
)
from facealbedo.core.geometry.projection import project, world_to_view
from facealbedo.core.geometry.rotations import euler_degrees_to_matrix, rotation_angle_degrees
from facealbedo.core.types import Landmarks, Pose

# The priors weigh nothing against landmarks without noise: the answer has to be the truth.
EXACT = LandmarkFitConfig(data_weight=1e7, tolerance=1e-9, max_iterations=100, huber_sigmas=1e4)


def _fit(
    basis: LandmarkBasis, points: Tensor, principal: Tensor, config: LandmarkFitConfig | None = None
) -> LandmarkFit:
    return fit_landmarks(basis, Landmarks(points, points.new_ones(len(points))), principal, (400, 512), config)


def _noise(points: Tensor, part_of_scale: float, seed: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(points.shape, generator=generator, dtype=points.dtype)
    return points + part_of_scale * landmark_scale(points)[:, None, None] * noise


def test_exact_landmarks_give_back_the_face(synthetic: LandmarkBasis, face_maker) -> None:
    points, coefficients, pose, camera = face_maker(synthetic, 12, turn=40.0)
    fit = _fit(synthetic, points, camera.principal_px, EXACT)
    assert fit.converged.all()
    assert fit.nme_percent.max() < 1e-3
    torch.testing.assert_close(fit.coefficients.identity_coeffs, coefficients.identity_coeffs, atol=5e-3, rtol=0)
    torch.testing.assert_close(fit.coefficients.expression_coeffs, coefficients.expression_coeffs, atol=5e-3, rtol=0)
    assert rotation_angle_degrees(fit.pose.rotation, pose.rotation).max() < 0.05
    torch.testing.assert_close(fit.pose.translation, pose.translation, atol=2e-3, rtol=0)
    torch.testing.assert_close(fit.camera.focal_px, camera.focal_px, atol=0, rtol=5e-3)


@pytest.mark.parametrize("roll", [0.0, 90.0, 180.0, -120.0])
@pytest.mark.parametrize("yaw", [-60.0, 0.0, 60.0])
def test_any_turn_of_the_head_is_found(synthetic_dense: LandmarkBasis, face_maker, yaw: float, roll: float) -> None:
    _, coefficients, pose, camera = face_maker(synthetic_dense, 3)
    angles = (torch.full((3,), angle, dtype=torch.float64) for angle in (yaw, 10.0, roll))
    rotation = euler_degrees_to_matrix(*angles)
    pivot_view = pose.rotation @ synthetic_dense.pivot + pose.translation
    turned = Pose(rotation, pivot_view - rotation @ synthetic_dense.pivot)
    points = project(world_to_view(synthetic_dense.decode(coefficients), turned), camera)
    fit = _fit(synthetic_dense, points, camera.principal_px, EXACT)
    assert rotation_angle_degrees(fit.pose.rotation, rotation).max() < 0.1
    assert fit.yaw_degrees.tolist() == pytest.approx([yaw] * 3, abs=0.1)


def test_result_is_consistent_with_itself(synthetic: LandmarkBasis, face_maker) -> None:
    points, _, _, camera = face_maker(synthetic, 4)
    points = _noise(points, 0.01)
    fit = _fit(synthetic, points, camera.principal_px)
    projected = project(world_to_view(synthetic.decode(fit.coefficients), fit.pose), fit.camera)
    torch.testing.assert_close(fit.landmarks_px, projected)
    torch.testing.assert_close(fit.residuals_px, projected - points)
    torch.testing.assert_close(fit.nme_percent, nme_percent(projected, points))
    torch.testing.assert_close(torch.linalg.det(fit.pose.rotation), torch.ones(4, dtype=torch.float64))
    pivot_view = world_to_view(synthetic.pivot.expand(4, 1, 3), fit.pose)[:, 0]
    torch.testing.assert_close(fit.distance_m, -pivot_view[:, 2])
    expression = fit.coefficients.expression_coeffs
    assert ((expression >= 0) & (expression <= 1)).all()
    assert (fit.camera.height, fit.camera.width) == (400, 512)


def test_scale_and_nme_in_closed_form() -> None:
    points = torch.rand(1, 478, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 40 + 30
    points[:, 0], points[:, 1] = torch.tensor([0.0, 0.0]), torch.tensor([300.0, 400.0])  # box with a diagonal of 500
    points[:, 468:] = 9999.0  # irises do not count
    points[:, [33, 133]] = torch.tensor([[100.0, 100.0], [140.0, 100.0]], dtype=torch.float64)
    for eye_x, expected in ((180.0, 0.28 * 500), (350.0, 250.0)):
        points[:, [263, 362]] = torch.tensor([[eye_x + 20, 100.0], [eye_x + 20, 100.0]], dtype=torch.float64)
        assert landmark_scale(points).item() == pytest.approx(expected)
    moved = points.clone()
    moved[:, list(MEDIAPIPE478.oval)] += 1000.0  # the oval does not count
    moved[:, 4] += torch.tensor([30.0, 40.0])
    assert nme_percent(moved, points).item() == pytest.approx(100 * 50 / (468 - 36) / 250)


def test_weights_follow_group_and_spread(synthetic_dense: LandmarkBasis) -> None:
    spread = torch.full((468,), 2.5, dtype=torch.float64)
    weights = landmark_weights(dataclasses.replace(synthetic_dense, spread_mm=spread), LandmarkFitConfig())
    groups = MEDIAPIPE478.groups
    for name, factor in (("oval", 0.25), ("lips", 3.0), ("eyelids", 2.0), ("brows", 1.0), ("other", 1.0)):
        assert weights[list(groups[name])].tolist() == pytest.approx([factor / 2] * len(groups[name]))


def test_moving_or_enlarging_the_picture_changes_nothing(real_basis: LandmarkBasis, face_maker) -> None:
    points, _, _, camera = face_maker(real_basis, 4)
    points = _noise(points, 0.01)
    config = LandmarkFitConfig(tolerance=1e-9)
    fit = _fit(real_basis, points, camera.principal_px, config)
    # A crop, enlarged: the principal point moves along.
    moved = _fit(real_basis, (points - 77.0) * 3.0, (camera.principal_px - 77.0) * 3.0, config)
    torch.testing.assert_close(moved.coefficients.identity_coeffs, fit.coefficients.identity_coeffs, atol=1e-3, rtol=0)
    torch.testing.assert_close(moved.pose.rotation, fit.pose.rotation, atol=1e-5, rtol=0)
    torch.testing.assert_close(moved.pose.translation, fit.pose.translation, atol=1e-4, rtol=0)
    torch.testing.assert_close(moved.camera.focal_px, 3 * fit.camera.focal_px, atol=0, rtol=1e-3)
    torch.testing.assert_close(moved.nme_percent, fit.nme_percent, atol=1e-4, rtol=0)


def test_a_crop_that_forgot_its_photo_keeps_the_shape(real_basis: LandmarkBasis, face_maker) -> None:
    """The prior is on the distance, not on the field of view: a tight crop does not make a near face."""
    points, _, _, camera = face_maker(real_basis, 6, turn=10.0)
    fit = _fit(real_basis, _noise(points, 0.005), camera.principal_px)
    middle = points.mean(dim=1)
    cropped = _fit(real_basis, _noise(points, 0.005), middle)
    vertices, other = (real_basis.decode(f.coefficients) for f in (fit, cropped))
    assert ((vertices - other).norm(dim=-1).mean(dim=1) < 0.0007).all()  # metres
    torch.testing.assert_close(cropped.distance_m, fit.distance_m, atol=0, rtol=0.1)


def test_mirrored_landmarks_give_the_mirrored_face(real_basis: LandmarkBasis, face_maker) -> None:
    from facealbedo.assets import load_face_model

    model = load_face_model()
    partner = torch.tensor(MEDIAPIPE478.mirror)
    # The embedding is stored in single precision: make it exactly symmetric, so that the comparison can be sharp.
    flip = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    parity = model.identity_parity.double()[:, None, None]
    basis = dataclasses.replace(
        real_basis,
        mean=(real_basis.mean + real_basis.mean[partner] * flip) / 2,
        identity=(real_basis.identity + parity * real_basis.identity[:, partner] * flip) / 2,
        expression=(real_basis.expression + real_basis.expression[model.expression_mirror][:, partner] * flip) / 2,
        spread_mm=(real_basis.spread_mm + real_basis.spread_mm[partner]) / 2,
    )
    assert (basis.identity - real_basis.identity).abs().max() < 1e-3  # metres: it was nearly symmetric before
    points, _, _, camera = face_maker(basis, 4)
    points = _noise(points, 0.01)
    config = LandmarkFitConfig(tolerance=1e-10)
    fit = _fit(basis, points, camera.principal_px, config)
    mirrored_points = torch.stack((512 - points[:, partner, 0], points[:, partner, 1]), dim=-1)
    mirrored_principal = torch.stack((512 - camera.principal_px[:, 0], camera.principal_px[:, 1]), dim=-1)
    mirrored = _fit(basis, mirrored_points, mirrored_principal, config)
    identity, expression = model.mirror_coefficients(
        fit.coefficients.identity_coeffs.float(), fit.coefficients.expression_coeffs.float()
    )
    torch.testing.assert_close(mirrored.coefficients.identity_coeffs.float(), identity, atol=5e-3, rtol=0)
    torch.testing.assert_close(mirrored.coefficients.expression_coeffs.float(), expression, atol=5e-3, rtol=0)
    torch.testing.assert_close(mirrored.yaw_degrees, -fit.yaw_degrees, atol=0.01, rtol=0)
    torch.testing.assert_close(mirrored.roll_degrees, -fit.roll_degrees, atol=0.01, rtol=0)
    torch.testing.assert_close(mirrored.pitch_degrees, fit.pitch_degrees, atol=0.01, rtol=0)
    torch.testing.assert_close(mirrored.nme_percent, fit.nme_percent, atol=1e-3, rtol=0)


def test_noise_moves_the_face_little(real_basis: LandmarkBasis, face_maker) -> None:
    points, _, pose, camera = face_maker(real_basis, 10, expression=0.5)
    fit = _fit(real_basis, _noise(points, 0.015), camera.principal_px)  # 0.9 mm on a face
    assert fit.converged.all()
    assert fit.iterations.max() < 20
    assert rotation_angle_degrees(fit.pose.rotation, pose.rotation).max() < 3.5
    error = (fit.landmarks_px - points).norm(dim=-1).mean(dim=1) / fit.scale_px
    assert error.max() < 0.009  # fitted landmarks are nearer to the truth than the noisy ones (0.019) by far
    assert (nme_percent(fit.landmarks_px, points) < 0.5 * nme_percent(_noise(points, 0.015), points)).all()


def test_outliers_are_overruled(real_basis: LandmarkBasis, face_maker) -> None:
    points, _, _, camera = face_maker(real_basis, 6, expression=0.5)
    points = _noise(points, 0.005)
    generator = torch.Generator().manual_seed(1)
    outliers = torch.rand(points.shape[:2], generator=generator) < 0.1
    shift = 0.4 * landmark_scale(points)[:, None, None]
    dirty = torch.where(outliers[..., None], points + shift, points)
    clean_fit = _fit(real_basis, points, camera.principal_px)
    fit = _fit(real_basis, dirty, camera.principal_px)
    squares = _fit(real_basis, dirty, camera.principal_px, LandmarkFitConfig(huber_sigmas=1e6))

    def moved(other: LandmarkFit) -> Tensor:
        return (other.landmarks_px - clean_fit.landmarks_px).norm(dim=-1).mean(dim=1) / clean_fit.scale_px

    assert moved(fit).max() < 0.03
    assert (moved(fit) < 0.5 * moved(squares)).all()
    assert rotation_angle_degrees(fit.pose.rotation, clean_fit.pose.rotation).max() < 3.0


@pytest.mark.parametrize("name", ["jawOpen", "mouthSmileLeft", "eyeBlinkRight"])
def test_a_strong_expression_is_found_from_a_neutral_start(real_basis: LandmarkBasis, name: str, face_maker) -> None:
    """With the loss ratio as gradient weight of Huber's loss, smiles stayed at neutral."""
    from facealbedo.assets import load_face_model

    unit = load_face_model().expression_names.index(name)
    _, coefficients, pose, camera = face_maker(real_basis, 4, turn=15.0)
    expression = torch.zeros_like(coefficients.expression_coeffs)
    expression[:, unit] = 0.9
    coefficients = dataclasses.replace(coefficients, expression_coeffs=expression)
    points = project(world_to_view(real_basis.decode(coefficients), pose), camera)
    fit = _fit(real_basis, points, camera.principal_px)
    assert fit.nme_percent.max() < 0.7
    assert fit.coefficients.expression_coeffs[:, unit].min() > 0.45
    assert (fit.coefficients.expression_coeffs.argmax(dim=1) == unit).all()


def test_distance_follows_its_prior_when_landmarks_do_not_tell(synthetic_dense: LandmarkBasis, face_maker) -> None:
    points, _, _, camera = face_maker(synthetic_dense, 4, turn=3.0, expression=0.0)
    vague = LandmarkFitConfig(data_weight=1e-4, distance_m=1.3)
    assert _fit(synthetic_dense, points, camera.principal_px, vague).distance_m.tolist() == pytest.approx(
        [1.3] * 4, rel=0.05
    )


def test_a_batch_is_the_sum_of_its_faces(real_basis: LandmarkBasis, face_maker) -> None:
    points, _, _, camera = face_maker(real_basis, 5)
    points = _noise(points, torch.tensor([0.0, 0.002, 0.01, 0.03, 0.1]).max().item() / 5)
    together = _fit(real_basis, points, camera.principal_px)
    for index in range(5):
        alone = _fit(real_basis, points[index : index + 1], camera.principal_px[index : index + 1])
        one = together[index : index + 1]
        assert torch.equal(alone.iterations, one.iterations)
        torch.testing.assert_close(alone.landmarks_px, one.landmarks_px, atol=1e-3, rtol=0)
        torch.testing.assert_close(
            alone.coefficients.identity_coeffs, one.coefficients.identity_coeffs, atol=1e-3, rtol=0
        )


def test_result_has_the_type_of_the_landmarks(real_basis: LandmarkBasis, face_maker) -> None:
    points, _, _, camera = face_maker(real_basis, 2)
    fit = _fit(real_basis, points, camera.principal_px)
    single = _fit(real_basis, points.float(), camera.principal_px.float())
    assert single.pose.rotation.dtype == single.coefficients.identity_coeffs.dtype == torch.float32
    assert fit.pose.rotation.dtype == torch.float64
    torch.testing.assert_close(single.landmarks_px.double(), fit.landmarks_px, atol=0.01, rtol=0)


def test_irises_are_not_looked_at(real_basis: LandmarkBasis, face_maker) -> None:
    points, _, _, camera = face_maker(real_basis, 1)
    with_irises = torch.cat((points, torch.full((1, 10, 2), 1e4, dtype=torch.float64)), dim=1)
    expected = _fit(real_basis, points, camera.principal_px)
    result = _fit(real_basis, with_irises, camera.principal_px)
    assert torch.equal(result.landmarks_px, expected.landmarks_px)


def test_albedo_coefficients_are_zero(real_basis: LandmarkBasis, face_maker) -> None:
    points, _, _, camera = face_maker(real_basis, 2)
    fit = fit_landmarks(real_basis, Landmarks(points, points.new_ones(2)), camera.principal_px, (4, 5), n_albedo=7)
    assert torch.equal(fit.coefficients.albedo_coeffs, torch.zeros(2, 7, dtype=torch.float64))


def test_bad_landmarks_are_refused(synthetic_dense: LandmarkBasis, face_maker) -> None:
    points, _, _, camera = face_maker(synthetic_dense, 3)
    broken = points.clone()
    broken[1, 100, 0] = torch.nan
    with pytest.raises(ValueError, match=r"faces \[1\]"):
        _fit(synthetic_dense, broken, camera.principal_px)
    broken[1] = 50.0
    with pytest.raises(ValueError, match=r"faces \[1\]"):
        _fit(synthetic_dense, broken, camera.principal_px)
    with pytest.raises(ValueError, match="ibug68 landmarks cannot be fitted"):
        _fit(synthetic_dense, points[:, :68], camera.principal_px)


def test_stream_of_photos(synthetic_dense: LandmarkBasis, face_maker) -> None:
    points, _, _, camera = face_maker(synthetic_dense, 10)
    taken = []

    def rows():
        for index in range(10):
            taken.append(index)
            yield LandmarkRow(f"photo {index}", points[index], camera.principal_px[index], (100 + index, 200))

    stream = fit_many(synthetic_dense, rows(), batch_size=4, n_albedo=2)
    key, first = next(stream)
    assert key == "photo 0"
    assert len(taken) == 5  # a batch and the row that showed it was full: nothing more is read or held
    keys, fits = zip((key, first), *stream, strict=True)
    assert keys == tuple(f"photo {index}" for index in range(10))
    expected = _fit(synthetic_dense, points, camera.principal_px)
    for index, fit in enumerate(fits):
        assert fit.nme_percent.shape == (1,)
        assert (fit.camera.height, fit.camera.width) == (100 + index, 200)
        torch.testing.assert_close(fit.landmarks_px, expected.landmarks_px[index : index + 1], atol=1e-3, rtol=0)
        assert fit.coefficients.albedo_coeffs.shape == (1, 2)


def test_stream_may_mix_layouts(face_maker) -> None:
    from facealbedo.assets import load_face_model
    from facealbedo.core.fit.landmarks import landmark_basis

    model = load_face_model()
    rows = []
    for kind, count in (("mediapipe478", 2), ("ibug68", 1), ("mediapipe478", 1)):
        points, _, _, camera = face_maker(landmark_basis(model, kind), count, turn=10.0)
        rows += [LandmarkRow(kind, points[i], camera.principal_px[i], (400, 512)) for i in range(count)]
    fits = list(fit_many(model, rows))
    assert [fit.landmarks_px.shape[1] for _, fit in fits] == [468, 468, 68, 468]
    assert max(fit.nme_percent.item() for _, fit in fits) < 1.0


def test_empty_stream_and_bad_batch_size(synthetic_dense: LandmarkBasis) -> None:
    assert list(fit_many(synthetic_dense, iter(()))) == []
    with pytest.raises(ValueError, match="batch_size"):
        next(fit_many(synthetic_dense, iter(()), batch_size=0))
    assert next(itertools.chain(fit_many(synthetic_dense, iter(())), ["end"])) == "end"


@pytest.mark.gpu
def test_same_on_cuda(real_basis: LandmarkBasis, face_maker) -> None:
    points, _, _, camera = face_maker(real_basis, 6)
    points = _noise(points, 0.01)
    expected = _fit(real_basis, points, camera.principal_px)
    result = _fit(real_basis, points.cuda(), camera.principal_px.cuda())
    assert result.landmarks_px.device.type == "cuda"
    torch.testing.assert_close(result.landmarks_px.cpu(), expected.landmarks_px, atol=0.01, rtol=0)
    torch.testing.assert_close(result.nme_percent.cpu(), expected.nme_percent, atol=0.01, rtol=0)
