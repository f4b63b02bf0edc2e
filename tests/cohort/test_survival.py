"""Survival curves and their test against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from geryon.cohort import survival

pytest.importorskip("lifelines")


def patients(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(1, 30, n).astype(float), rng.random(n) < 0.6


def test_a_curve_by_hand() -> None:
    curve = survival.kaplan_meier(np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, False]))
    at = dict(zip(curve.time.tolist(), curve.alive.tolist(), strict=True))
    assert at == pytest.approx({0.0: 1.0, 1.0: 3 / 4, 2.0: 3 / 4, 3.0: 3 / 8, 4.0: 3 / 8})
    assert (curve.n, curve.deaths) == (4, 2)
    assert (curve.low[1:] <= curve.alive[1:]).all() and (curve.alive <= curve.high).all()


def test_curve_and_log_rank_are_scipys() -> None:
    time, event = patients()
    sample = stats.CensoredData(uncensored=time[event], right=time[~event])
    curve = survival.kaplan_meier(time, event)
    np.testing.assert_allclose(curve.alive[1:], stats.ecdf(sample).sf.evaluate(curve.time[1:]), atol=1e-12)
    high = np.arange(40) % 2 == 0
    parts = [stats.CensoredData(uncensored=time[g & event], right=time[g & ~event]) for g in (high, ~high)]
    assert survival.log_rank(time, event, high) == pytest.approx(stats.logrank(*parts).pvalue, rel=1e-6)
    assert np.isnan(survival.log_rank(time, event, np.ones(40, bool)))
