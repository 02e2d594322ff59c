"""Parameters of the `albedo_prior` pipeline, which builds the albedo prior that ships with the package."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class AlbedoPriorParams(BaseModel):
    """How the prior is built. The committed file was made with the defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resolution: int = Field(256, ge=32, le=1024, multiple_of=2, description="Side of the stored maps, texels.")
    seed: int = Field(7, ge=0, description="Seed of the blotches and of the population's tones.")
    n_noise: int = Field(128, ge=1, le=4096, description="Noise fields that enter the components.")
    n_levels: int = Field(60_000, ge=600, description="Tones drawn for the population's mean and spread.")
