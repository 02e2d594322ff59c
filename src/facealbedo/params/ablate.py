"""Parameters of the pipeline `ablate`: which parts of the method are left out or exchanged, at which budget."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from facealbedo.params.train import PresetParams, TrainParams

_STRICT = ConfigDict(extra="forbid", frozen=True)


class AblationParams(BaseModel):
    """One row of the table: a preset of `train`, and what is changed in it."""

    model_config = _STRICT

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", description="Of the row.")
    about: str = Field(min_length=1, max_length=120, description="What is different, in a few words.")
    preset: str = Field("default", description="Preset of `train` that is changed.")
    change: PresetParams = Field(
        PresetParams(), description="Values of the preset that differ; what is not written stays as the preset has it."
    )
    seeds: int = Field(1, ge=1, le=20, description="Trainings, each with a seed of its own.")

    @property
    def written(self) -> dict[str, Any]:
        """What `change` says, without what it leaves to the preset."""
        return self.change.model_dump(mode="json", exclude_unset=True)


class AblateParams(BaseModel):
    """A list of trainings under one budget; everything not written here is as in `train`."""

    model_config = _STRICT

    steps: int = Field(1500, ge=1, description="Optimiser steps of each training.")
    batch_size: int = Field(32, ge=1, le=4096, description="Faces a step on each device, for each training.")
    seed: int = Field(0, ge=0, description="Of the first training of a row, and of the faces that all are measured on.")
    rows: tuple[AblationParams, ...] = Field(
        min_length=1, description="The table; the first is what the others are compared with."
    )

    @model_validator(mode="after")
    def _names_differ(self) -> AblateParams:
        names = [row.name for row in self.rows]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"rows need different names; more than one is called {', '.join(twice)}")
        return self

    def training(self, row: AblationParams, train: TrainParams, seed: int) -> TrainParams:
        """Return the parameters of one training: the changed preset, under the row's name, and the budget.

        Raises:
            ValueError: the row's preset is none of `train`'s.
        """
        if row.preset not in train.presets:
            raise ValueError(f"row {row.name}: no preset {row.preset!r}; there are {', '.join(sorted(train.presets))}")
        preset = _merged(train.presets[row.preset].model_dump(), row.written)
        trainer = train.trainer.model_copy(
            update={
                "steps": self.steps, "batch_size": self.batch_size, "seed": seed,
                # Looked at once, at the end, on the same faces for all.
                "validate_every": 0, "image_every": 0,
                # The last checkpoint is the result.
                "checkpoint_every": train.trainer.checkpoint_every or self.steps,
            }
        )  # fmt: skip
        return train.model_copy(
            update={
                "preset": row.name,
                "presets": {row.name: PresetParams.model_validate(preset)},
                "trainer": trainer,
            }
        )


def _merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    both = {name: (base[name], value) for name, value in change.items()}
    return base | {
        name: _merged(old, new) if isinstance(old, dict) and isinstance(new, dict) else new
        for name, (old, new) in both.items()
    }
