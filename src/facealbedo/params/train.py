"""Parameters of the pipeline `train`: what is learned, from what, and how."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_STRICT = ConfigDict(extra="forbid", frozen=True)


class NetworkParams(BaseModel):
    """Shape of the networks; see `core.networks.presets.NetworkConfig`."""

    model_config = _STRICT

    architecture: Literal["paper", "residual"] = Field("residual", description="Family of the networks.")
    channels: tuple[int, ...] = Field((32, 64, 128, 256, 320), min_length=1, description="Of the levels, finest first.")
    residual_blocks: int = Field(2, ge=0, le=16, description="At the deepest level.")
    light_factor: int = Field(8, ge=1, le=16, description="Atlas texels a side of a texel of the light map.")
    max_log_ratio: float = Field(2.0, gt=0, le=5, description="Largest believable |log(texture / (light x prior))|.")
    max_log_change: float = Field(3.0, gt=0, le=6, description="Largest log change of the albedo by the network.")
    noise_seed: int = Field(0, ge=0, description="Of the noise in unseen texels at inference (paper).")
    unseen: Literal["noise", "zeros"] = Field("noise", description="What stands for unseen texels (paper).")
    light_map: bool = Field(True, description="Correct the fitted light texel by texel (residual).")
    shading_gain: bool = Field(True, description="Have a full-resolution gain of the shading (residual).")
    baked_light: bool = Field(True, description="Take out of the albedo what goes with the fitted light (residual).")


class LossParams(BaseModel):
    """Weights of the loss terms, 0: left out; see `core.losses.total.LossWeights`."""

    model_config = _STRICT

    photometric: float = Field(1.0, ge=0, le=1000, description="Render against photo: length of the RGB difference.")
    gradient: float = Field(1.0, ge=0, le=1000, description="Render against photo: image gradients.")
    multiscale_gradient: float = Field(0.2, ge=0, le=1000, description="The same of images halved once and twice.")
    perceptual: float = Field(0.0, ge=0, le=1000, description="Render against photo: 1 - cosine of deep features.")
    cross_renders: float = Field(0.0, ge=0, le=10, description="Of the renders with fitted light and with the prior.")
    prior: float = Field(0.0, ge=0, le=1000, description="Albedo against prior, texel by texel.")
    prior_decays: bool = Field(False, description="Let the weight of `prior` fall to 0.3 of itself.")
    prior_width: float = Field(0.075, ge=0, le=1, description="Distance below which `prior` is quadratic; sRGB.")
    unseen_prior: float = Field(0.2, ge=0, le=1000, description="`prior` where neither side is seen.")
    unseen_symmetry: float = Field(0.3, ge=0, le=1000, description="`symmetry` where only the other side is seen.")
    low_pass_prior: float = Field(0.1, ge=0, le=1000, description="The smooth, symmetric part of log(albedo / prior).")
    symmetry: float = Field(0.0, ge=0, le=1000, description="Albedo against its mirror image.")
    low_pass_symmetry: float = Field(1.0, ge=0, le=1000, description="The same of the smooth part.")
    chroma: float = Field(0.1, ge=0, le=1000, description="Albedo edges where the photo's chromaticity is even.")
    chroma_sharpness: float = Field(80.0, ge=0, description="How even that must be.")
    white_light: float = Field(1.0, ge=0, le=1000, description="Colour of the light.")
    free_light_colour: bool = Field(True, description="Measure it about the fitted light instead of about grey.")
    global_light: float = Field(0.5, ge=0, le=1000, description="Light map against the fitted light.")
    light_variation: float = Field(0.5, ge=0, le=1000, description="Total variation of the light map.")
    shading_gain: float = Field(0.01, ge=0, le=1000, description="Size of the full-resolution gain of the shading.")
    gain_colour: float = Field(0.02, ge=0, le=1000, description="Colour of that gain.")
    pigment: float = Field(1.0, ge=0, le=1000, description="Detail of the albedo against what colours say is pigment.")
    confidence: float = Field(0.05, ge=0, le=1000, description="Stated against true error of fabricated faces.")
    true_albedo: float = Field(2.0, ge=0, le=1000, description="Fabricated faces: log albedo, in the tone of the fit.")
    true_chroma: float = Field(1.0, ge=0, le=1000, description="Fabricated faces: ratios between the channels.")
    true_detail: float = Field(4.0, ge=0, le=1000, description="Fabricated faces: differences of neighbours.")


class PresetParams(BaseModel):
    """A named way to train: network, weights, share of fabricated faces, learning rate."""

    model_config = _STRICT

    network: NetworkParams = NetworkParams()
    weights: LossParams = LossParams()
    fabricated_share: float = Field(0.25, ge=0, le=1, description="Part of each batch that is fabricated.")
    learning_rate: float = Field(4e-4, gt=0, le=0.1, description="Of Adam, after the warm-up.")
    schedule: Literal["constant", "cosine", "decay"] = Field("cosine", description="How the rate falls.")


class TrainerParams(BaseModel):
    """How long and on what; see `core.train.config.TrainConfig`."""

    model_config = _STRICT

    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: CUDA if there is some.")
    devices: int = Field(1, ge=1, le=64, description="Processes on this machine, one a device.")
    steps: int = Field(10_000, ge=1, description="Optimiser steps.")
    batch_size: int = Field(32, ge=1, le=4096, description="Faces a step on each device.")
    resolution: int = Field(256, ge=64, le=1024, multiple_of=64, description="Texels a side of the atlas maps.")
    scene_block: int = Field(8, ge=1, le=64, description="Steps for which scenes are made at once.")
    warmup_steps: int = Field(50, ge=0, description="Over which the learning rate rises.")
    clip_norm: float = Field(1.0, gt=0, description="Longest gradient.")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="Of the running mean of the weights.")
    flip: bool = Field(True, description="Mirror half of the photos.")
    mixed_precision: bool = Field(True, description="Compute the network in bfloat16.")
    compile: bool = Field(False, description="Let torch compile network and losses.")
    cuda_graphs: bool = Field(False, description="Record the launches of `compile` and replay them.")
    seed: int = Field(0, ge=0, description="Of weights, order, mirror and fabricated faces.")
    log_every: int = Field(50, ge=0, description="Steps between logged numbers; 0: never.")
    validate_every: int = Field(1000, ge=0, description="Steps between validations; 0: never.")
    image_every: int = Field(1000, ge=0, description="Steps between picture grids; 0: never.")
    checkpoint_every: int = Field(1000, ge=0, description="Steps between checkpoints; 0: never.")


class FabricationParams(BaseModel):
    """Faces with known albedo, made inside the training step."""

    model_config = _STRICT

    pool_faces: int = Field(600, ge=6, le=20_000, description="Albedo maps drawn once; everything else is always new.")
    light_fit_iterations: int = Field(2, ge=1, le=10, description="Rounds of the light fit of fabricated faces.")


class ValidationParams(BaseModel):
    """What is kept out of training to look at."""

    model_config = _STRICT

    held_out_share: float = Field(0.05, ge=0, lt=1, description="Share of the photos; chosen by their ids.")
    max_photos: int = Field(96, ge=0, description="Most of these that are measured.")
    fabricated_faces: int = Field(48, ge=0, description="Fabricated faces in environments never trained with.")
    pictured: int = Field(8, ge=1, le=64, description="Faces in a picture grid.")


class TrainParams(BaseModel):
    """All of the pipeline `train`."""

    model_config = _STRICT

    preset: str = Field("default", description="Which of `presets`.")
    presets: dict[str, PresetParams] = Field(description="Named ways to train.")
    trainer: TrainerParams = TrainerParams()
    fabrication: FabricationParams = FabricationParams()
    validation: ValidationParams = ValidationParams()

    @model_validator(mode="after")
    def _known_preset(self) -> TrainParams:
        if self.preset not in self.presets:
            raise ValueError(f"no preset {self.preset!r}; there are {', '.join(sorted(self.presets))}")
        return self

    @property
    def chosen(self) -> PresetParams:
        """The preset."""
        return self.presets[self.preset]
