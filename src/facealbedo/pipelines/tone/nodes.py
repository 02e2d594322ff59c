"""Nodes of the `tone` pipeline."""

from __future__ import annotations

from facealbedo.params.tone import ToneParams


def train_tone(params: ToneParams) -> bytes:
    """Return the trained estimator as a safetensors file."""
    from facealbedo.core.fit.tone import ToneTrainingConfig, train_tone_estimator
    from facealbedo.fabricated import tone_statistics

    seen = tone_statistics(params.training_faces, params.seed, held_out=False)
    config = ToneTrainingConfig(epochs=params.epochs, seed=params.seed)
    return train_tone_estimator(seen.features, seen.log_melanin, seen.log_haemoglobin, config).to_bytes()


def measure_tone_estimator(params: ToneParams, estimator_file: bytes) -> dict[str, float]:
    """Return ITA errors by group on simulated pictures in held-out environments."""
    from facealbedo.core.fit.tone import ToneEstimator
    from facealbedo.core.metrics.tone import tone_errors
    from facealbedo.fabricated import tone_statistics

    unseen = tone_statistics(params.test_faces, params.seed + 1, held_out=True)
    estimate = ToneEstimator.from_bytes(estimator_file).estimate(unseen.features)
    return tone_errors(estimate.ita_degrees, unseen.ita_degrees()).as_dict()
