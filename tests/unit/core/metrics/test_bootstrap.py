"""Bootstrap intervals against SciPy and the normal law."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from facealbedo.core.metrics.bootstrap import bootstrap_groups, bootstrap_mean
from facealbedo.core.metrics.masks import EvaluationError


def test_the_interval_is_scipys() -> None:
    values = np.random.default_rng(1).gamma(2.0, 3.0, 60)
    ours = bootstrap_mean(values, [f"p{i:02d}" for i in range(60)], draws=4000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=4000, method="percentile", random_state=2)
    assert ours.value == pytest.approx(values.mean())
    assert ours.low == pytest.approx(theirs.confidence_interval.low, abs=0.15)
    assert ours.high == pytest.approx(theirs.confidence_interval.high, abs=0.15)


def test_photos_of_one_person_do_not_make_it_surer() -> None:
    values = np.random.default_rng(3).normal(10, 2, 12)
    alone = bootstrap_mean(values, [f"p{i:02d}" for i in range(12)])
    repeated = bootstrap_mean(np.repeat(values, 50), [f"p{i:02d}" for i in range(12) for _ in range(50)])
    assert repeated.high - repeated.low == pytest.approx(alone.high - alone.low)


def test_group_statistic() -> None:
    groups = [np.random.default_rng(seed).normal(seed, 1.0, 40) for seed in range(6)]
    worst = bootstrap_groups(groups, max, draws=2000)
    assert worst.value == pytest.approx(max(np.mean(group) for group in groups))
    half = 1.96 * groups[5].std() / np.sqrt(40)
    assert worst.high - worst.low == pytest.approx(2 * half, rel=0.15)


def test_nothing_and_nan_are_refused() -> None:
    with pytest.raises(EvaluationError, match="0 values"):
        bootstrap_mean([], [])
    with pytest.raises(EvaluationError, match="not finite"):
        bootstrap_mean([1.0, float("nan")], ["a", "b"])
    with pytest.raises(EvaluationError, match="group 2 of 2"):
        bootstrap_groups([np.ones(3), np.ones(0)], max)
