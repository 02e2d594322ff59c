"""Model files that are wrong: cut, flipped, mixed up, or made to run code when unpickled."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files

import numpy as np
import safetensors.numpy
import torch

from facealbedo.assets.environments import environments_from_bytes
from facealbedo.assets.occlusion import occlusion_from_bytes
from facealbedo.core.errors import FaceAlbedoError
from facealbedo.core.face_model.albedo_prior import AlbedoPrior
from facealbedo.core.face_model.model import FaceModel
from facealbedo.core.fit.tone import ToneEstimator
from facealbedo.core.losses import LossWeights
from facealbedo.core.networks.pigment_net import PigmentNet
from facealbedo.core.networks.presets import PRESETS, NetworkConfig, build_refiner
from facealbedo.core.train.checkpoint import (
    checkpoint_to_bytes,
    restore_checkpoint,
    weights_from_bytes,
    weights_to_bytes,
)
from facealbedo.core.train.config import TrainConfig
from facealbedo.core.train.state import TrainState, fresh_state

# A pickle that would leave a file behind if anything ever unpickled it.
HARMFUL_PICKLE = b"cos\nsystem\n(S'touch harmed_by_pickle'\ntR."

# Files whose metadata says nothing that a reader needs.
PLAIN = ("environments", "occlusion")


@cache
def good_files() -> dict[str, bytes]:
    """Return one readable file for each reader of `readers`."""
    names = ("face_model", "albedo_prior", "tone_estimator", "pigment_net", "environments", "occlusion")
    embedded = {name: (files("facealbedo.assets") / f"{name}.safetensors").read_bytes() for name in names}
    network = min(PRESETS.values(), key=lambda config: sum(config.channels))
    made = {"weights": weights_to_bytes(build_refiner(network), network, {})}
    return {**embedded, **made, "checkpoint": checkpoint_to_bytes(_state(), _config())}


def _config() -> TrainConfig:
    return TrainConfig(NetworkConfig(channels=(8, 8), residual_blocks=1, light_factor=2), LossWeights())


def _state() -> TrainState:
    """Return what training keeps, with moments, after a step."""
    state = fresh_state(_config(), torch.device("cpu"))
    sum(parameter.square().sum() for parameter in state.refiner.parameters()).backward()
    state.optimizer.step()
    return state


def readers() -> dict[str, Callable[[bytes], object]]:
    """Return what reads each kind of file."""
    return {
        "face_model": FaceModel.from_bytes,
        "albedo_prior": AlbedoPrior.from_bytes,
        "tone_estimator": ToneEstimator.from_bytes,
        "pigment_net": PigmentNet.from_bytes,
        "environments": environments_from_bytes,
        "occlusion": occlusion_from_bytes,
        "weights": weights_from_bytes,
        "checkpoint": lambda data: restore_checkpoint(data, _state(), _config()),
    }


def never_right() -> dict[str, bytes]:
    """Return contents that no reader may take."""
    tiny = safetensors.numpy.save({"x": np.zeros(3, np.float32)})
    return {
        "empty": b"",
        "text": b"no model",
        "pickle": HARMFUL_PICKLE,
        "torch zip": b"PK\x03\x04" + HARMFUL_PICKLE,
        "header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
        "header longer than the file": struct.pack("<Q", 10_000) + b"{}",
        "deep header": struct.pack("<Q", 60_000) + b'{"a":' * 10_000 + b" " * 10_000,
        "header of noise": struct.pack("<Q", 100) + random.Random(5).randbytes(100),
        "no tensors": struct.pack("<Q", 2) + b"{}",
        "other tensors": tiny,
        "other metadata": with_metadata(tiny, {"format": "pt"}),
        "offsets that overlap": header_of({"a": tensor(0, 12), "b": tensor(4, 16)}) + bytes(16),
        "offsets beyond the end": header_of({"a": tensor(0, 2**40)}) + bytes(16),
        "negative shape": header_of({"a": {**tensor(0, 12), "shape": [-3]}}) + bytes(12),
    }


def tensor(start: int, end: int) -> dict[str, object]:
    """Return the header's entry of three floats."""
    return {"dtype": "F32", "shape": [(end - start) // 4], "data_offsets": [start, end]}


def header_of(entries: dict[str, object]) -> bytes:
    """Return the beginning of a safetensors file."""
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text


def with_metadata(data: bytes, metadata: dict[str, str]) -> bytes:
    """Return the file with other metadata."""
    length = struct.unpack("<Q", data[:8])[0]
    entries = json.loads(data[8 : 8 + length])
    return header_of({**entries, "__metadata__": metadata}) + data[8 + length :]


def damaged(name: str, count: int, seed: int) -> Iterator[tuple[str, bytes, bool]]:
    """Yield a kind, content, and whether it may still be readable (a flipped bit of a number changes no format)."""
    data = good_files()[name]
    draw = random.Random(f"{name} {seed}")
    length = struct.unpack("<Q", data[:8])[0]
    for index in range(count):
        yield f"{name} cut {index}", data[: draw.randrange(len(data))], False
        for kind, stop in (("header", 8 + length), ("data", len(data))):
            changed = bytearray(data)
            for _ in range(draw.choice((1, 8))):
                changed[draw.randrange(stop)] ^= 1 << draw.randrange(8)
            yield f"{name} flipped {kind} {index}", bytes(changed), True
    for other, content in good_files().items():
        if other != name:
            yield f"{name} that is {other}", content, False
    for kind, content in never_right().items():
        yield f"{name}: {kind}", content, False
    yield f"{name}: bytes after the end", data + b"x", False
    if name in PLAIN:
        return
    yield f"{name}: metadata lost", with_metadata(data, {}), False
    yield f"{name}: metadata that is no JSON", with_metadata(data, dict.fromkeys(metadata_keys(data), "{")), False
    yield f"{name}: metadata of another shape", with_metadata(data, dict.fromkeys(metadata_keys(data), "[1]")), False
    yield f"{name}: nested metadata", with_metadata(data, dict.fromkeys(metadata_keys(data), "[" * 20_000)), False


def metadata_keys(data: bytes) -> list[str]:
    """Return the names of a file's metadata."""
    length = struct.unpack("<Q", data[:8])[0]
    return list(json.loads(data[8 : 8 + length]).get("__metadata__", {}))


def objections(name: str, count: int = 3, seed: int = 0) -> tuple[int, list[str]]:
    """Read damaged files of one kind; return how many, and a line for each that did not end as documented."""
    read, lines, number = readers()[name], [], 0
    for kind, content, may_be_read in damaged(name, count, seed):
        number += 1
        try:
            read(content)
        except FaceAlbedoError as error:
            if not str(error).strip():
                lines.append(f"{kind}: no message")
        except Exception as error:  # which ones there are is what is being found out
            lines.append(f"{kind}: {type(error).__name__}: {str(error)[:200]}")
        else:
            if not may_be_read:
                lines.append(f"{kind}: was read as if nothing were wrong")
    return number, lines
