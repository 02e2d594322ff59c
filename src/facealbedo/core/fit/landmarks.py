"""Fit of the face model to 2D landmarks: pose, camera, identity and expression.

Method: a camera with free focal length, whose ambiguity with the distance is settled by a log-normal prior on the
distance (not on the field of view, so that cropping a photo changes nothing); unit-normal prior on identity; expression
units in [0, 1]; Huber's loss on the landmarks; Levenberg-Marquardt from an affine start (`landmarks_solver`).

Errors are measured as *NME*: the mean distance of fitted from detected landmarks, without those of the face's outline
(which slide along the silhouette), as a part of `landmark_scale`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.fit.landmark_groups import LAYOUTS, LandmarkLayout, layout_of
from facealbedo.core.fit.landmarks_solver import Damping, Problem, Solution, State, minimise
from facealbedo.core.geometry.projection import project, world_to_view
from facealbedo.core.geometry.rotations import matrix_to_euler_degrees
from facealbedo.core.types import Camera, FaceCoefficients, Landmarks, Pose, TensorRecord


@dataclass(frozen=True)
class LandmarkFitConfig:
    """Weights and limits of the landmark fit. The defaults come from portraits and generated crops.

    Attributes:
        residual_sigma: Standard deviation of a landmark with weight 1, as a part of `landmark_scale`.
        data_weight: Weight of all landmarks together against the priors; neighbouring landmarks err alike, so they
            count for fewer than they are.
        spread_scale_mm: A landmark whose place on the surface is uncertain by this much counts half.
        eyelid_weight, lip_weight, oval_weight: Further factors of these groups. Rims of lids and lips are where a
            texture shows misalignment first; the oval slides along the silhouette.
        huber_sigmas: Where the loss of a landmark turns linear, in standard deviations.
        identity_precision: Inverse variance of the identity coefficients under the prior.
        expression_sigma: Standard deviation of the expression coefficients under the prior.
        distance_m: Median of the prior of the distance between camera and face.
        distance_log_sigma: Standard deviation of its logarithm.
        pose_iterations: Steps of pose and camera alone, before everything moves.
        max_iterations: Trial steps at most.
        tolerance: An accepted step that lowers the cost by less than this part of it ends the fit.
        initial_damping, damping_increase, damping_decrease, smallest_damping: Marquardt's damping factor.
        max_trials: Rejected steps in a row that end the fit.
        bound_sweeps: Sweeps of the active-set method for the bounds of one step.
    """

    residual_sigma: float = 0.012
    data_weight: float = 0.3
    spread_scale_mm: float = 2.5
    eyelid_weight: float = 2.0
    lip_weight: float = 3.0
    oval_weight: float = 0.25
    huber_sigmas: float = 4.0
    identity_precision: float = 1.0
    expression_sigma: float = 0.35
    distance_m: float = 0.65
    distance_log_sigma: float = 0.25
    pose_iterations: int = 2
    max_iterations: int = 60
    tolerance: float = 1e-4
    initial_damping: float = 1e-3
    damping_increase: float = 6.0
    damping_decrease: float = 5.0
    smallest_damping: float = 1e-6
    max_trials: int = 12
    bound_sweeps: int = 4

    @property
    def damping(self) -> Damping:
        """The part of the settings that steers the search."""
        return Damping(
            initial=self.initial_damping,
            increase=self.damping_increase,
            decrease=self.damping_decrease,
            smallest=self.smallest_damping,
            max_trials=self.max_trials,
            tolerance=self.tolerance,
            bound_sweeps=self.bound_sweeps,
        )


@dataclass(frozen=True)
class LandmarkBasis:
    """The landmarks of the skin as linear functions of the face model's coefficients (world frame, metres).

    Attributes:
        layout: Which landmark is what.
        mean: Landmarks of the mean face.
        identity, expression: What a unit of each coefficient adds to them.
        spread_mm: How uncertain the place of each landmark on the surface is.
    """

    layout: LandmarkLayout
    mean: Float[Tensor, "landmark 3"]
    identity: Float[Tensor, "identity landmark 3"]
    expression: Float[Tensor, "expression landmark 3"]
    spread_mm: Float[Tensor, "landmark"]

    @property
    def pivot(self) -> Float[Tensor, "3"]:
        """The point whose distance the prior is about and about which the fit turns: the mean face's mean landmark."""
        return self.mean.mean(dim=0)

    def to(self, device: torch.device | str) -> LandmarkBasis:
        """Return the basis on ``device``."""
        moved = {name: getattr(self, name).to(device) for name in ("mean", "identity", "expression", "spread_mm")}
        return replace(self, **moved)

    def decode(self, coefficients: FaceCoefficients) -> Float[Tensor, "batch landmark 3"]:
        """Return the landmarks of these faces."""
        identity = torch.einsum("bk,klc->blc", coefficients.identity_coeffs, self.identity)
        expression = torch.einsum("bk,klc->blc", coefficients.expression_coeffs, self.expression)
        return self.mean + identity + expression


