"""Batched, bounded Levenberg-Marquardt on 2D landmarks; the working part of `facealbedo.core.fit.landmarks`.

Each face has its own damping and is accepted or rejected by ``torch.where``; the same code runs on a CPU and on CUDA.
State, residuals and cost are float64. The Jacobian and the normal matrix are float32, which is twice as fast: they only
shape the step, and the cost that accepts or rejects it is exact.

Parameters of a face, in this order: rotation (3, an increment on the left, radians), offset of the face from the
camera's axis (2, metres), log of the scale f / d (px per metre), log of the distance d (metres), then the shape
coefficients. Scale and distance instead of focal length and distance: landmarks fix the first sharply and the second
hardly at all, and separate columns keep the normal matrix well conditioned.

With q = R y, y the point relative to the pivot, a landmark lies at

    h = e^s (q_x + o_x, -(q_y + o_y)) / k,   k = 1 - q_z / d,

relative to the principal point. That is the pinhole camera of `facealbedo.core.types` with f = e^s d and the pivot at
(o_x, o_y, -d).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facealbedo.core.geometry.rotations import axis_angle_to_matrix
from facealbedo.core.types import TensorRecord

N_POSE = 7
DISTANCE_LIMITS_M = (0.2, 20.0)
"""Nearer, the perspective of a head has a pole; farther, it cannot be told from none."""


@dataclass(frozen=True)
class Damping:
    """How the search is steered; the meanings are in `facealbedo.core.fit.landmarks.LandmarkFitConfig`."""

    initial: float
    increase: float
    decrease: float
    smallest: float
    max_trials: int
    tolerance: float
    bound_sweeps: int


@dataclass(frozen=True)
class Problem:
    """What is fitted to what.

    Attributes:
        target: Landmarks relative to the principal point, px, y down.
        point_weights: Square root of each point's weight over its standard deviation, 1/px, without robustness.
        robust_scale: Multiplies the length of a weighted residual to give it in standard deviations.
        mean: The landmarks at zero coefficients, relative to the pivot, world frame, metres.
        shape_basis: What a unit of each coefficient adds to ``mean``.
        shape_precision: Inverse variances of the coefficients under their priors (means are 0).
        lower, upper: Bounds of the coefficients, possibly infinite.
        huber: Where Huber's loss turns linear, in standard deviations.
        log_distance_mean, log_distance_sigma: Normal prior of the log of the distance in metres.
    """

    target: Float[Tensor, "batch 2 landmark"]
    point_weights: Float[Tensor, "batch landmark"]
    robust_scale: float
    mean: Float[Tensor, "3 landmark"]
    shape_basis: Float[Tensor, "shape 3 landmark"]
    shape_precision: Float[Tensor, "shape"]
    lower: Float[Tensor, "shape"]
    upper: Float[Tensor, "shape"]
    huber: float
    log_distance_mean: float
    log_distance_sigma: float

    def take(self, rows: Int[Tensor, "taken"]) -> Problem:
        """Return the problem of these faces of the batch."""
        return replace(self, target=self.target[rows], point_weights=self.point_weights[rows])

    def pose_only(self) -> Problem:
        """Return the problem without shape coefficients."""
        return replace(
            self,
            shape_basis=self.shape_basis[:0],
            shape_precision=self.shape_precision[:0],
            lower=self.lower[:0],
            upper=self.upper[:0],
        )


@dataclass(frozen=True)
class State(TensorRecord):
    """A point of the search for each face; the module's text names the parameters."""

    rotation: Float[Tensor, "batch 3 3"]
    offset: Float[Tensor, "batch 2"]
    log_scale: Float[Tensor, "batch"]
    log_distance: Float[Tensor, "batch"]
    shape: Float[Tensor, "batch shape"]

    def moved(self, step: Float[Tensor, "batch parameter"], problem: Problem) -> State:
        """Return the state after a step, with shape and distance kept inside their bounds."""
        lowest, highest = (math.log(limit) for limit in DISTANCE_LIMITS_M)
        return State(
            rotation=axis_angle_to_matrix(step[:, :3]) @ self.rotation,
            offset=self.offset + step[:, 3:5],
            log_scale=self.log_scale + step[:, 5],
            log_distance=(self.log_distance + step[:, 6]).clamp(lowest, highest),
            shape=torch.minimum(torch.maximum(self.shape + step[:, N_POSE:], problem.lower), problem.upper),
        )


