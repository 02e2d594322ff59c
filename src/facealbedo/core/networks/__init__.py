"""Refinement and illumination networks: texture and prior in, detailed albedo and per-texel light out."""

from facealbedo.core.networks.presets import PRESETS, NetworkConfig, build_refiner
from facealbedo.core.networks.records import RefinerInput, RefinerOutput
from facealbedo.core.networks.refiner import Refiner, log_quotient

__all__ = ["PRESETS", "NetworkConfig", "Refiner", "RefinerInput", "RefinerOutput", "build_refiner", "log_quotient"]