@dataclass(frozen=True)
class LandmarkFit(TensorRecord):
    """A fitted batch of faces. Lengths in metres, pixels of the image in which the landmarks were found.

    Attributes:
        coefficients: Identity and expression; the albedo coefficients are 0 (landmarks say nothing about them).
        pose, camera: As in `facealbedo.core.types`.
        landmarks_px: The fitted landmarks of the skin.
        residuals_px: Fitted minus detected landmarks.
        scale_px: `landmark_scale` of the detected landmarks, to which errors are related.
        nme_percent: Mean distance of the landmarks without the oval, in percent of ``scale_px``.
        yaw_degrees, pitch_degrees, roll_degrees: See `facealbedo.core.geometry.rotations.matrix_to_euler_degrees`.
        distance_m: Depth of the face's middle.
        cost: Value of the objective.
        iterations: Trial steps made.
        converged: False where the fit ran out of steps or got stuck.
    """

    coefficients: FaceCoefficients
    pose: Pose
    camera: Camera
    landmarks_px: Float[Tensor, "batch landmark 2"]
    residuals_px: Float[Tensor, "batch landmark 2"]
    scale_px: Float[Tensor, "batch"]
    nme_percent: Float[Tensor, "batch"]
    yaw_degrees: Float[Tensor, "batch"]
    pitch_degrees: Float[Tensor, "batch"]
    roll_degrees: Float[Tensor, "batch"]
    distance_m: Float[Tensor, "batch"]
    cost: Float[Tensor, "batch"]
    iterations: Int[Tensor, "batch"]
    converged: Bool[Tensor, "batch"]


def landmark_scale(landmarks_px: Float[Tensor, "batch landmark 2"]) -> Float[Tensor, "batch"]:
    """Return the size of each face in pixels: max(inter-ocular distance, 0.28 times the bounding box's diagonal).

    The inter-ocular distance is that of the eyes' centres, each the middle of its two corners. It shrinks as a head
    turns; the diagonal, which then takes over, hardly does. 0.28 is its part in a frontal face with MediaPipe's points
    (irises left out); other layouts have their own (`LandmarkLayout.diagonal_to_interocular`).
    """
    layout = layout_of(landmarks_px.shape[1])
    surface = landmarks_px[:, : layout.n_surface]
    (right_outer, right_inner), (left_outer, left_inner) = layout.eye_corners
    right = (surface[:, right_outer] + surface[:, right_inner]) / 2
    left = (surface[:, left_outer] + surface[:, left_inner]) / 2
    interocular = torch.linalg.vector_norm(right - left, dim=-1)
    diagonal = torch.linalg.vector_norm(surface.amax(dim=1) - surface.amin(dim=1), dim=-1)
    return torch.maximum(interocular, layout.diagonal_to_interocular * diagonal)


def nme_percent(
    landmarks_px: Float[Tensor, "batch landmark 2"], reference_px: Float[Tensor, "batch landmark 2"]
) -> Float[Tensor, "batch"]:
    """Return the mean distance of landmarks without the oval, in percent of the reference's `landmark_scale`."""
    inner = torch.tensor(layout_of(reference_px.shape[1]).inner, device=reference_px.device)
    distances = torch.linalg.vector_norm(landmarks_px[:, inner] - reference_px[:, inner], dim=-1)
    return 100 * distances.mean(dim=1) / landmark_scale(reference_px)


def fit_landmarks(
    model: FaceModel | LandmarkBasis,
    landmarks: Landmarks,
    principal_px: Float[Tensor, "batch 2"],
    image_size: tuple[int, int],
    config: LandmarkFitConfig | None = None,
    n_albedo: int = 0,
) -> LandmarkFit:
    """Fit pose, camera, identity and expression to detected landmarks.

    Computed in float64 on the landmarks' device; the result has the landmarks' dtype.

    Args:
        model: The face model, or its `landmark_basis` (which may have been changed, say, some units switched off).
        landmarks: MediaPipe's 478 (or 468) points or the 68 of 300-W; irises are not used.
        principal_px: Where the camera's axis meets the image: the middle of the *uncropped* photo.
        image_size: Height and width of the image, px; only passed on to the camera.
        config: Weights and limits.
        n_albedo: How many albedo coefficients, all 0, the result carries.

    Raises:
        ValueError: Landmarks that are not finite, all in one place, or of an unknown number.
    """
    config = config or LandmarkFitConfig()
    points = landmarks.landmarks_px.double()
    layout = layout_of(points.shape[1])
    points = points[:, : layout.n_surface]
    basis = model if isinstance(model, LandmarkBasis) else landmark_basis(model, layout.kind)
    basis = basis.to(points.device)
    if basis.layout.kind != layout.kind:
        raise ValueError(f"{layout.kind} landmarks cannot be fitted with a basis of {basis.layout.kind}")
    _check_points(points)

    scale = landmark_scale(points)
    problem = _problem(basis, points - principal_px.to(points)[:, None], scale, config)
    start = _affine_start(problem, config)
    posed = minimise(problem.pose_only(), start, config.damping, config.pose_iterations)
    zeros = points.new_zeros(points.shape[0], problem.shape_basis.shape[0])
    solution = minimise(problem, replace(posed.state, shape=zeros), config.damping, config.max_iterations)
    return _result(basis, points, scale, principal_px, image_size, solution, n_albedo)


