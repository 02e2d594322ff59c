"""Wiring of the `ablate` pipeline."""

from __future__ import annotations

from kedro.pipeline import Node, Pipeline

from facealbedo.pipelines.ablate.nodes import run_ablations, tabulate_ablations


def create_pipeline(**_: object) -> Pipeline:
    """Return the pipeline: every training of the list, then one table of them."""
    return Pipeline(
        [
            Node(
                run_ablations,
                inputs=[
                    "params:ablate",
                    "params:train",
                    "fits",
                    "faces",
                    "face_crops",
                    "train_checkpoints",
                    "ablation_runs_before",
                ],
                outputs="ablation_runs",
                name="run_ablations",
            ),
            Node(
                tabulate_ablations,
                inputs=["params:ablate", "params:train", "ablation_runs"],
                outputs=["ablation_metrics", "ablation_table", "ablation_table_text"],
                name="tabulate_ablations",
            ),
        ]
    )
