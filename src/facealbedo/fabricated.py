"""Fabricated portraits from the embedded models: for the demo, for tests and for measuring the tone estimate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache

import safetensors.torch
import torch

from facealbedo.assets import load_face_model
from facealbedo.assets.environments import load_environments
from facealbedo.assets.occlusion import load_occlusion
from facealbedo.assets.prior import load_albedo_prior
from facealbedo.assets.tone import HELD_OUT_ENVIRONMENTS
from facealbedo.core.colour import ITA_GROUPS
from facealbedo.core.fabricate.portrait import PortraitConfig, Portraits, Studio, fabricate_portraits
from facealbedo.core.fabricate.tone_statistics import (
    ToneSimulationConfig,
    ToneStatistics,
    simulate_tone_statistics,
)
from facealbedo.core.imaging.encoding import encode_png_srgb
from facealbedo.core.lighting.envmap import EnvironmentMap
from facealbedo.core.types import TensorRecord


@lru_cache(maxsize=2)
def load_studio(held_out: bool) -> Studio:
    """Return the embedded models with the environments that the tone estimator never saw, or with the others."""
    environments = load_environments()
    chosen = [index for index, name in enumerate(environments.names) if (name in HELD_OUT_ENVIRONMENTS) == held_out]
    return Studio(
        model=load_face_model(),
        prior=load_albedo_prior(),
        occlusion=load_occlusion(),
        environments=EnvironmentMap(environments.maps.radiance[chosen]),
        environments_sh=environments.sh_radiance[chosen],
    )


@torch.no_grad()
def portraits(
    count: int, seed: int, config: PortraitConfig | None = None, groups: torch.Tensor | None = None
) -> Portraits:
    """Return portraits in held-out light, decided by ``seed``."""
    return fabricate_portraits(load_studio(True), count, torch.Generator().manual_seed(seed), config, groups)


@torch.no_grad()
def tone_statistics(count: int, seed: int, held_out: bool) -> ToneStatistics:
    """Return features and truth of simulated pictures for the tone estimator."""
    studio = load_studio(held_out)
    return simulate_tone_statistics(
        studio.model,
        studio.prior,
        studio.occlusion.openness,
        studio.environments,
        studio.environments_sh,
        ToneSimulationConfig(faces=count, seed=seed),
    )


def fabricated_portrait(seed: int) -> bytes:
    """Return one portrait as a PNG; odd seeds make light skin, even ones dark."""
    group = torch.tensor([1 if seed % 2 else 5])
    return encode_png_srgb(portraits(1, 100 + seed, PortraitConfig(size_px=640), group).image[0])


@dataclass(frozen=True)
class FabricatedPerson:
    """A portrait and what is true of it.

    * ``photo``: PNG, sRGB. ``truth``: safetensors of the portrait's own records: ``uv_albedo`` (linear),
      ``coefficients.*``, ``pose.*``, ``camera.*``, ``light.*`` (view frame), ``response.*``.
    """

    name: str
    photo: bytes
    truth: bytes


def fabricated_people(count: int, seed: int, size_px: int, texture_px: int) -> Iterator[FabricatedPerson]:
    """Make portraits one by one, each from its own seed, the six ITA groups in turn.

    They may be trained with: their light is that of training, not the held-out light of the evaluation.
    """
    config = PortraitConfig(size_px=size_px, texture_px=texture_px)
    studio = load_studio(False)
    for number in range(count):
        group = torch.tensor([number % len(ITA_GROUPS)])
        with torch.no_grad():
            made = fabricate_portraits(studio, 1, torch.Generator().manual_seed(seed + number), config, group)
        tensors = {name: value.contiguous() for name, value in _tensors(made) if name != "image"}
        # No metadata: safetensors writes it in an unstable order, and equal people must give equal bytes.
        truth = safetensors.torch.save(tensors)
        yield FabricatedPerson(f"fabricated_{number:05d}", encode_png_srgb(made.image[0]), truth)


def _tensors(record: TensorRecord, prefix: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    for item in fields(record):  # type: ignore[arg-type]
        value = getattr(record, item.name)
        if isinstance(value, torch.Tensor):
            yield f"{prefix}{item.name}", value
        elif isinstance(value, TensorRecord):
            yield from _tensors(value, f"{prefix}{item.name}.")
