"""Parameters of the `export` pipeline, which makes assets of finished fits."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ExportFitsParams(BaseModel):
    """What is made of each fitted crop."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    method: Literal["quotient", "prior", "network"] = Field(
        "quotient", description="What completes the albedo; `network` needs `weights`."
    )
    weights: str | None = Field(None, description="Weights file of a network, as the pipeline `train` writes it.")
    texture_px: Literal[256, 512, 1024, 2048] = Field(1024, description="Side of the texture maps, texels.")
    expression: Literal["fitted", "neutral"] = Field("fitted", description="Expression of the exported geometry.")
    morph_targets: bool = Field(False, description="Write the expression units as glTF morph targets.")
