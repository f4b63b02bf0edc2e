"""Figures of slides against scipy, lifelines and numbers by hand; a weight is a repetition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from geryon.tasks import weighted_metrics

ONE = np.ones((1, 60))


@pytest.fixture
def numbers():
    rng = np.random.default_rng(0)
    a = np.round(rng.normal(size=60), 1)  # with ties
    return a, np.round(0.5 * a + rng.normal(size=60), 1)


def test_correlations_are_scipys(numbers) -> None:
    a, b = numbers
    assert weighted_metrics.spearman(a, b, ONE)[0] == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    assert weighted_metrics.pearson(a, b, ONE)[0] == pytest.approx(stats.pearsonr(a, b).statistic, abs=1e-12)


def test_auc_is_mann_whitneys(numbers) -> None:
    a, b = numbers
    so = a > 0.2
    u = stats.mannwhitneyu(b[so], b[~so]).statistic
    assert weighted_metrics.auc(so, b, ONE)[0] == pytest.approx(u / (so.sum() * (~so).sum()), abs=1e-12)


def test_c_index_by_hand() -> None:
    time, event = np.array([1.0, 2.0, 2.0, 4.0]), np.array([True, True, False, False])
    # Known orders: 1 before all three; the death at 2 before the censoring at 2 and before 4.
    risk = np.array([4.0, 1.0, 1.0, 3.0])
    assert weighted_metrics.c_index(time, event, risk, np.ones((1, 4)), np.zeros(4))[0] == pytest.approx(
        (3 + 0.5 + 0) / 5
    )
    # Of two folds only the pairs within them: 1 before 2, and 2 (censored) with 4 (censored), whose order is unknown.
    assert weighted_metrics.c_index(time, event, risk, np.ones((1, 4)), np.array([1, 1, 2, 2]))[0] == 1.0


def test_c_index_is_lifelines() -> None:
    utils = pytest.importorskip("lifelines.utils")
    rng = np.random.default_rng(1)
    time, event, risk = rng.integers(1, 20, 60).astype(float), rng.random(60) < 0.6, rng.integers(0, 9, 60)
    expected = utils.concordance_index(time, -risk, event)
    assert weighted_metrics.c_index(time, event, risk, ONE, np.zeros(60))[0] == pytest.approx(expected, abs=1e-12)


def test_kappa_is_that_of_the_confusion_matrix() -> None:
    rng = np.random.default_rng(2)
    true, found = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    seen = np.zeros((4, 4))
    np.add.at(seen, (true, found), 1)
    off = (np.arange(4)[:, None] - np.arange(4)) ** 2
    chance = np.outer(seen.sum(1), seen.sum(0)) / 60
    expected = 1 - (off * seen).sum() / (off * chance).sum()
    assert weighted_metrics.quadratic_kappa(true, found, ONE)[0] == pytest.approx(expected)


def test_calibration_and_balance_by_hand() -> None:
    so, p = np.array([True, False, True, True]), np.array([0.1, 0.1, 0.9, 0.9])
    # Two bins of two: |0.5 - 0.1| and |1 - 0.9|.
    assert weighted_metrics.calibration_error(so, p, np.ones((1, 4)))[0] == pytest.approx(0.25)
    assert weighted_metrics.balanced_accuracy(so, p > 0.5, np.ones((1, 4)))[0] == pytest.approx((2 / 3 + 1) / 2)


def test_a_weight_is_a_repetition(numbers) -> None:
    a, b = numbers
    rng = np.random.default_rng(3)
    counts = rng.integers(0, 4, 60)
    again, event = np.repeat(np.arange(60), counts), rng.random(60) < 0.5
    every = {
        "spearman": lambda i, w: weighted_metrics.spearman(a[i], b[i], w),
        "pearson": lambda i, w: weighted_metrics.pearson(a[i], b[i], w),
        "auc": lambda i, w: weighted_metrics.auc(a[i] > 0, b[i], w),
        "kappa": lambda i, w: weighted_metrics.quadratic_kappa((a[i] > 0) * 1, (b[i] > 0) * 1, w),
        "c_index": lambda i, w: weighted_metrics.c_index(np.exp(a[i]), event[i], b[i], w, i % 3),
        "ece": lambda i, w: weighted_metrics.calibration_error(a[i] > 0, 1 / (1 + np.exp(-b[i])), w),
        "balanced": lambda i, w: weighted_metrics.balanced_accuracy(a[i] > 0, b[i] > 0, w),
    }
    for name, of in every.items():
        weighted = of(np.arange(60), counts[None].astype(float))[0]
        assert weighted == pytest.approx(of(again, np.ones((1, len(again))))[0]), name


def test_what_can_not_be_had_is_nan() -> None:
    w = np.ones((1, 3))
    assert np.isnan(weighted_metrics.auc(np.ones(3, bool), np.arange(3.0), w)[0])
    assert np.isnan(weighted_metrics.spearman(np.ones(3), np.arange(3.0), w)[0])
    assert np.isnan(weighted_metrics.c_index(np.arange(1.0, 4), np.zeros(3, bool), np.arange(3.0), w, np.zeros(3))[0])


def test_intervals_draw_patients_and_not_slides() -> None:
    rng = np.random.default_rng(4)
    values = np.repeat(rng.normal(size=20), 10)  # ten equal slides a patient
    by_slide = weighted_metrics.with_intervals(
        lambda w: {"m": weighted_metrics.mean(values, w)}, [f"{k}" for k in range(200)]
    )["m"]
    by_patient = weighted_metrics.with_intervals(
        lambda w: {"m": weighted_metrics.mean(values, w)}, [f"{k // 10}" for k in range(200)]
    )["m"]
    assert by_slide["value"] == by_patient["value"] == pytest.approx(values.mean())
    wide, narrow = by_patient["high"] - by_patient["low"], by_slide["high"] - by_slide["low"]
    assert 2.5 < wide / narrow < 4.0  # the square root of ten
    assert np.isnan(
        weighted_metrics.with_intervals(lambda w: {"m": weighted_metrics.mean(values, w)}, ["a"] * 200)["m"]["low"]
    )