@dataclass(frozen=True)
class Evaluation(TensorRecord):
    """A state seen through the camera.

    Attributes:
        rotated: q, metres.
        projected: h, px relative to the principal point.
        inverse_depth: 1 / k.
        weights: The problem's point weights times the square root of Huber's weight, 1/px.
        cost: Robust squared residuals plus the priors.
    """

    rotated: Float[Tensor, "batch 3 landmark"]
    projected: Float[Tensor, "batch 2 landmark"]
    inverse_depth: Float[Tensor, "batch 1 landmark"]
    weights: Float[Tensor, "batch landmark"]
    cost: Float[Tensor, "batch"]


@dataclass(frozen=True)
class Solution(TensorRecord):
    """Where the search of each face ended, after how many trial steps, and whether it had converged by then."""

    state: State
    cost: Float[Tensor, "batch"]
    iterations: Int[Tensor, "batch"]
    converged: Bool[Tensor, "batch"]


@dataclass(frozen=True)
class _Search(TensorRecord):
    """The faces still searched: their places in the batch, where they are, their damping, rejections in a row."""

    rows: Int[Tensor, "active"]
    state: State
    at: Evaluation
    factor: Float[Tensor, "active"]
    rejections: Int[Tensor, "active"]
    arrived: Bool[Tensor, "active"]


_Record = TypeVar("_Record", bound=TensorRecord)


def _take(record: _Record, rows: Int[Tensor, "taken"]) -> _Record:
    """Return the record of these faces of the batch."""
    return record._map(lambda tensor: tensor[rows])


def _choose(mask: Bool[Tensor, "batch"], record: _Record, other: _Record) -> _Record:
    """Return, for each face, ``record`` where the mask is true and ``other`` elsewhere."""
    return type(record)(
        *(
            torch.where(mask.reshape(-1, *(1,) * (mine.ndim - 1)), mine, theirs)
            for mine, theirs in ((getattr(record, f.name), getattr(other, f.name)) for f in fields(record))  # type: ignore[arg-type]
        )
    )


def evaluate(problem: Problem, state: State) -> Evaluation:
    """Project the landmarks and sum up the cost; not finite or meaningless cost only where k <= 0 (see `minimise`)."""
    count = problem.mean.shape[-1]
    points = torch.addmm(problem.mean.flatten(), state.shape, problem.shape_basis.flatten(1)).unflatten(1, (3, count))
    rotated = state.rotation @ points
    k = 1 - rotated[:, 2:] * torch.exp(-state.log_distance)[:, None, None]
    flip = torch.tensor([1.0, -1.0], dtype=k.dtype, device=k.device)
    scale = torch.exp(state.log_scale)[:, None] * flip
    projected = (rotated[:, :2] + state.offset[:, :, None]) * (scale[:, :, None] / k)

    error = projected - problem.target
    length = torch.hypot(error[:, 0], error[:, 1]) * problem.point_weights
    deviations = length * problem.robust_scale
    huber_weight = problem.huber / deviations.clamp_min(problem.huber)  # 1 inside, huber / r outside
    data_cost = (length**2 * huber_weight * (2 - huber_weight)).sum(dim=1)
    prior_cost = state.shape**2 @ problem.shape_precision
    distance_cost = ((state.log_distance - problem.log_distance_mean) / problem.log_distance_sigma) ** 2
    behind = (k <= 0).any(dim=2)[:, 0]
    cost = torch.where(behind, torch.inf, data_cost + prior_cost + distance_cost)
    # Huber's loss has the gradient of a square weighted by huber / r: the *loss* ratio in its place pulls too weakly.
    return Evaluation(rotated, projected, 1 / k, problem.point_weights * huber_weight.sqrt(), cost)


