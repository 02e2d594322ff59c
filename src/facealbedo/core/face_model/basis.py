"""Identity and expression bases from MakeHuman's morph targets.

Identity: a population of heads is drawn by mixing MakeHuman's local targets (nose, chin, eyes, …) and its macro targets
(sex, age, ancestry, muscle, weight), aligned by similarity to remove pose and size, and reduced by principal component
analysis. Mirror images count as samples, so every component is exactly symmetric or exactly antisymmetric.

Expression: the 52 ARKit-named face units, those that move the skin.

Unit here: MakeHuman's decimetre; `build` turns it into metres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from facealbedo.core.face_model.head import EYE_GROUPS, HeadCut, eye_controls, mirror_base_points
from facealbedo.core.face_model.makehuman import MakeHumanData, MorphTarget, SourceDataError

LOCAL_FOLDERS = ("head", "nose", "eyes", "eyebrows", "mouth", "cheek", "chin", "ears", "forehead", "neck", "asym")
OPPOSITES = (
    ("decr", "incr"),
    ("down", "up"),
    ("in", "out"),
    ("backward", "forward"),
    ("concave", "convex"),
    ("compress", "uncompress"),
)
"""Endings of the two targets that pull one shape parameter to its two sides."""

EXPRESSION_FOLDER = "faceunits"
ARKIT_SIDED = (
    "browDown", "browOuterUp", "cheekSquint", "eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp",
    "eyeSquint", "eyeWide", "jaw", "mouth", "mouthDimple", "mouthFrown", "mouthLowerDown", "mouthPress", "mouthSmile",
    "mouthStretch", "mouthUpperUp", "noseSneer",
)  # fmt: skip
ARKIT_CENTRAL = (
    "browInnerUp", "cheekPuff", "jawForward", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthRollLower",
    "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "tongueOut",
)  # fmt: skip
ARKIT_NAMES = tuple(sorted([f"{name}{side}" for name in ARKIT_SIDED for side in ("Left", "Right")] + [*ARKIT_CENTRAL]))
"""Apple ARKit's 52 blend shape names (ARFaceAnchor.BlendShapeLocation), in alphabetical order."""

MINIMAL_SKIN_MOTION = 0.002
"""A face unit is kept if it moves the outer skin by this much somewhere (dm): 0.2 mm."""


@dataclass(frozen=True)
class PopulationConfig:
    """How the population behind the identity basis is drawn.

    Args:
        n_samples: heads drawn; each also counts mirrored.
        seed: of numpy's generator.
        local_sigma: standard deviation of a local target's weight, clipped to [-1, 1].
        asymmetry_sigma: standard deviation of the difference that each side adds to a paired target.
        asymmetry_factor: factor on the targets that are asymmetric by themselves.
        baby_share, child_share: shares of heads between baby and child, and between child and young.
        back_weight: weight in the principal component analysis of what is not the front of the face (which has 1).
        n_components: size of the basis.
    """

    n_samples: int = 2000
    seed: int = 0
    local_sigma: float = 0.33
    asymmetry_sigma: float = 0.06
    asymmetry_factor: float = 0.3
    baby_share: float = 0.12
    child_share: float = 0.13
    back_weight: float = 0.35
    n_components: int = 80


@dataclass(frozen=True)
class IdentityBasis:
    """Principal components of the population at the base level (decimetres).

    Args:
        mean: exactly symmetric mean head.
        components: displacement for one standard deviation; exactly symmetric or antisymmetric.
        parity: +1 for symmetric, -1 for antisymmetric components: the mirror image of a head has ``parity * coeffs``.
        weight: per-vertex weight of the analysis; the components are orthogonal under ``weight²``.
        explained: share of the weighted variance that the components explain together.
    """

    mean: Float[np.ndarray, "base 3"]
    components: Float[np.ndarray, "component base 3"]
    parity: Int[np.ndarray, "component"]
    weight: Float[np.ndarray, "base"]
    explained: float


@dataclass(frozen=True)
class ExpressionBasis:
    """ARKit-named expression units at the base level (decimetres for an activation of 1).

    Args:
        names: kept units.
        units: displacements; the mirror image of a unit is exactly the unit of the other side.
        mirror: index of each unit's mirror image.
    """

    names: tuple[str, ...]
    units: Float[np.ndarray, "unit base 3"]
    mirror: Int[np.ndarray, "unit"]


