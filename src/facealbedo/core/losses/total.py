"""The one place that weighs the terms, sums them and says what each was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from facealbedo.core.colour import linear_to_srgb
from facealbedo.core.losses import albedo_terms as albedo
from facealbedo.core.losses import image_terms as image
from facealbedo.core.losses import light_terms as light
from facealbedo.core.losses import pigment
from facealbedo.core.networks.records import RefinerInput, RefinerOutput
from facealbedo.core.networks.refiner import change_of_tone, face_pigment, log_ratio
from facealbedo.core.render.uv import mirror_uv
from facealbedo.core.types import TensorRecord

FeatureExtractor = Callable[[Tensor], tuple[Tensor, ...]]
# Side of the images that the perceptual network sees, pixels; face networks commonly see 112.
PERCEPTUAL_PX = 128


@dataclass(frozen=True)
class LossWeights:
    """Weight of every term; 0: not computed. The numbers of the paper are in the ``paper`` preset of the parameters.

    Attributes:
        cross_renders: weight, in the image terms, of the two other renders: detailed albedo in the fitted light and
            prior albedo in the detailed light.
        prior_decays: let the weight of ``prior`` fall to 0.3 of itself over the training.
        prior_width: see `albedo_terms.albedo_to_prior_loss`.
        free_light_colour: measure white light about the fitted light instead of about grey.
        chroma_sharpness: see `albedo_terms.chroma_smoothness_loss`.
        true_*: terms of fabricated faces, whose albedo is known; it is compared in the fit's tone, see `_truth_terms`.
    """

    photometric: float = 1.0
    gradient: float = 1.0
    multiscale_gradient: float = 0.2
    perceptual: float = 0.0
    cross_renders: float = 0.0
    prior: float = 0.0
    prior_decays: bool = False
    prior_width: float = 0.075
    unseen_prior: float = 0.2
    unseen_symmetry: float = 0.3
    low_pass_prior: float = 0.1
    symmetry: float = 0.0
    low_pass_symmetry: float = 1.0
    chroma: float = 0.1
    chroma_sharpness: float = 80.0
    white_light: float = 1.0
    free_light_colour: bool = True
    global_light: float = 0.5
    light_variation: float = 0.5
    shading_gain: float = 0.01
    gain_colour: float = 0.02
    pigment: float = 1.0
    confidence: float = 0.05
    true_albedo: float = 2.0
    true_chroma: float = 1.0
    true_detail: float = 4.0


@dataclass(frozen=True)
class Truth(TensorRecord):
    """What is known of fabricated faces: their linear albedo, where it counts, and which faces of the batch have it."""

    uv_albedo: Float[Tensor, "batch 3 height width"]
    mask: Float[Tensor, "batch 1 height width"]
    known: Float[Tensor, "batch"]


@dataclass(frozen=True)
class LossInputs(TensorRecord):
    """Everything that the terms compare.

    * ``renders_srgb``: of detailed albedo in detailed light first, then cross renders, if any; ``photo_srgb`` and
      ``face_mask`` (where the photo shows trusted skin) have their size.
    * ``face``, ``refined``: the network's input and output.
    * ``atlas_mask``: where terms on the albedo act.
    """

    renders_srgb: Float[Tensor, "render batch 3 image_height image_width"]
    photo_srgb: Float[Tensor, "batch 3 image_height image_width"]
    face_mask: Float[Tensor, "batch 1 image_height image_width"]
    face: RefinerInput
    refined: RefinerOutput
    atlas_mask: Float[Tensor, "batch_or_1 1 height width"]
    truth: Truth | None


def total_loss(
    inputs: LossInputs, weights: LossWeights, progress: float | Tensor = 0.0, features: FeatureExtractor | None = None
) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
    """Weighted sum of all terms, and each term by itself: unweighted, detached, a mean over the faces it is about.

    Args:
        inputs: of one batch.
        weights: of the terms.
        progress: part of the training that is done, for weights that change.
        features: of the perceptual term; needed if its weight is not 0.

    Raises:
        ValueError: the perceptual term has a weight but no features, or a weight is negative.
    """
    _check(weights, features)
    photo = _image_terms(inputs, weights, features)
    known = inputs.truth.known if inputs.truth is not None else inputs.photo_srgb.new_zeros(inputs.photo_srgb.shape[0])
    # Prior and symmetry say what is likely; where the truth is known they would only be in its way.
    likely = {name: (term, 1 - known) for name, term in _likelihood_terms(inputs, weights).items()}
    true = {name: (term, known) for name, term in _truth_terms(inputs, weights).items()}
    everywhere = torch.ones_like(known)
    terms = {name: (term, everywhere) for name, term in {**photo, **_light_terms(inputs, weights)}.items()}
    total = inputs.photo_srgb.new_zeros(())
    report: dict[str, Tensor] = {}
    for name, (term, share) in {**terms, **likely, **true}.items():
        total = total + _weight(name, weights, progress) * (term * share).sum() / share.shape[0]
        report[name] = (term * share).sum().detach() / share.sum().clamp(min=1)
    return total, report


def _check(weights: LossWeights, features: FeatureExtractor | None) -> None:
    if weights.perceptual > 0 and features is None:
        raise ValueError("the perceptual term has a weight but there is no feature network")
    for item in fields(weights):
        value = getattr(weights, item.name)
        if not value >= 0:
            raise ValueError(f"the weight {item.name} must not be negative, got {value}")


def _weight(name: str, weights: LossWeights, progress: float | Tensor) -> float | Tensor:
    weight = getattr(weights, name)
    if name == "prior" and weights.prior_decays:
        return weight * albedo.prior_decay(progress)
    return weight


def _image_terms(
    inputs: LossInputs, weights: LossWeights, features: FeatureExtractor | None
) -> dict[str, Float[Tensor, "batch"]]:
    inner = image.eroded_face_mask(inputs.face_mask)
    shares = [1.0] + [weights.cross_renders] * (inputs.renders_srgb.shape[0] - 1)
    terms: dict[str, Tensor] = {}
    photo_features: tuple[Tensor, ...] = ()
    if weights.perceptual > 0 and features is not None:
        with torch.no_grad():
            photo_features = features(_small(inputs.photo_srgb))
    for share, render in zip(shares, inputs.renders_srgb, strict=True):
        found = {
            "photometric": lambda r=render: image.photometric_loss(r, inputs.photo_srgb, inputs.face_mask),
            "gradient": lambda r=render: image.gradient_loss(r, inputs.photo_srgb, inner),
            "multiscale_gradient": lambda r=render: image.multiscale_gradient_loss(r, inputs.photo_srgb, inner),
        }
        if features is not None:
            found["perceptual"] = lambda r=render: _perceptual(r, inputs, photo_features, features)
        for name, term in found.items():
            if getattr(weights, name) > 0:
                terms[name] = terms.get(name, 0.0) + share * term()
    return terms


def _perceptual(
    render: Tensor, inputs: LossInputs, photo_features: tuple[Tensor, ...], features: FeatureExtractor
) -> Tensor:
    # Outside the mask the render shows the photo: what is not compared must not make features differ.
    pasted = render * inputs.face_mask + inputs.photo_srgb * (1 - inputs.face_mask)
    return image.perceptual_loss(features(_small(pasted)), photo_features, inputs.face_mask)


def _small(image_srgb: Tensor) -> Tensor:
    if image_srgb.shape[-1] <= PERCEPTUAL_PX:
        return image_srgb
    return torch.nn.functional.interpolate(image_srgb, size=(PERCEPTUAL_PX, PERCEPTUAL_PX), mode="area")


def _likelihood_terms(inputs: LossInputs, weights: LossWeights) -> dict[str, Float[Tensor, "batch"]]:
    refined, prior, mask = inputs.refined.uv_albedo, inputs.face.prior_albedo, inputs.atlas_mask
    albedo_srgb = linear_to_srgb(refined)
    log_residual = refined.log() - prior.clamp(min=1e-3).log()
    seen = inputs.face.observation
    hidden = 1 - seen.uv_visibility
    found = {
        "prior": lambda: albedo.albedo_to_prior_loss(albedo_srgb, linear_to_srgb(prior), mask, weights.prior_width),
        "pigment": lambda: pigment.pigment_loss(
            log_residual, _pigment(inputs), seen.uv_visibility * mask, inputs.face.uv_regions[:, 1:]
        ),
        "unseen_prior": lambda: albedo.albedo_to_prior_loss(
            albedo_srgb, linear_to_srgb(prior), mask * hidden * mirror_uv(hidden), weights.prior_width
        ),
        "unseen_symmetry": lambda: albedo.symmetry_loss(albedo_srgb, mask * hidden * (1 - mirror_uv(hidden))),
        "low_pass_prior": lambda: albedo.low_pass_prior_loss(log_residual, mask),
        "symmetry": lambda: albedo.symmetry_loss(albedo_srgb, mask),
        "low_pass_symmetry": lambda: albedo.low_pass_symmetry_loss(log_residual, mask),
        "shading_gain": lambda: light.shading_gain_loss(inputs.refined.uv_log_gain, seen.uv_visibility * mask),
        "gain_colour": lambda: light.gain_colour_loss(inputs.refined.uv_log_gain, seen.uv_visibility * mask),
        "chroma": lambda: albedo.chroma_smoothness_loss(
            albedo_srgb, linear_to_srgb(seen.uv_texture), seen.uv_visibility * mask, weights.chroma_sharpness
        ),
    }
    return {name: term() for name, term in found.items() if getattr(weights, name) > 0}


@torch.no_grad()
def _pigment(inputs: LossInputs) -> Tensor:
    """What the photo's own colours say about pigment."""
    return face_pigment(inputs.face, log_ratio(inputs.face))


