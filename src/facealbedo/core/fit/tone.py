"""Estimate skin tone from a picture's statistics: a small network learned on fabricated faces.

Why learned: from the skin's pixels alone, dark skin in strong light and light skin in dim light look alike. What tells
them apart is weak and scattered (exposure, background, eye white, colour of lips against cheeks), and how far to trust
it is a matter of statistics. The network is trained on faces of all tones in equal numbers.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from itertools import pairwise

import safetensors.torch
import torch
from jaxtyping import Float
from torch import Tensor, nn

from facealbedo.core.colour import delta_e_76, ita_degrees, linear_rgb_to_lab
from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.face_model.skin import skin_colour
from facealbedo.core.fit.tone_features import N_FEATURES
from facealbedo.core.tensor_file import TensorFileError, read_tensor_file
from facealbedo.core.types import TensorRecord

FORMAT = "facealbedo-tone-1"
_MELANIN = (math.log(0.0025), math.log(0.75))
_HAEMOGLOBIN = (math.log(0.012), math.log(0.09))
_ITA_SCALE = 10.0


class ToneEstimatorError(FaceAlbedoError):
    """The bytes are not a tone estimator that this version can read."""


@dataclass(frozen=True)
class Tone(TensorRecord):
    """Estimated tone of the core skin: natural logs of melanin and blood fraction; ITA in degrees and its spread.

    ``ita_scale_degrees`` is the mean absolute error to be expected (the scale of a Laplace distribution).
    """

    log_melanin: Float[Tensor, "batch"]
    log_haemoglobin: Float[Tensor, "batch"]
    ita_degrees: Float[Tensor, "batch"]
    ita_scale_degrees: Float[Tensor, "batch"]


@dataclass(frozen=True)
class ToneEstimator(TensorRecord):
    """A perceptron on standardised features; ``weights`` and ``biases`` layer by layer, SiLU between.

    Outputs: log melanin and log haemoglobin through a logistic within the model's range, and the log of the spread.
    """

    feature_mean: Float[Tensor, "feature"]
    feature_std: Float[Tensor, "feature"]
    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    def estimate(self, features: Float[Tensor, "batch feature"]) -> Tone:
        """Return the tone for features as `tone_features` makes them."""
        if features.shape[1] != len(self.feature_mean):
            raise ValueError(f"expected {len(self.feature_mean)} features, got {features.shape[1]}")
        # Beyond four standard deviations the network has learned nothing: it is shown the border instead.
        values = ((features - self.feature_mean) / self.feature_std).clamp(-4, 4)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            values = nn.functional.silu(values @ weight.T + bias)
        return tone_from_outputs(values @ self.weights[-1].T + self.biases[-1])

    def to_bytes(self) -> bytes:
        """Return the estimator as a safetensors file."""
        tensors = {"feature_mean": self.feature_mean, "feature_std": self.feature_std}
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            tensors |= {f"weight_{index}": weight.contiguous(), f"bias_{index}": bias}
        return safetensors.torch.save(tensors, {FORMAT: json.dumps({"layers": len(self.weights)})})

    @staticmethod
    def from_bytes(data: bytes) -> ToneEstimator:
        """Read what `to_bytes` wrote.

        Raises:
            ToneEstimatorError: damaged, of another format, or for another set of features.
        """
        try:
            tensors, metadata = read_tensor_file(data, FORMAT)
            layers = metadata["layers"]
            estimator = ToneEstimator(
                tensors["feature_mean"],
                tensors["feature_std"],
                tuple(tensors[f"weight_{index}"] for index in range(layers)),
                tuple(tensors[f"bias_{index}"] for index in range(layers)),
            )
        except (TensorFileError, KeyError, TypeError, ValueError) as error:
            raise ToneEstimatorError(f"not a tone estimator: {error}") from error
        if len(estimator.feature_mean) != N_FEATURES:
            raise ToneEstimatorError(
                f"the tone estimator was trained on {len(estimator.feature_mean)} features, this version makes "
                f"{N_FEATURES}; train it again with `kedro run --pipelines tone`"
            )
        sizes = [N_FEATURES, *(bias.shape[0] if bias.ndim == 1 else -1 for bias in estimator.biases)]
        shapes = [tuple(weight.shape) for weight in estimator.weights]
        if shapes != list(zip(sizes[1:], sizes[:-1], strict=True)) or sizes[-1] != 3:
            raise ToneEstimatorError(f"the tone estimator's layers do not fit together: {shapes}")
        return estimator


def tone_from_outputs(outputs: Float[Tensor, "batch 3"]) -> Tone:
    """Map the network's outputs to a tone; differentiable."""
    melanin = _between(outputs[:, 0], _MELANIN)
    haemoglobin = _between(outputs[:, 1], _HAEMOGLOBIN)
    ita = ita_degrees(linear_rgb_to_lab(tone_rgb(melanin, haemoglobin)))
    return Tone(melanin, haemoglobin, ita, _ITA_SCALE * outputs[:, 2].clamp(-3, 2).exp())


