"""The FAIR score against published rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facealbedo.core.metrics.tone import tone_errors

# One angle well inside each group, very light to dark.
MIDDLES = torch.tensor([65.0, 48.0, 34.0, 19.0, -10.0, -55.0])

# (errors of the groups, average, bias, score) as published for the FAIR benchmark.
PUBLISHED = {
    "Deep3D": ((8.92, 9.08, 8.15, 10.90, 28.48, 69.90), 22.57, 24.44, 47.02),
    "GANFIT": ((94.80, 87.83, 76.25, 65.05, 38.24, 11.59), 62.29, 31.81, 94.11),
    "MGCNet": ((19.98, 12.76, 8.53, 9.21, 22.66, 55.34), 21.41, 17.58, 38.99),
    "INORig": ((23.25, 11.88, 4.86, 9.75, 35.78, 80.54), 27.68, 28.18, 55.86),
    "TRUST AlbedoMM": ((15.50, 10.48, 8.42, 7.86, 15.96, 48.11), 17.72, 15.28, 33.00),
    "DECA": ((9.34, 11.66, 11.58, 16.69, 39.10, 84.06), 28.74, 29.24, 57.98),
    "CEST": ((50.98, 38.77, 29.22, 23.62, 21.92, 46.57), 35.18, 12.14, 47.32),
    "TRUST BFM": ((12.44, 6.48, 5.69, 9.47, 16.67, 46.37), 16.19, 15.33, 31.52),
    "TRUST balanced": ((11.90, 11.87, 11.20, 13.92, 16.15, 18.21), 13.87, 2.79, 16.67),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_rows_come_out(name: str) -> None:
    errors, average, bias, score = PUBLISHED[name]
    predicted = MIDDLES + torch.tensor(errors)
    result = tone_errors(predicted, MIDDLES)
    np.testing.assert_allclose(result.group_errors, errors, atol=1e-4)
    # The rows were rounded to two digits before they were averaged here.
    assert result.average == pytest.approx(average, abs=0.011)
    assert result.bias == pytest.approx(bias, abs=0.011)
    assert result.score == pytest.approx(score, abs=0.021)


def test_groups_count_alike_however_many_faces_they_have() -> None:
    truth = torch.cat([MIDDLES, MIDDLES[:1].expand(100)])
    predicted = truth + torch.cat([torch.full((6,), 4.0), torch.full((100,), 4.0)])
    predicted[0] += 202.0
    result = tone_errors(predicted, truth)
    assert result.group_errors[0] == pytest.approx((4 * 101 + 202) / 101)
    assert result.average == pytest.approx((6.0 + 5 * 4.0) / 6)


def test_a_missing_group_is_an_error() -> None:
    with pytest.raises(ValueError, match="VI"):
        tone_errors(MIDDLES[:5], MIDDLES[:5])
