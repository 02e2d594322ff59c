"""Parameters of the pipelines `preprocess` and `fit`, which turn photos into a table of fitted crops."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from facealbedo.params.reconstruct import GateParams


class PreprocessParams(BaseModel):
    """Where photos come from and how faces are cut out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photos: str | None = Field(
        None, description="A photo or a folder of photos; none: a bundled photograph and two fabricated faces."
    )
    faces: Literal["all", "largest"] = Field("all", description="Which faces of a photo are cut out.")
    max_faces: int = Field(16, ge=1, le=64, description="Most faces looked for in one photo.")
    min_face_px: float = Field(40.0, ge=16, description="Smallest side of the landmarks' box, pixels of the photo.")
    max_megapixels: float = Field(120.0, gt=0, le=500, description="Larger photos are refused, megapixels.")
    detector: Literal["mediapipe", "face_alignment"] = Field("mediapipe", description="Landmark detector.")
    crop_px: int = Field(256, ge=64, le=2048, multiple_of=4, description="Side of a crop, pixels.")
    margin: float = Field(1.3, ge=1.1, le=3.0, description="Side of the crop over the side of the landmarks' box.")
    jpeg_quality: int = Field(95, ge=50, le=100, description="Of the stored crops.")


class FitParams(BaseModel):
    """How crops are fitted and when a fit is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    working_px: Literal[128, 256, 512] = Field(256, description="Side of the maps in which light and tone are fitted.")
    trust_px: Literal[32, 64, 128] = Field(64, description="Side of the stored face mask in the atlas.")
    gates: GateParams = GateParams(max_yaw_degrees=40.0, max_nme_percent=2.5)
