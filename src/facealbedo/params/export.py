"""Parameters of the `export` pipeline, which makes assets of finished fits."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from facealbedo.params.reconstruct import ExportParams, RefineParams


class ExportFitsParams(BaseModel):
    """What is made of each fitted crop; as in `ReconstructParams`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    texture_px: Literal[256, 512, 1024, 2048] = Field(1024, description="Side of the texture maps, texels.")
    working_px: Literal[128, 256, 512] = Field(256, description="Side of the maps in which light and tone are fitted.")
    refine: RefineParams = RefineParams()
    export: ExportParams = ExportParams()