def normal_equations(
    problem: Problem, state: State, at: Evaluation
) -> tuple[Float[Tensor, "batch parameter parameter"], Float[Tensor, "batch parameter"]]:
    """Return the Gauss-Newton matrix and half the gradient of the cost."""
    jacobian = weighted_jacobian(problem, state, at).flatten(2)
    residuals = ((at.projected - problem.target) * at.weights[:, None]).flatten(1).to(jacobian.dtype)
    matrix = (jacobian @ jacobian.transpose(1, 2)).to(at.cost.dtype)
    gradient = (jacobian @ residuals[..., None])[..., 0].to(at.cost.dtype)

    distance_precision = problem.log_distance_sigma**-2
    precision = torch.cat((matrix.new_zeros(N_POSE), problem.shape_precision))
    precision[N_POSE - 1] = distance_precision
    matrix.diagonal(dim1=1, dim2=2).add_(precision)
    gradient[:, N_POSE:] += state.shape * problem.shape_precision
    gradient[:, N_POSE - 1] += distance_precision * (state.log_distance - problem.log_distance_mean)
    return matrix, gradient


def weighted_jacobian(problem: Problem, state: State, at: Evaluation) -> Float[Tensor, "batch parameter 2 landmark"]:
    """Return the derivatives of the weighted projections by the parameters, in closed form and float32."""
    batch, count = at.weights.shape
    single = torch.float32
    jacobian = torch.empty(batch, N_POSE + state.shape.shape[1], 2, count, dtype=single, device=at.weights.device)
    qx, qy, qz = at.rotated.to(single).unbind(dim=1)
    projected = (at.projected * at.weights[:, None]).to(single)
    magnification = (torch.exp(state.log_scale)[:, None] * at.inverse_depth[:, 0] * at.weights).to(single)
    by_depth = projected * (at.inverse_depth * torch.exp(-state.log_distance)[:, None, None]).to(single)  # dh / dq_z
    zero = torch.zeros_like(magnification)

    # dh / dq has the rows (m, 0, b_x) and (0, -m, b_y); an increment w of the rotation moves q by w x q.
    turned = magnification * qz
    jacobian[:, 0] = by_depth * qy[:, None] + torch.stack((zero, turned), dim=1)
    jacobian[:, 1] = torch.stack((turned, zero), dim=1) - by_depth * qx[:, None]
    jacobian[:, 2] = torch.stack((-magnification * qy, -magnification * qx), dim=1)
    jacobian[:, 3] = torch.stack((magnification, zero), dim=1)
    jacobian[:, 4] = torch.stack((zero, -magnification), dim=1)
    jacobian[:, 5] = projected
    jacobian[:, 6] = -by_depth * qz[:, None]

    # dh / dy = (dh / dq) R, and y is linear in the coefficients.
    rotation = state.rotation.to(single)
    lateral = torch.stack((magnification, -magnification), dim=1)[:, :, None]
    by_point = lateral * rotation[:, :2, :, None] + by_depth[:, :, None] * rotation[:, 2, None, :, None]
    basis = problem.shape_basis.to(single)
    shape = jacobian[:, N_POSE:]
    torch.mul(by_point[:, None, :, 0], basis[:, 0, None], out=shape)
    shape.addcmul_(by_point[:, None, :, 1], basis[:, 1, None])
    shape.addcmul_(by_point[:, None, :, 2], basis[:, 2, None])
    return jacobian


def bounded_step(
    matrix: Float[Tensor, "batch parameter parameter"],
    gradient: Float[Tensor, "batch parameter"],
    lowest: Float[Tensor, "batch parameter"],
    highest: Float[Tensor, "batch parameter"],
    sweeps: int,
) -> Float[Tensor, "batch parameter"]:
    """Minimise ``step @ matrix @ step / 2 + gradient @ step`` between ``lowest`` <= 0 and ``highest`` >= 0.

    Primal-dual active set: parameters that would cross a bound are pinned to it, pinned ones whose multiplier points
    inward are freed, and the rest is solved again, at most ``sweeps`` times. The result always keeps the bounds; it is
    the exact minimum if the sets came to rest, which takes two or three sweeps as a rule.
    """
    at_lowest = (lowest >= 0) & (gradient > 0)
    at_highest = (highest <= 0) & (gradient < 0)
    step = torch.zeros_like(gradient)
    for _ in range(sweeps):
        pinned = at_lowest | at_highest
        goal = torch.where(at_lowest, lowest, torch.where(at_highest, highest, 0.0))
        rest = gradient + (matrix @ goal[..., None])[..., 0]
        free = (~pinned).to(matrix.dtype)
        reduced = matrix * (free[:, :, None] * free[:, None, :])
        reduced.diagonal(dim1=1, dim2=2).add_(pinned)
        factor, _ = torch.linalg.cholesky_ex(reduced)
        step = torch.cholesky_solve((-rest * free)[..., None], factor)[..., 0] + goal
        multiplier = gradient + (matrix @ step[..., None])[..., 0]
        next_lowest = torch.where(at_lowest, multiplier > 0, step < lowest)
        next_highest = torch.where(at_highest, multiplier < 0, step > highest)
        if torch.equal(next_lowest, at_lowest) and torch.equal(next_highest, at_highest):
            break
        at_lowest, at_highest = next_lowest, next_highest
    return torch.minimum(torch.maximum(step, lowest), highest)