def base_points(vertices: Float[np.ndarray, "*batch source 3"], cut: HeadCut) -> Float[np.ndarray, "*batch base 3"]:
    """Return base-level points from MakeHuman's vertices: skin, teeth, tongue, and the eyes' control points."""
    eyes = [eye_controls(vertices[..., cut.eye_vertices[eye], :]) for eye in range(len(EYE_GROUPS))]
    return np.concatenate([vertices[..., cut.source_vertex, :], *eyes], axis=-2)


def front_of_face(data: MakeHumanData, cut: HeadCut) -> Int[np.ndarray, "front"]:
    """Return the base-level skin vertices that face forward, chin to hairline (the alignment's reference)."""
    points = data.mesh.vertices[cut.source_vertex[: cut.n_skin]]
    corners = points[cut.skin_quads]
    face_normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    normals = np.zeros_like(points)
    np.add.at(normals, cut.skin_quads.ravel(), np.repeat(face_normals, 4, axis=0))
    forward = normals[:, 2] / np.linalg.norm(normals, axis=1)
    return np.flatnonzero((points[:, 2] > 0.5) & (points[:, 1] > 6.4) & (forward > 0.2))


def sample_population(
    data: MakeHumanData, cut: HeadCut, config: PopulationConfig
) -> Float[np.ndarray, "sample base 3"]:
    """Draw heads by mixing MakeHuman's targets; not aligned, decimetres."""
    rng = np.random.default_rng(config.seed)
    source = np.concatenate([cut.source_vertex, *cut.eye_vertices])
    local_names, local_weights = _local_weights(data, source, config, rng)
    macro_names, macro_weights = _macro_weights(data, config, rng)
    targets = [data.targets[name] for name in local_names + macro_names]
    weights = np.concatenate([local_weights, macro_weights], axis=1)
    moved = np.stack([target.dense(len(data.mesh.vertices))[source].ravel() for target in targets])
    points = data.mesh.vertices[source] + (weights @ moved).reshape(config.n_samples, -1, 3)
    n_base = len(cut.source_vertex)
    eyes = [eye_controls(eye) for eye in np.split(points[:, n_base:], len(EYE_GROUPS), axis=1)]
    return np.concatenate([points[:, :n_base], *eyes], axis=1)


def align_by_similarity(
    samples: Float[np.ndarray, "sample base 3"],
    reference: Float[np.ndarray, "base 3"],
    front: Int[np.ndarray, "front"],
    n_controls: int,
) -> Float[np.ndarray, "sample base 3"]:
    """Remove position, orientation and size: each sample is aligned by its front to the mean (Umeyama 1991).

    Args:
        samples: heads.
        reference: symmetric head that fixes the frame and the size.
        front: vertices that count.
        n_controls: control points at the end, in groups of four (see `head`): only their centres turn, so that the
            optical axes stay parallel to +z.
    """
    target = reference
    for _ in range(2):
        centre = target[front].mean(axis=0)
        wanted = target[front] - centre
        own_centre = samples[:, front].mean(axis=1, keepdims=True)
        own = samples[:, front] - own_centre
        scale = np.sqrt((wanted**2).sum() / (own**2).sum(axis=(1, 2)))
        u, _, vt = np.linalg.svd(np.einsum("nki,kj->nij", own, wanted))
        turn = u @ vt
        aligned = (samples - own_centre) * scale[:, None, None] @ turn + centre
        for first in range(samples.shape[1] - n_controls, samples.shape[1], 4):
            radius = (samples[:, first : first + 4] - samples[:, first : first + 1]) * scale[:, None, None]
            aligned[:, first : first + 4] = aligned[:, first : first + 1] + radius
        target = aligned.mean(axis=0)
    return aligned