def tone_rgb(log_melanin: Float[Tensor, "batch"], log_haemoglobin: Float[Tensor, "batch"]) -> Float[Tensor, "batch 3"]:
    """Linear albedo of skin of a tone; differentiable."""
    return skin_colour(log_melanin[:, None, None], log_haemoglobin[:, None, None])[:, :, 0, 0]


def _between(value: Tensor, limits: tuple[float, float]) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * torch.sigmoid(value)


@dataclass(frozen=True)
class ToneTrainingConfig:
    """Size of the network and of its training.

    Attributes:
        hidden: units of each hidden layer.
        epochs, batch_size, learning_rate, weight_decay: of AdamW with a cosine schedule.
        colour_weight: weight of the colour difference (delta E 76) beside the error of ITA.
        feature_noise: standard deviation of noise on standardised features, against reliance on exact values that
            real pictures do not keep.
        seed: of initialisation and order.
    """

    hidden: tuple[int, ...] = (128, 96, 64)
    epochs: int = 12
    batch_size: int = 512
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    colour_weight: float = 0.3
    feature_noise: float = 0.10
    seed: int = 0


def train_tone_estimator(
    features: Float[Tensor, "face feature"],
    log_melanin: Float[Tensor, "face"],
    log_haemoglobin: Float[Tensor, "face"],
    config: ToneTrainingConfig | None = None,
) -> ToneEstimator:
    """Fit the network to fabricated faces; minimises the expected absolute error of ITA with its spread.

    Args:
        features: from `tone_features`.
        log_melanin: true tone of each face.
        log_haemoglobin: the same, of its blood.
        config: sizes.
    """
    settings = config or ToneTrainingConfig()
    generator = torch.Generator().manual_seed(settings.seed)
    mean, std = features.mean(0), features.std(0).clamp(min=1e-3)
    inputs = ((features - mean) / std).clamp(-4, 4)
    true_lab = linear_rgb_to_lab(tone_rgb(log_melanin, log_haemoglobin))
    true_ita = ita_degrees(true_lab)
    layers = _initial_layers((features.shape[1], *settings.hidden, 3), generator)
    optimiser = torch.optim.AdamW(
        [tensor for layer in layers for tensor in layer], lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    steps = settings.epochs * (len(inputs) // settings.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=max(steps, 2))
    for _ in range(settings.epochs):
        order = torch.randperm(len(inputs), generator=generator)
        for start in range(0, len(order) - settings.batch_size + 1, settings.batch_size):
            chosen = order[start : start + settings.batch_size]
            noise = torch.randn(len(chosen), inputs.shape[1], generator=generator) * settings.feature_noise
            values = inputs[chosen] + noise
            for weight, bias in layers[:-1]:
                values = nn.functional.silu(values @ weight.T + bias)
            tone = tone_from_outputs(values @ layers[-1][0].T + layers[-1][1])
            error = (tone.ita_degrees - true_ita[chosen]).abs()
            spread = tone.ita_scale_degrees
            likelihood = error / spread.detach() + (error.detach() / spread + spread.log())
            lab = linear_rgb_to_lab(tone_rgb(tone.log_melanin, tone.log_haemoglobin))
            colour = delta_e_76(lab, true_lab[chosen])
            loss = (error / _ITA_SCALE + 0.2 * likelihood + settings.colour_weight * colour / 5).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    weights = tuple(weight.detach() for weight, _ in layers)
    return ToneEstimator(mean, std, weights, tuple(bias.detach() for _, bias in layers))


def _initial_layers(sizes: tuple[int, ...], generator: torch.Generator) -> list[tuple[Tensor, Tensor]]:
    layers = []
    for fan_in, fan_out in pairwise(sizes):
        weight = torch.randn(fan_out, fan_in, generator=generator) * (1.0 / math.sqrt(fan_in))
        layers.append((weight.requires_grad_(), torch.zeros(fan_out).requires_grad_()))
    return layers