@torch.no_grad()
def minimise(problem: Problem, start: State, damping: Damping, max_iterations: int) -> Solution:
    """Run Levenberg-Marquardt until every face has converged, is stuck, or has made ``max_iterations`` trial steps.

    A face has converged when an accepted step, damped by no more than 1, lowers its cost C by less than
    ``damping.tolerance`` times 1 + C (the 1, about one landmark off by its standard deviation, is for landmarks that
    can be met exactly); it is stuck after ``damping.max_trials`` rejections in a row. Finished faces drop out of the
    computation. A trial whose cost is not finite (a point behind the camera, a step that could not be solved for) is
    rejected like any other bad one.
    """
    at = evaluate(problem, start)
    rows = torch.arange(at.cost.shape[0], device=at.cost.device)
    never = torch.zeros_like(rows, dtype=torch.bool)
    solution = Solution(start, at.cost, torch.zeros_like(rows), never)
    search = _Search(rows, start, at, torch.full_like(at.cost, damping.initial), torch.zeros_like(rows), never)
    for iteration in range(1, max_iterations + 1):
        search = _trial(problem, search, damping)
        finished = search.arrived | (search.rejections >= damping.max_trials)
        if iteration == max_iterations:
            finished = torch.ones_like(finished)
        if not bool(finished.any()):
            continue
        solution = _record(solution, _take(search, torch.nonzero(finished)[:, 0]), iteration)
        going = torch.nonzero(~finished)[:, 0]
        if going.numel() == 0:
            break
        search, problem = _take(search, going), problem.take(going)
    return solution


def _trial(problem: Problem, search: _Search, damping: Damping) -> _Search:
    """Try one step of each face, keep it where it lowers the cost, and adapt the damping."""
    state, at = search.state, search.at
    matrix, gradient = normal_equations(problem, state, at)
    matrix.diagonal(dim1=1, dim2=2).mul_(1 + search.factor[:, None])
    unbounded = state.shape.new_full((state.shape.shape[0], N_POSE), torch.inf)
    lowest = torch.cat((-unbounded, problem.lower - state.shape), dim=1)
    highest = torch.cat((unbounded, problem.upper - state.shape), dim=1)
    moved = state.moved(bounded_step(matrix, gradient, lowest, highest, damping.bound_sweeps), problem)
    there = evaluate(problem, moved)
    better = there.cost < at.cost
    lowered = (search.factor / damping.decrease).clamp_min(damping.smallest)
    return _Search(
        rows=search.rows,
        state=_choose(better, moved, state),
        at=_choose(better, there, at),
        factor=torch.where(better, lowered, search.factor * damping.increase),
        rejections=torch.where(better, 0, search.rejections + 1),
        # A strongly damped step is short whether or not the minimum is near.
        arrived=better & (search.factor <= 1) & (at.cost - there.cost < damping.tolerance * (1 + at.cost)),
    )


def _record(solution: Solution, finished: _Search, iteration: int) -> Solution:
    """Return the solution with the finished faces written into their places of the batch."""
    rows = finished.rows

    def put(into: Tensor, values: Tensor) -> Tensor:
        return into.index_copy(0, rows, values)

    pairs = ((getattr(solution.state, f.name), getattr(finished.state, f.name)) for f in fields(State))
    return Solution(
        state=State(*(put(into, values) for into, values in pairs)),
        cost=put(solution.cost, finished.at.cost),
        iterations=put(solution.iterations, torch.full_like(rows, iteration)),
        converged=put(solution.converged, finished.arrived),
    )