def identity_basis(
    samples: Float[np.ndarray, "sample base 3"],
    cut: HeadCut,
    front: Int[np.ndarray, "front"],
    config: PopulationConfig,
) -> IdentityBasis:
    """Principal components of aligned heads and their mirror images.

    The mirror image's covariance commutes with mirroring, so symmetric and antisymmetric parts are analysed apart:
    exact parity, and no mixing between the two when eigenvalues are close.
    """
    weight = np.full(samples.shape[1], config.back_weight)
    weight[front] = 1.0
    mirrored = mirror_base_points(samples, cut)
    mean = 0.5 * (samples.mean(axis=0) + mirrored.mean(axis=0))
    mean = 0.5 * (mean + mirror_base_points(mean, cut))
    variances, components, parities = [], [], []
    for parity in (1, -1):
        part = 0.5 * (samples + parity * mirrored)
        if parity == 1:
            part = part - mean
        variance, component = _principal_components(part, weight, config.n_components)
        # Averaging with the mirror image makes the parity exact to the last bit.
        component = 0.5 * (component + parity * mirror_base_points(component, cut))
        variances.append(variance)
        components.append(component)
        parities.append(np.full(len(component), parity))
    total = sum(variance.sum() for variance in variances)
    kept = np.concatenate([variance[: config.n_components] for variance in variances])
    order = np.argsort(-kept, kind="stable")[: config.n_components]
    return IdentityBasis(
        mean=mean,
        components=np.concatenate(components)[order],
        parity=np.concatenate(parities)[order],
        weight=weight,
        explained=float(kept[order].sum() / total),
    )


def expression_basis(data: MakeHumanData, cut: HeadCut) -> ExpressionBasis:
    """Collect the ARKit-named face units that move the skin, exactly mirrored.

    Raises:
        SourceDataError: if a unit of ARKit's is missing from the source data.
    """
    targets = data.folder(EXPRESSION_FOLDER)
    missing = sorted(set(ARKIT_NAMES) - set(targets))
    if missing:
        raise SourceDataError(f"the source data lacks the face units {missing}")
    outer = np.unique(cut.skin_quads[cut.skin_quad_in_atlas])
    rest = data.mesh.vertices
    names, units = [], []
    for name in ARKIT_NAMES:
        unit = _unit_displacement(targets[name], rest, cut)
        if np.linalg.norm(unit[outer], axis=1).max() >= MINIMAL_SKIN_MOTION:
            names.append(name)
            units.append(unit)
    stacked = np.stack(units)
    mirror = np.array([names.index(mirrored_name(name)) for name in names])
    stacked = 0.5 * (stacked + mirror_base_points(stacked[mirror], cut))
    return ExpressionBasis(names=tuple(names), units=stacked, mirror=mirror)


def mirrored_name(name: str) -> str:
    """Return the ARKit name of the mirror image: ``mouthSmileLeft`` for ``mouthSmileRight``."""
    for here, there in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(here):
            return name[: -len(here)] + there
    return name


def _unit_displacement(target: MorphTarget, rest: np.ndarray, cut: HeadCut) -> np.ndarray:
    """A face unit's displacement; the eyes are turned about their centres (gaze), never moved or scaled."""
    moved = target.dense(len(rest))
    eyes = []
    for vertices in cut.eye_vertices:
        controls = eye_controls(rest[vertices])
        local = rest[vertices] - controls[0]
        # Least-squares linear map from the rest directions to the moved ones, then the nearest rotation.
        u, _, vt = np.linalg.svd(np.linalg.lstsq(local, local + moved[vertices], rcond=None)[0])
        eyes.append((controls - controls[0]) @ (u @ vt) - (controls - controls[0]))
    return np.concatenate([moved[cut.source_vertex], *eyes])


