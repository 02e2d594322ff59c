"""A new method is measured alone: what is known of the others stays, what is no longer wanted goes."""

from __future__ import annotations

import io
import json

import numpy as np
import torch

from facealbedo.core.imaging.decoding import decode_image
from facealbedo.core.imaging.encoding import encode_png_srgb
from facealbedo.evaluation.relit import merge_methods

GREYS = {"truth": 0.1, "texture": 0.2, "prior": 0.5, "quotient": 0.8}


def column(name: str) -> bytes:
    return encode_png_srgb(torch.full((3, 16, 16), GREYS[name]))


def measurement(*methods: str, photos: int = 2) -> dict[str, bytes]:
    """What `measure_person` returns, with a number that tells the methods apart; the last photo was refused."""
    rows = [
        {"photo": photo, "status": "done", "method": name, "geometry": geometry, "value": GREYS[name]}
        for photo in range(photos)
        for geometry in ("fitted", "true")
        for name in methods
    ]
    rows.append({"photo": photos, "status": "rejected", "reason": "no face was found"})
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{name: np.full(3, GREYS[name]) for name in methods})
    return {
        "report.json": json.dumps({"rows": rows, "spread": {name: GREYS[name] for name in methods}}).encode(),
        "maps.npz": buffer.getvalue(),
        "column.png": column("truth"),
        **{f"column_{name}.png": column(name) for name in methods},
    }


def test_methods_are_added_dropped_and_put_in_order() -> None:
    before = merge_methods(measurement("texture", "quotient"), {}, ["texture", "quotient"])
    merged = merge_methods(measurement("prior"), before, ["prior", "quotient"])
    report = json.loads(merged["report.json"])
    done = [(row["photo"], row["method"], row["geometry"]) for row in report["rows"] if row["status"] == "done"]
    assert done == [
        (photo, method, geometry)
        for photo in range(2)
        for method in ("prior", "quotient")
        for geometry in ("fitted", "true")
    ]
    assert all(row["value"] == GREYS[row["method"]] for row in report["rows"] if row["status"] == "done")
    assert sum(row["status"] == "rejected" for row in report["rows"]) == 1
    assert list(report["spread"]) == ["prior", "quotient"]
    with np.load(io.BytesIO(merged["maps.npz"])) as maps:
        assert set(maps.files) == {"prior", "quotient"}
    shown = decode_image(merged["relit.png"])
    first = torch.from_numpy(shown.linear_pixels(0, 16, 0, 48).copy())[0, ::16, 0]
    torch.testing.assert_close(first, torch.tensor([0.1, 0.5, 0.8]), atol=0.005, rtol=0)
    assert "column_texture.png" not in merged


def test_of_a_person_without_any_usable_photo_only_the_reasons_stay() -> None:
    nothing = {name: content for name, content in measurement(photos=0).items() if not name.startswith("column")}
    merged = merge_methods(nothing, {}, ["prior"])
    assert set(merged) == {"report.json", "maps.npz"}
    assert [row["status"] for row in json.loads(merged["report.json"])["rows"]] == ["rejected"]