@dataclass(frozen=True)
class LandmarkRow:
    """Landmarks of one photo, for `fit_many`.

    Attributes:
        key: Name of the photo or face.
        landmarks_px: As `fit_landmarks` takes them.
        principal_px: Where the camera's axis meets the image.
        image_size: Height and width of the image, px.
    """

    key: str
    landmarks_px: Float[Tensor, "landmark 2"]
    principal_px: Float[Tensor, "2"]
    image_size: tuple[int, int]


def fit_many(
    model: FaceModel | LandmarkBasis,
    rows: Iterable[LandmarkRow],
    config: LandmarkFitConfig | None = None,
    n_albedo: int = 0,
    batch_size: int = 32,
) -> Iterator[tuple[str, LandmarkFit]]:
    """Fit one photo after the other, in the order of ``rows``, batch by batch; yields each key and a batch of one.

    Photos may differ in size and layout of landmarks. No more than ``batch_size`` rows and fits are held at a time.

    Raises:
        ValueError: As `fit_landmarks`, or for a batch size below 1.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    bases: dict[str, LandmarkBasis] = {}
    for batch in _batches(rows, batch_size):
        kind = layout_of(batch[0].landmarks_px.shape[0]).kind
        if kind not in bases:
            bases[kind] = model if isinstance(model, LandmarkBasis) else landmark_basis(model, kind)
        points = torch.stack([row.landmarks_px for row in batch])
        fits = fit_landmarks(
            bases[kind],
            Landmarks(points, confidence=points.new_ones(len(batch))),
            torch.stack([row.principal_px for row in batch]),
            batch[0].image_size,
            config,
            n_albedo,
        )
        for index, row in enumerate(batch):
            fit = fits[index : index + 1]
            height, width = row.image_size
            yield row.key, replace(fit, camera=replace(fit.camera, height=height, width=width))


def _batches(rows: Iterable[LandmarkRow], size: int) -> Iterator[list[LandmarkRow]]:
    """Group neighbouring rows with the same number of landmarks."""
    batch: list[LandmarkRow] = []
    for row in rows:
        if len(batch) == size or (batch and row.landmarks_px.shape != batch[0].landmarks_px.shape):
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


@lru_cache(maxsize=8)  # a face model is hashed by identity; gathering its bases takes as long as a fit
def landmark_basis(model: FaceModel, kind: str = "mediapipe478") -> LandmarkBasis:
    """Return the landmarks of the skin as linear functions of the model's coefficients (float64, kept for reuse).

    Raises:
        ValueError: An unknown kind, or a model whose embedding has another number of landmarks.
    """
    if kind not in LAYOUTS:
        raise ValueError(f"unknown landmark kind {kind!r}; known: {sorted(LAYOUTS)}")
    layout = LAYOUTS[kind]
    mean, identity, expression = (part.double() for part in model.landmark_basis(kind))
    spread = model.landmark_spread_mm[kind].double()
    if mean.shape[0] not in (layout.n_landmarks, layout.n_surface):
        raise ValueError(f"the model embeds {mean.shape[0]} {kind} landmarks; expected {layout.n_landmarks}")
    n = layout.n_surface
    return LandmarkBasis(layout, mean[:n], identity[:, :n], expression[:, :n], spread[:n])


def landmark_weights(basis: LandmarkBasis, config: LandmarkFitConfig) -> Float[Tensor, "landmark"]:
    """Return how much each landmark counts: less where its place on the skin is uncertain, by group otherwise."""
    weights = 1 / (1 + (basis.spread_mm / config.spread_scale_mm) ** 2)
    factors = torch.ones_like(weights)
    factors[list(basis.layout.eyelids)] = config.eyelid_weight
    factors[list(basis.layout.lips)] = config.lip_weight
    factors[list(basis.layout.oval)] = config.oval_weight
    return weights * factors


def _check_points(points: Float[Tensor, "batch landmark 2"]) -> None:
    finite = torch.isfinite(points).all(dim=-1).all(dim=-1)
    extended = (points.amax(dim=1) - points.amin(dim=1)).amin(dim=-1) > 0
    bad = torch.nonzero(~(finite & extended))[:, 0].tolist()
    if bad:
        raise ValueError(f"landmarks of faces {bad} of the batch are not finite or lie on one line")


def _problem(
    basis: LandmarkBasis,
    target: Float[Tensor, "batch landmark 2"],
    scale: Float[Tensor, "batch"],
    config: LandmarkFitConfig,
) -> Problem:
    n_identity, n_expression = basis.identity.shape[0], basis.expression.shape[0]
    weights = landmark_weights(basis, config)
    identity_precision = target.new_full((n_identity,), config.identity_precision)
    expression_precision = target.new_full((n_expression,), config.expression_sigma**-2)
    unbounded = target.new_full((n_identity,), torch.inf)
    return Problem(
        target=target.transpose(1, 2).contiguous(),
        point_weights=(config.data_weight * weights).sqrt() / (config.residual_sigma * scale[:, None]),
        robust_scale=config.data_weight**-0.5,
        mean=(basis.mean - basis.pivot).T.contiguous(),
        shape_basis=torch.cat((basis.identity, basis.expression)).transpose(1, 2).contiguous(),
        shape_precision=torch.cat((identity_precision, expression_precision)),
        lower=torch.cat((-unbounded, target.new_zeros(n_expression))),
        upper=torch.cat((unbounded, target.new_ones(n_expression))),
        huber=config.huber_sigmas,
        log_distance_mean=math.log(config.distance_m),
        log_distance_sigma=config.distance_log_sigma,
    )


def _affine_start(problem: Problem, config: LandmarkFitConfig) -> State:
    """Fit the mean face by least squares through an affine camera; its nearest scaled rotation is the start."""
    batch, _, count = problem.target.shape
    weights = problem.point_weights[:1]  # the same for all faces up to a factor
    design = torch.cat((problem.mean, problem.mean.new_ones(1, count)))
    solver = torch.linalg.pinv((design * weights).T) * weights
    up = problem.target * problem.target.new_tensor([1.0, -1.0])[:, None]
    affine = up @ solver.T  # [batch, 2, 4]
    linear, shift = affine[..., :3], affine[..., 3]

    # Nearest pair of orthonormal rows, (M Mᵀ)^(-1/2) M, with the closed form of the root of a 2 x 2 matrix.
    gram = linear @ linear.transpose(1, 2)
    root_det = torch.linalg.det(gram).clamp_min(0).sqrt()[:, None, None]
    trace = gram.diagonal(dim1=1, dim2=2).sum(dim=1)[:, None, None]
    identity = torch.eye(2, dtype=gram.dtype, device=gram.device)
    root = (gram + root_det * identity) / (trace + 2 * root_det).sqrt()
    rows = torch.linalg.solve(root, linear)
    scale = root.diagonal(dim1=1, dim2=2).mean(dim=1)
    rotation = torch.stack((rows[:, 0], rows[:, 1], torch.linalg.cross(rows[:, 0], rows[:, 1])), dim=1)
    return State(
        rotation=rotation,
        offset=shift / scale[:, None],
        log_scale=scale.log(),
        log_distance=scale.new_full((batch,), math.log(config.distance_m)),
        shape=scale.new_zeros(batch, 0),
    )


def _result(
    basis: LandmarkBasis,
    points: Float[Tensor, "batch landmark 2"],
    scale: Float[Tensor, "batch"],
    principal_px: Float[Tensor, "batch 2"],
    image_size: tuple[int, int],
    solution: Solution,
    n_albedo: int,
) -> LandmarkFit:
    """Translate the search's parameters into records of the landmarks' dtype."""
    dtype = principal_px.dtype
    state = solution.state
    distance = state.log_distance.exp()
    n_identity = basis.identity.shape[0]
    pivot_view = torch.cat((state.offset, -distance[:, None]), dim=1)
    pose = Pose(state.rotation, pivot_view - state.rotation @ basis.pivot)
    camera = Camera((state.log_scale + state.log_distance).exp(), principal_px.to(points), *image_size)
    coefficients = FaceCoefficients(
        state.shape[:, :n_identity], state.shape[:, n_identity:], points.new_zeros(points.shape[0], n_albedo)
    )
    fitted = project(world_to_view(basis.decode(coefficients), pose), camera)
    yaw, pitch, roll = matrix_to_euler_degrees(pose.rotation)
    fit = LandmarkFit(
        coefficients=coefficients,
        pose=pose,
        camera=camera,
        landmarks_px=fitted,
        residuals_px=fitted - points,
        scale_px=scale,
        nme_percent=nme_percent(fitted, points),
        yaw_degrees=yaw,
        pitch_degrees=pitch,
        roll_degrees=roll,
        distance_m=distance,
        cost=solution.cost,
        iterations=solution.iterations,
        converged=solution.converged,
    )
    return fit._map(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)