def _principal_components(
    part: Float[np.ndarray, "sample base 3"], weight: np.ndarray, n_components: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return all weighted variances, and the first components scaled to one standard deviation."""
    flat = part.reshape(len(part), -1)
    weighted = flat * np.repeat(weight, 3)
    variance, vectors = np.linalg.eigh(weighted @ weighted.T / len(part))
    variance, vectors = variance[::-1], vectors[:, ::-1][:, :n_components]
    components = (vectors.T @ flat).reshape(-1, *part.shape[1:]) / np.sqrt(len(part))
    # The sign of an eigenvector is arbitrary: let the greatest displacement point up, out or forward.
    flat_components = components.reshape(len(components), -1)
    greatest = np.abs(flat_components).argmax(axis=1)
    sign = np.sign(flat_components[np.arange(len(components)), greatest])
    return np.maximum(variance, 0.0), components * sign[:, None, None]


def _local_weights(
    data: MakeHumanData, source: np.ndarray, config: PopulationConfig, rng: np.random.Generator
) -> tuple[list[str], np.ndarray]:
    """Weights of the local targets: opposite targets share one parameter, left and right nearly so."""
    in_head = np.zeros(len(data.mesh.vertices), dtype=bool)
    in_head[source] = True
    names = [
        f"{folder}/{name}"
        for folder in LOCAL_FOLDERS
        for name, target in data.folder(folder).items()
        if "asymm-" not in name and "measure" not in name and in_head[target.vertex].any()
    ]
    column = {name: i for i, name in enumerate(names)}
    weights = np.zeros((config.n_samples, len(names)))
    shared: dict[str, np.ndarray] = {}
    done: set[str] = set()
    for name in names:
        if name in done:
            continue
        opposite = _opposite(name, column)
        done |= {name, opposite or name}
        both_sides = name.replace("/l-", "/both-").replace("/r-", "/both-")
        if both_sides not in shared:
            shared[both_sides] = rng.normal(0.0, config.local_sigma, config.n_samples)
        value = shared[both_sides]
        if "/both-" in both_sides:
            value = value + rng.normal(0.0, config.asymmetry_sigma, config.n_samples)
        if name.startswith("asym/"):
            value = value * config.asymmetry_factor
        value = np.clip(value, -1.0, 1.0)
        weights[:, column[name]] = np.maximum(-value, 0.0)
        if opposite:
            weights[:, column[opposite]] = np.maximum(value, 0.0)
    return names, weights


def _opposite(name: str, column: Mapping[str, int]) -> str | None:
    for one, other in OPPOSITES:
        if name.endswith(one) and name[: -len(one)] + other in column:
            return name[: -len(one)] + other
    return None


def _macro_weights(
    data: MakeHumanData, config: PopulationConfig, rng: np.random.Generator
) -> tuple[list[str], np.ndarray]:
    """Weights of the macro targets: products of sex, age, ancestry, muscle and weight shares."""
    n = config.n_samples
    ancestry = dict(zip(("african", "asian", "caucasian"), rng.dirichlet([0.5] * 3, n).T, strict=True))
    female = rng.beta(0.6, 0.6, n)
    age = _age_shares(config, rng)
    muscle = _three_levels("muscle", rng.random(n))
    fat = _three_levels("weight", rng.random(n))
    names, weights = [], []
    for sex, sex_share in (("female", female), ("male", 1.0 - female)):
        for stage, age_share in age.items():
            for group, group_share in ancestry.items():
                names.append(f"macrodetails/{group}-{sex}-{stage}")
                weights.append(sex_share * age_share * group_share)
            for muscle_level, muscle_share in muscle.items():
                for fat_level, fat_share in fat.items():
                    name = f"macrodetails/universal-{sex}-{stage}-{muscle_level}-{fat_level}"
                    if name in data.targets:  # the average of some stages is the base mesh itself
                        names.append(name)
                        weights.append(sex_share * age_share * muscle_share * fat_share)
    return names, np.stack(weights, axis=1)


def _age_shares(config: PopulationConfig, rng: np.random.Generator) -> dict[str, np.ndarray]:
    n = config.n_samples
    stage = rng.random(n)
    blend = rng.random(n)
    old = rng.beta(0.8, 1.5, n)
    is_baby = stage < config.baby_share
    is_child = ~is_baby & (stage < config.baby_share + config.child_share)
    is_adult = ~is_baby & ~is_child
    return {
        "baby": np.where(is_baby, 0.8 * blend, 0.0),
        "child": np.where(is_baby, 1.0 - 0.8 * blend, np.where(is_child, blend, 0.0)),
        "young": np.where(is_child, 1.0 - blend, np.where(is_adult, 1.0 - old, 0.0)),
        "old": np.where(is_adult, old, 0.0),
    }


def _three_levels(what: str, value: np.ndarray) -> dict[str, np.ndarray]:
    """MakeHuman's interpolation between the minimum, average and maximum of a quantity in [0, 1]."""
    return {
        f"min{what}": np.maximum(0.0, 1.0 - 2.0 * value),
        f"average{what}": 1.0 - np.abs(2.0 * value - 1.0),
        f"max{what}": np.maximum(0.0, 2.0 * value - 1.0),
    }
