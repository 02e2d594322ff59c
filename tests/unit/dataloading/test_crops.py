from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from facealbedo.core.train.config import TrainingError
from facealbedo.dataloading.crops import ResidentCrops, StreamedCrops, crop_source, crop_table

SIZE, TRUST = 32, 8
CPU = torch.device("cpu")


@pytest.fixture
def tables(tmp_path: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Path]]:
    """Eight fitted faces, one that was rejected and one without a crop; each crop has its number as its grey."""
    fits, faces, crops = [], [], {}
    for number in range(10):
        face_id = f"face_{number}"
        status = "rejected" if number == 8 else "done"
        fits.append(
            {
                "id": face_id,
                "status": status,
                "side_px": SIZE,
                "identity_coeffs": [float(number)] * 4,
                "expression_coeffs": [0.1, 0.2],
                "albedo_coeffs": [0.5, -0.5],
                "rotation": np.eye(3).flatten().tolist(),
                "translation": [0.0, 0.0, -0.5],
                "focal_px": 40.0 + number,
                "principal_px": [16.0, 15.0],
                "sh_radiance": list(range(27)),
                "uv_trust": [255] * TRUST * TRUST,
            }
        )
        faces.append({"id": face_id, "valid_box_px": [0, 2, SIZE, SIZE]})
        if number != 9:
            crops[face_id] = tmp_path / f"{face_id}.jpg"
            grey = np.full((SIZE, SIZE, 3), 20 * number, np.uint8)
            grey[..., 2] += 10  # red, in OpenCV's order
            cv2.imwrite(str(crops[face_id]), grey)
    return pd.DataFrame(fits), pd.DataFrame(faces), crops


def test_table_joins_what_was_fitted_and_cut_out(tables):
    table = crop_table(*tables)
    assert table.ids == tuple(f"face_{n}" for n in range(8))
    assert table.size == SIZE
    torch.testing.assert_close(table.fits.camera.focal_px, 40.0 + torch.arange(8.0))
    torch.testing.assert_close(table.fits.sh_radiance[3], torch.arange(27.0).reshape(3, 9))


@pytest.mark.parametrize("kind", [ResidentCrops, StreamedCrops])
def test_crops_come_with_their_own_fits_as_rgb(tables, kind):
    table = crop_table(*tables)
    source = kind(table, CPU) if kind is ResidentCrops else kind(table)
    source.expect([5, 2])
    batch = source.fetch([5, 2, 2], CPU)
    assert len(source) == 8
    assert batch.photo_srgb.shape == (3, 3, SIZE, SIZE)
    grey = batch.photo_srgb.float().mean((2, 3))
    torch.testing.assert_close(grey[0], torch.tensor([110.0, 100.0, 100.0]), atol=3, rtol=0)
    torch.testing.assert_close(grey[1], grey[2])
    assert batch.coefficients.identity_coeffs[:, 0].tolist() == [5, 2, 2]
    assert batch.valid[0, 0, :, :2].max() == 0
    assert batch.valid[0, 0, :, 2:].min() == 255


def test_both_sources_give_the_same(tables):
    table = crop_table(*tables)
    here, there = ResidentCrops(table, CPU).fetch([1, 7, 4], CPU), StreamedCrops(table).fetch([1, 7, 4], CPU)
    assert torch.equal(here.photo_srgb, there.photo_srgb)
    assert torch.equal(here.valid, there.valid)
    assert isinstance(crop_source(table, CPU), ResidentCrops)


@pytest.mark.parametrize("damage", [b"", b"no picture", None])
def test_what_cannot_be_read_is_left_out_and_named(tables, damage, caplog):
    _, _, crops = tables
    path = crops["face_3"]
    path.unlink() if damage is None else path.write_bytes(damage)
    table = crop_table(*tables)
    with caplog.at_level(logging.WARNING):
        source = ResidentCrops(table, CPU)
    assert len(source) == 7
    assert "face_3.jpg" in caplog.text
    assert source.fetch([3], CPU).coefficients.identity_coeffs[0, 0] == 4
    streamed = StreamedCrops(table).fetch([2, 3], CPU)
    assert streamed.coefficients.identity_coeffs[:, 0].tolist() == [2, 4]


def test_a_crop_of_another_size_is_not_taken(tables):
    cv2.imwrite(str(tables[2]["face_0"]), np.zeros((SIZE + 1, SIZE, 3), np.uint8))
    assert len(ResidentCrops(crop_table(*tables), CPU)) == 7


def test_no_readable_crop_is_an_error_in_words(tables):
    for path in tables[2].values():
        path.write_bytes(b"")
    table = crop_table(*tables)
    with pytest.raises(TrainingError, match="not one training crop"):
        ResidentCrops(table, CPU)
    with pytest.raises(TrainingError, match="not one training crop"):
        StreamedCrops(table).fetch([0], CPU)


def test_nothing_fitted_and_mixed_sizes_are_errors_in_words(tables):
    fits, faces, crops = tables
    with pytest.raises(TrainingError, match="preprocess and fit"):
        crop_table(fits.assign(status="rejected"), faces, crops)
    mixed = fits.assign(side_px=[SIZE] * 9 + [64])
    with pytest.raises(TrainingError, match="different sizes"):
        crop_table(mixed, faces, {**crops, "face_9": crops["face_0"]})


def test_held_out_faces_stay_held_out_when_others_come_and_go(tables):
    table = crop_table(*tables)
    kept, held = table.split(0.5)
    assert set(kept.ids) | set(held.ids) == set(table.ids)
    assert not set(kept.ids) & set(held.ids)
    assert held.ids
    fewer_kept, fewer_held = table.pick([0, 3, 6]).split(0.5)
    assert set(fewer_held.ids) <= set(held.ids)
    assert set(fewer_kept.ids) <= set(kept.ids)
    assert table.split(0.0)[1].ids == ()


def test_other_fits_have_another_digest(tables):
    table = crop_table(*tables)
    assert table.digest() == crop_table(*tables).digest()
    light = table.fits.sh_radiance.clone()
    light[2, 0, 0] += 1
    other = dataclasses.replace(table, fits=dataclasses.replace(table.fits, sh_radiance=light))
    assert table.digest() != other.digest()
    assert table.digest() != table.pick([0, 1]).digest()
