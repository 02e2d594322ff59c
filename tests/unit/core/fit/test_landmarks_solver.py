"""The solver's parts against autograd and scipy."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.optimize
import torch

from facealbedo.core.fit.landmarks import LandmarkBasis
from facealbedo.core.fit.landmarks_solver import (
    N_POSE,
    Damping,
    Problem,
    State,
    bounded_step,
    evaluate,
    minimise,
    normal_equations,
    weighted_jacobian,
)
from facealbedo.core.geometry.projection import project, world_to_view
from facealbedo.core.types import Camera, FaceCoefficients, Pose

DAMPING = Damping(
    initial=1e-3, increase=6.0, decrease=5.0, smallest=1e-6, max_trials=12, tolerance=1e-12, bound_sweeps=4
)


def _problem(basis: LandmarkBasis, landmarks: torch.Tensor, camera: Camera, noise: float = 0.0) -> Problem:
    generator = torch.Generator().manual_seed(9)
    target = landmarks - camera.principal_px[:, None]
    target = target + noise * torch.randn(target.shape, generator=generator, dtype=target.dtype)
    n_identity, n_expression = len(basis.identity), len(basis.expression)
    free = torch.full((n_identity,), torch.inf, dtype=torch.float64)
    return Problem(
        target=target.transpose(1, 2),
        point_weights=0.2 + 0.3 * torch.rand(target.shape[:2], generator=generator, dtype=torch.float64),
        robust_scale=1.7,
        mean=(basis.mean - basis.pivot).T,
        shape_basis=torch.cat((basis.identity, basis.expression)).transpose(1, 2).contiguous(),
        shape_precision=torch.cat((torch.ones_like(free), torch.full((n_expression,), 8.0, dtype=torch.float64))),
        lower=torch.cat((-free, torch.zeros(n_expression, dtype=torch.float64))),
        upper=torch.cat((free, torch.ones(n_expression, dtype=torch.float64))),
        huber=1.5,
        log_distance_mean=float(np.log(0.6)),
        log_distance_sigma=0.25,
    )


def _state(coefficients: FaceCoefficients, pose: Pose, camera: Camera, basis: LandmarkBasis) -> State:
    pivot_view = pose.rotation @ basis.pivot + pose.translation
    distance = -pivot_view[:, 2]
    return State(
        rotation=pose.rotation,
        offset=pivot_view[:, :2],
        log_scale=(camera.focal_px / distance).log(),
        log_distance=distance.log(),
        shape=torch.cat((coefficients.identity_coeffs, coefficients.expression_coeffs), dim=1),
    )


def test_projection_is_that_of_the_package(synthetic_dense: LandmarkBasis, face_maker) -> None:
    landmarks, coefficients, pose, camera = face_maker(synthetic_dense, 4)
    state = _state(coefficients, pose, camera, synthetic_dense)
    at = evaluate(_problem(synthetic_dense, landmarks, camera), state)
    expected = project(world_to_view(synthetic_dense.decode(coefficients), pose), camera)
    torch.testing.assert_close(at.projected.transpose(1, 2) + camera.principal_px[:, None], expected)


def test_cost_is_the_huber_loss_of_scipy(synthetic_dense: LandmarkBasis, face_maker) -> None:
    landmarks, coefficients, pose, camera = face_maker(synthetic_dense, 1)
    problem = _problem(synthetic_dense, landmarks, camera, noise=4.0)
    state = _state(coefficients, pose, camera, synthetic_dense)
    at = evaluate(problem, state)
    lengths = (at.projected - problem.target).norm(dim=1)[0] * problem.point_weights[0]
    # In units of robust standard deviations, huber(z) of scipy.special is half of the squared loss.
    deviations = (lengths * problem.robust_scale).numpy()
    data = 2 * scipy.special.huber(problem.huber, deviations).sum() / problem.robust_scale**2
    assert (deviations > problem.huber).mean() > 0.1  # both branches are in use
    prior = (state.shape[0] ** 2 * problem.shape_precision).sum().item()
    distance = ((state.log_distance[0].item() - np.log(0.6)) / 0.25) ** 2
    assert at.cost.item() == pytest.approx(data + prior + distance, rel=1e-10)


def test_gradient_and_jacobian_agree_with_autograd(synthetic_dense: LandmarkBasis, face_maker) -> None:
    landmarks, coefficients, pose, camera = face_maker(synthetic_dense, 3)
    problem = _problem(synthetic_dense, landmarks, camera, noise=4.0)
    problem = dataclasses.replace(problem, lower=problem.lower - 1)  # no clamping at 0, which has no derivative
    state = _state(coefficients, pose, camera, synthetic_dense)
    zero = torch.zeros(3, N_POSE + state.shape.shape[1], dtype=torch.float64)

    cost = torch.autograd.functional.jacobian(lambda s: evaluate(problem, state.moved(s, problem)).cost.sum(), zero)
    _, half_gradient = normal_equations(problem, state, evaluate(problem, state))
    torch.testing.assert_close(2 * half_gradient, cost, rtol=1e-4, atol=1e-5 * cost.abs().max().item())

    def projections(step: torch.Tensor) -> torch.Tensor:
        return evaluate(problem, state.moved(step, problem)).projected.sum(dim=0)  # faces do not depend on each other

    at = evaluate(problem, state)
    expected = torch.autograd.functional.jacobian(projections, zero).permute(2, 3, 0, 1) * at.weights[:, None, None]
    result = weighted_jacobian(problem, state, at).double()
    for column in range(result.shape[1]):
        size = expected[:, column].abs().max().item()
        assert size > 0
        torch.testing.assert_close(result[:, column], expected[:, column], rtol=1e-4, atol=1e-5 * size)


@pytest.mark.parametrize("seed", range(5))
def test_bounded_step_is_the_minimum_that_scipy_finds(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    n = 25
    factor = torch.randn(4, n, 2 * n, generator=generator, dtype=torch.float64)
    matrix = factor @ factor.transpose(1, 2) / n + 0.1 * torch.eye(n, dtype=torch.float64)
    gradient = 3 * torch.randn(4, n, generator=generator, dtype=torch.float64)
    lowest = -torch.rand(4, n, generator=generator, dtype=torch.float64)
    lowest[:, :5], lowest[:, 5:10] = -torch.inf, 0.0
    highest = torch.where(lowest.isinf(), torch.inf, 1 + lowest)
    step = bounded_step(matrix, gradient, lowest, highest, sweeps=20)
    for index in range(4):
        # min |R x + R^-T g|² has the same minimum; scipy solves it exactly within bounds.
        root = np.linalg.cholesky(matrix[index].numpy()).T
        goal = -np.linalg.solve(root.T, gradient[index].numpy())
        bounds = (lowest[index].numpy() - 1e-15, highest[index].numpy() + 1e-15)
        expected = scipy.optimize.lsq_linear(root, goal, bounds, method="bvls", tol=1e-14)
        np.testing.assert_allclose(step[index].numpy(), expected.x, atol=1e-8)
        assert 3 < expected.active_mask.astype(bool).sum() < n  # bounds matter here


def test_bounded_step_keeps_the_bounds_when_sweeps_run_out() -> None:
    matrix = torch.tensor([[[1.0, 0.9], [0.9, 1.0]]], dtype=torch.float64)
    gradient = torch.tensor([[-5.0, 4.0]], dtype=torch.float64)
    lowest, highest = torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    step = bounded_step(matrix, gradient, lowest, highest, sweeps=1)
    assert ((step >= lowest) & (step <= highest)).all()


def test_minimum_is_the_one_of_scipy(synthetic_dense: LandmarkBasis, face_maker) -> None:
    landmarks, coefficients, pose, camera = face_maker(synthetic_dense, 3, expression=2.5)
    problem = _problem(synthetic_dense, landmarks, camera, noise=4.0)
    state = _state(coefficients, pose, camera, synthetic_dense)
    start = dataclasses.replace(state, shape=torch.zeros_like(state.shape))
    solution = minimise(problem, start, DAMPING, 100)
    assert solution.converged.all()
    at_bound = (solution.state.shape == problem.lower) | (solution.state.shape == problem.upper)
    assert at_bound.sum() >= 3
    limits = zip(problem.lower.tolist(), problem.upper.tolist(), strict=True)
    bounds = [(None, None)] * N_POSE + [(max(low, -1e3), min(high, 1e3)) for low, high in limits]
    for index in range(3):
        row = torch.tensor([index])
        single, origin = problem.take(row), start[index : index + 1]

        def cost(step: np.ndarray, single: Problem = single, origin: State = origin) -> tuple[float, np.ndarray]:
            tensor = torch.from_numpy(step)[None].requires_grad_()
            value = evaluate(single, origin.moved(tensor, single)).cost.sum()
            (gradient,) = torch.autograd.grad(value, tensor)
            return value.item(), gradient[0].numpy()

        found = scipy.optimize.minimize(
            cost, np.zeros(len(bounds)), jac=True, bounds=bounds, method="L-BFGS-B",
            options={"maxiter": 5000, "maxfun": 20000, "ftol": 1e-15, "gtol": 1e-8, "maxcor": 50},
        )  # fmt: skip
        assert solution.cost[index].item() == pytest.approx(found.fun, rel=1e-5)
        np.testing.assert_allclose(solution.state.shape[index].numpy(), found.x[N_POSE:], atol=0.01)


def test_points_behind_the_camera_are_never_accepted(synthetic_dense: LandmarkBasis, face_maker) -> None:
    landmarks, coefficients, pose, camera = face_maker(synthetic_dense, 1)
    problem = _problem(synthetic_dense, landmarks, camera)
    state = _state(coefficients, pose, camera, synthetic_dense)
    near = dataclasses.replace(state, log_distance=torch.full_like(state.log_distance, np.log(0.01)))
    assert evaluate(problem, near).cost.isinf().all()
    assert evaluate(problem, state).cost.isfinite().all()
