"""Parameters of the `pigment` pipeline, which trains the network that tells pigment from shading."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class PigmentParams(BaseModel):
    """How many faces are fabricated and how the network is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: str = Field("auto", pattern="^(auto|cpu|cuda)$", description="`auto`: CUDA if there is one.")
    steps: int = Field(2800, ge=1, description="Of the optimiser.")
    batch_size: int = Field(32, ge=1, le=1024, description="Faces a step.")
    resolution: int = Field(
        256, ge=64, le=256, multiple_of=32, description="Texels a side; what ships needs 256, as inference is at 256."
    )
    pool_faces: int = Field(500, ge=1, description="Skins to draw from.")
    test_faces: int = Field(192, ge=1, description="Faces for the numbers, in held-out environments.")
    learning_rate: float = Field(2e-3, gt=0, le=1, description="Of AdamW.")
    seed: int = Field(0, ge=0, description="Of faces and initialisation.")
