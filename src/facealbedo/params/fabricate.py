"""Parameters of the `fabricate` pipeline, which makes photos of people that do not exist."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class FabricateParams(BaseModel):
    """How many portraits, how large, and which."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = Field(24, ge=1, le=100_000, description="Portraits; the six ITA groups take turns.")
    size_px: int = Field(512, ge=128, le=2048, description="Side of a portrait, pixels.")
    texture_px: int = Field(256, ge=64, le=1024, multiple_of=2, description="Side of the true albedo map, texels.")
    seed: int = Field(20_000, ge=0, le=2**62, description="Decides everything; portrait i is drawn from seed + i.")