def _light_terms(inputs: LossInputs, weights: LossWeights) -> dict[str, Float[Tensor, "batch"]]:
    found, fitted = inputs.refined.uv_illumination, inputs.face.sh_radiance
    centre = fitted if weights.free_light_colour else None
    terms = {
        "white_light": lambda: light.white_light_loss(found, centre),
        "global_light": lambda: light.global_light_loss(found, fitted),
        "light_variation": lambda: light.light_variation_loss(found),
    }
    return {name: term() for name, term in terms.items() if getattr(weights, name) > 0}


def _truth_terms(inputs: LossInputs, weights: LossWeights) -> dict[str, Float[Tensor, "batch"]]:
    """Compare with the truth, made as light or dark, and as red or yellow, on the mean of bare skin as the prior is.

    The fit is what decides on tone, and on the light along with it: seen in a light that is taken for twice as weak,
    everything has twice the albedo, brows and lips as well.
    """
    if inputs.truth is None:
        return {}
    found, mask = inputs.refined.uv_albedo.log(), inputs.truth.mask
    truth = inputs.truth.uv_albedo.clamp(min=1e-3).log()
    residual = truth - inputs.face.prior_albedo.clamp(min=1e-3).log()
    truth = truth - change_of_tone(residual, inputs.face.uv_regions[:, :1])
    terms = {
        "true_albedo": lambda: albedo.log_albedo_loss(found, truth, mask),
        "true_chroma": lambda: albedo.chroma_loss(found, truth, mask),
        "true_detail": lambda: albedo.detail_loss(found, truth, mask),
        "confidence": lambda: albedo.confidence_nll(found, truth, inputs.refined.log_variance, mask),
    }
    return {name: term() for name, term in terms.items() if getattr(weights, name) > 0}
