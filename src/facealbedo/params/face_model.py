"""Parameters of the `face_model` pipeline (builds the face model) and of `face_landmarks` (embeds its landmarks)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class PopulationParams(BaseModel):
    """How the heads behind the identity basis are drawn."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_samples: int = Field(2000, ge=200, le=20_000, description="Heads drawn; each counts mirrored, too.")
    seed: int = Field(0, ge=0, description="Seed of the draw.")
    local_sigma: float = Field(0.33, gt=0, le=1, description="Standard deviation of a local target's weight.")
    asymmetry_sigma: float = Field(0.06, ge=0, le=1, description="What each side adds to a paired target's weight.")
    asymmetry_factor: float = Field(0.3, ge=0, le=1, description="Factor on targets that are asymmetric themselves.")
    baby_share: float = Field(0.12, ge=0, le=0.5, description="Share of heads between baby and child.")
    child_share: float = Field(0.13, ge=0, le=0.5, description="Share of heads between child and young adult.")
    back_weight: float = Field(0.35, gt=0, le=1, description="Weight of back, ears and inside; the front has 1.")
    n_components: int = Field(80, ge=1, le=400, description="Identity coefficients of the model.")


class AtlasParams(BaseModel):
    """How the UV atlas is laid out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    back_density: float = Field(0.16, gt=0, le=1, description="Wanted texels a length behind; the face has 1.")
    seam_top: float = Field(-0.13, ge=-0.2, le=0, description="The seam at the back ends at this z, metres.")
    seam_share: float = Field(0.34, gt=0, lt=0.5, description="Share of the first border of each side of the seam.")
    border_power: float = Field(10.0, ge=2, le=50, description="Exponent of the superellipse of the first border.")
    n_reweightings: int = Field(14, ge=1, le=100, description="Steps that even out the first layout.")
    n_descents: int = Field(150, ge=1, le=1000, description="Greatest number of Newton steps.")
    tolerance: float = Field(1e-6, gt=0, le=1e-2, description="Stop when a step gains less than this share.")
    fill: float = Field(6.0, gt=0, le=20, description="Wanted area in a square of 4: above 4 presses outward.")
    margin: float = Field(0.008, ge=0, le=0.1, description="Empty rim of the square, as a share of its side.")


class FaceModelParams(BaseModel):
    """How the face model is built. The committed file was made with the defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    population: PopulationParams = PopulationParams.model_validate({})
    atlas: AtlasParams = AtlasParams.model_validate({})


class PortraitParams(BaseModel):
    """Rendered heads for the detector."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = Field(160, ge=5, le=5000, description="Number of heads.")
    size_px: int = Field(512, ge=128, le=2048, description="Width and height, pixels.")
    seed: int = Field(3, ge=0, description="Seed of shapes, poses, tones and light.")
    identity_std: float = Field(0.45, ge=0, le=2, description="Standard deviation of the identity coefficients.")
    yaw_degrees: float = Field(10.0, ge=0, le=60, description="Greatest turn to either side.")
    pitch_degrees: float = Field(15.0, ge=0, le=45, description="Greatest nod.")
    roll_degrees: float = Field(8.0, ge=0, le=45, description="Greatest tilt.")
    field_of_view_degrees: float = Field(14.25, gt=1, lt=90, description="Of the camera.")
    face_height: float = Field(0.30, gt=0.1, lt=1, description="Height of the frame at the head, metres.")


class PhotoPassParams(BaseModel):
    """Which photos count."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_yaw_degrees: float = Field(15.0, gt=0, le=60, description="Faces turned further do not count.")
    max_nme_percent: float = Field(1.5, gt=0, le=10, description="Faces fitted worse do not count.")
    max_jaw_open: float = Field(0.05, ge=0, le=1, description="Faces with the mouth further open do not count.")
    distance_log_sigma: float = Field(0.03, gt=0, le=1, description="How freely the camera's distance may move.")
    size_px: int = Field(840, ge=128, le=4096, description="Resolution at which a face is looked at, pixels.")


class FaceLandmarksParams(BaseModel):
    """How landmarks are embedded in the face model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    photos: str | None = Field(None, description="Folder of photos, one face each; needed, none are bundled.")
    max_photos: int = Field(700, ge=5, description="At most so many photos, drawn at random.")
    photo_seed: int = Field(0, ge=0, description="Seed of the draw.")
    n_passes: int = Field(2, ge=1, le=10, description="Passes over the photos.")
    portraits: PortraitParams = PortraitParams.model_validate({})
    photo_pass: PhotoPassParams = PhotoPassParams.model_validate({})
