"""A run as bytes: safetensors for every tensor, JSON for the rest, never pickle."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from facealbedo.core.networks.presets import NetworkConfig, build_refiner
from facealbedo.core.networks.refiner import Refiner
from facealbedo.core.tensor_file import TensorFileError, read_tensor_file
from facealbedo.core.train.config import TrainConfig, TrainingError
from facealbedo.core.train.state import TrainState

CHECKPOINT_FORMAT = "facealbedo-checkpoint-1"
WEIGHTS_FORMAT = "facealbedo-refiner-1"


def checkpoint_to_bytes(state: TrainState, config: TrainConfig) -> bytes:
    """Everything that the rest of the run depends on.

    Order of crops, mirroring and fabricated faces are pure functions of seed and step (`sampler`), so the step *is* the
    position of sampler and schedule; torch's global generators are kept too, for code that draws from them.
    """
    tensors: dict[str, Tensor] = {"rng.cpu": torch.get_rng_state()}
    if next(state.refiner.parameters()).is_cuda:
        tensors["rng.cuda"] = torch.cuda.get_rng_state()
    tensors |= {f"weights.{name}": value for name, value in state.refiner.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in state.average.state_dict().items()}
    for number, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in moments.items()}
    metadata = {"step": state.step, "settings": config.settings(), "fingerprint": config.fingerprint()}
    return _save(tensors, CHECKPOINT_FORMAT, metadata)


def restore_checkpoint(data: bytes, state: TrainState, config: TrainConfig) -> None:
    """Bring a fresh state of the same configuration to where the checkpoint was made.

    Raises:
        TrainingError: damaged, another architecture, or made with other settings (naming them).
    """
    tensors, metadata = _load(data, CHECKPOINT_FORMAT, "checkpoint", {"step", "settings", "fingerprint"})
    if metadata["fingerprint"] != config.fingerprint():
        changed = _differences(metadata["settings"], config.settings())
        architecture = any(name.startswith("network.") for name in changed)
        what = "is of another architecture" if architecture else "was made with other settings"
        raise TrainingError(f"the checkpoint {what}: {'; '.join(changed)}. Continue with those, or start a new run.")
    try:
        state.refiner.load_state_dict(_under(tensors, "weights."))
        state.average.load_state_dict(_under(tensors, "average."))
        _restore_moments(state.optimizer, tensors)
        torch.set_rng_state(tensors["rng.cpu"])
        if "rng.cuda" in tensors and next(state.refiner.parameters()).is_cuda:
            torch.cuda.set_rng_state(tensors["rng.cuda"])
        state.step = int(metadata["step"])
    except (RuntimeError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"the checkpoint's weights do not fit the network: {error}") from error


def _restore_moments(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _under(tensors, "optimizer.").items():
        number, key = name.split(".")
        moments.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if value.shape == parameter.shape:
                # The fused optimiser walks weights and moments side by side in memory: their strides must agree.
                state[name] = torch.empty_like(parameter).copy_(value)


def weights_to_bytes(refiner: Refiner, network: NetworkConfig, card: dict[str, Any], half: bool = True) -> bytes:
    """A network to ship: weights (16 bit unless ``half`` is off) and what is known about them."""
    tensors = {
        name: value.half() if half and value.is_floating_point() else value
        for name, value in refiner.state_dict().items()
    }
    return _save(tensors, WEIGHTS_FORMAT, {"network": asdict(network), "card": card})


def weights_from_bytes(data: bytes) -> tuple[Refiner, dict[str, Any]]:
    """Read what `weights_to_bytes` wrote: a network in evaluation (CPU, float32), and its card.

    Raises:
        TrainingError: damaged, or of another format.
    """
    tensors, metadata = _load(data, WEIGHTS_FORMAT, "weight file", {"network", "card"})
    try:
        settings = dict(metadata["network"])
        settings["channels"] = tuple(settings["channels"])
        refiner = build_refiner(NetworkConfig(**settings))
        refiner.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in tensors.items()})
    except (TypeError, KeyError, RuntimeError, ValueError) as error:
        raise TrainingError(f"the weights do not fit their network: {error}") from error
    return refiner.requires_grad_(False).eval(), metadata["card"]


def _save(tensors: dict[str, Tensor], kind: str, metadata: dict[str, Any]) -> bytes:
    on_host = {name: value.detach().to("cpu").contiguous() for name, value in tensors.items()}
    # One entry only: safetensors writes several in an unstable order, and equal runs must give equal bytes.
    return safetensors.torch.save(on_host, {kind: json.dumps(metadata, sort_keys=True)})


def _load(data: bytes, kind: str, what: str, entries: set[str]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        tensors, metadata = read_tensor_file(data, kind)
    except TensorFileError as error:
        raise TrainingError(f"this is not a complete {what} of this version ({error})") from error
    missing = entries - set(metadata)
    if missing:
        raise TrainingError(f"this is not a complete {what} of this version (its metadata lacks {sorted(missing)})")
    return tensors, metadata


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _differences(there: Any, here: Any, prefix: str = "") -> list[str]:
    if isinstance(there, dict) and isinstance(here, dict):
        names = sorted(set(there) | set(here))
        return [
            line
            for name in names
            for line in _differences(there.get(name), here.get(name), f"{prefix}.{name}" if prefix else name)
        ]
    return [] if there == here else [f"{prefix} {there} there, {here} here"]
