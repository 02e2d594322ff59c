"""Parameters of the `tone` pipeline, which trains the estimator of skin tone."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class ToneParams(BaseModel):
    """How many faces are simulated and how the network is trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    training_faces: int = Field(72_000, ge=1_000, description="Simulated pictures to learn from.")
    test_faces: int = Field(3_000, ge=600, description="Simulated pictures in held-out environments, for the numbers.")
    epochs: int = Field(12, ge=1, le=500, description="Passes over the simulated pictures.")
    seed: int = Field(0, ge=0, description="Of simulation, initialisation and order.")
