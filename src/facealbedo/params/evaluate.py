"""Parameters of the `evaluate` pipeline: which sets, which methods, how large."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

# In place of a path: the network that comes with the package.
SHIPPED = "shipped"


class TraceParams(BaseModel):
    """Work of the path tracer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    samples: int = Field(24, ge=1, le=4096, description="Paths a pixel of the diffuse pass.")
    gloss_samples: int = Field(8, ge=1, le=4096, description="Paths a pixel of the gloss.")


class RelitParams(BaseModel):
    """Size of the set of relit fabricated people."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    people_per_group: int = Field(6, ge=1, le=100, description="People of each of the six ITA groups.")
    lights: int = Field(5, ge=1, le=20, description="Photos of a person, each in another light.")
    targets: int = Field(2, ge=1, le=4, description="Relit views of a person in lights that no photo has.")
    photo_px: int = Field(384, ge=192, le=2048, description="Side of a photo, pixels.")
    target_px: int = Field(256, ge=128, le=1024, description="Side of a relit view, pixels.")
    photo_trace: TraceParams = TraceParams()
    target_trace: TraceParams = TraceParams(samples=40, gloss_samples=12)
    seed: int = Field(7_700_000_000, ge=0, description="Of the set; training draws from small seeds.")


SMALL_RELIT = RelitParams(
    people_per_group=1,
    lights=2,
    targets=1,
    photo_px=256,
    target_px=128,
    photo_trace=TraceParams(samples=8, gloss_samples=4),
    target_trace=TraceParams(samples=8, gloss_samples=4),
)


class EvaluateParams(BaseModel):
    """What is measured."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: Literal["small", "full"] = Field(
        "small", description="`small`: a look within minutes; `full`: the numbers that are published."
    )
    relit: dict[Literal["small", "full"], RelitParams] = Field(
        {"small": SMALL_RELIT, "full": RelitParams()}, description="The set of relit people in both sizes."
    )
    methods: tuple[str, ...] = Field(
        ("texture", "prior", "quotient", "separation", "optimised"),
        description="Built-in methods, in the order of the tables.",
    )
    weights: dict[str, str] = Field(
        {"default": SHIPPED}, description="Networks: name of the method, then its weights file, or `shipped`."
    )
    oracle: str = Field("separation", description="Method that is also measured with the true light strength.")
    gated: tuple[str, ...] = Field(
        ("quotient", "separation", "default"),
        description="Methods that must not get worse than the committed reference.",
    )
    detector: Literal["mediapipe", "face_alignment"] = Field("mediapipe", description="Landmark detector.")
    portraits: str | None = Field(None, description="A folder of photos; none: three bundled faces.")
    max_portraits: int = Field(1000, ge=1, description="At most this many photos, evenly chosen from the folder.")
    multilight: str | None = Field(
        None, description="A folder with a folder of photos for each person; none: the people of the set `relit`."
    )
    fair: str | None = Field(
        None, description="A folder with the FAIR benchmark and predictions (see docs); none: published rows alone."
    )
