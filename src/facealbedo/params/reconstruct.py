"""Parameters of the `reconstruct` pipeline, the `facealbedo` command and the Python API."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class CropParams(BaseModel):
    """How a face is cut out of its photo."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_size_px: int = Field(1024, ge=128, le=4096, description="Largest side of the square crop, pixels.")
    margin: float = Field(1.6, ge=1.1, le=3.0, description="Side of the crop over the side of the landmarks' box.")


class GateParams(BaseModel):
    """When a face is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_face_px: float = Field(40.0, ge=16, description="Smallest side of the landmarks' box, pixels of the photo.")
    max_yaw_degrees: float = Field(55.0, gt=0, le=90, description="Largest turn of the head to either side, degrees.")
    max_nme_percent: float = Field(3.0, gt=0, le=20, description="Largest landmark error, % of the face's scale.")


class RefineParams(BaseModel):
    """How the unwrapped texture becomes a complete albedo."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["separation", "quotient", "prior", "network"] = Field(
        "network",
        description="`network`: learned; `separation`: pigment told from shading by colour; `quotient`: texture over "
        "shading, mirrored and completed; `prior`: the fit alone.",
    )
    weights: str | None = Field(
        None, description="Of `network`: a file that the pipeline `train` wrote; null: the ones that ship."
    )

    @model_validator(mode="after")
    def _weights_of_network(self) -> RefineParams:
        if self.method != "network" and self.weights is not None:
            raise ValueError(f"weights are of the method network, {self.method} takes none")
        return self


class ExportParams(BaseModel):
    """What is written for each face."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    expression: Literal["fitted", "neutral"] = Field("fitted", description="Expression of the exported geometry.")
    morph_targets: bool = Field(False, description="Write the expression units as glTF morph targets.")


class ReconstructParams(BaseModel):
    """Where photos come from, and everything that decides what a reconstruction looks like."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photos: str | None = Field(
        None, description="A photo or a folder of photos; none: a bundled photograph and two fabricated faces."
    )
    faces: Literal["all", "largest"] = Field("all", description="Which faces of a photo are reconstructed.")
    max_faces: int = Field(16, ge=1, le=64, description="Most faces looked for in one photo.")
    max_megapixels: float = Field(120.0, gt=0, le=500, description="Larger photos are refused, megapixels.")
    detector: Literal["mediapipe", "face_alignment"] = Field("mediapipe", description="Landmark detector.")
    texture_px: Literal[256, 512, 1024, 2048] = Field(1024, description="Side of the texture maps, texels.")
    working_px: Literal[128, 256, 512] = Field(256, description="Side of the maps in which light and tone are fitted.")
    crop: CropParams = CropParams()
    gates: GateParams = GateParams()
    refine: RefineParams = RefineParams()
    export: ExportParams = ExportParams()
