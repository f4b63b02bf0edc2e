"""AUC against scipy's Mann-Whitney test, calibration errors against a loop over bins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from geryon.tasks.probability_metrics import BINS, RankTally, ReliabilityTally, rank_tally, reliability_tally

few = settings(max_examples=60, deadline=None)


@few
@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, 1)), min_size=2, max_size=20))
def test_auc_is_the_mann_whitney_statistic(rows):
    levels, truth = np.array([row[:2] for row in rows], np.uint8), np.array([row[2] for row in rows])
    scores = rank_tally(("a", "b"), levels, truth).scores()
    expected = []
    for k, name in enumerate("ab"):
        own, others = levels[truth == k, k].astype(int), levels[truth != k, k].astype(int)
        if len(own) and len(others):
            expected.append(mannwhitneyu(own, others).statistic / (len(own) * len(others)))
            assert scores[f"auc/{name}"] == pytest.approx(expected[-1])
        else:
            assert np.isnan(scores[f"auc/{name}"])
    assert scores["auc"] == pytest.approx(np.mean(expected) if expected else np.nan, nan_ok=True)


@few
@given(st.lists(st.tuples(st.integers(0, 255), st.booleans()), max_size=30))
def test_calibration_error_agrees_with_a_loop_over_bins(pairs):
    levels, is_so = np.array([p for p, _ in pairs], np.uint8), np.array([so for _, so in pairs], bool)
    off = 0.0
    for k in range(BINS):
        here = [(p / 255, so) for p, so in pairs if k * 255 < p * BINS <= (k + 1) * 255 or (k == 0 and p == 0)]
        off += abs(sum(so for _, so in here) - sum(p for p, _ in here))
    expected = off / len(pairs) if pairs else np.nan
    assert reliability_tally(levels, is_so).scores()["ece"] == pytest.approx(expected, nan_ok=True)


def test_calibration_error_worked_by_hand():
    # Ten things said with 0.8 (204 of 255) of which six are so, ten with 0.4 (102) of which four are.
    levels = np.array([204] * 10 + [102] * 10, np.uint8)
    is_so = np.array([True] * 6 + [False] * 4 + [True] * 4 + [False] * 6)
    assert reliability_tally(levels, is_so).scores()["ece"] == pytest.approx(0.5 * 0.2)


def test_tallies_add_as_one_set():
    rng = np.random.default_rng(0)
    p, truth = rng.integers(0, 256, (40, 3)).astype(np.uint8), rng.integers(0, 3, 40)
    halves = [rank_tally(("a", "b", "c"), p[half], truth[half]) for half in (slice(0, 15), slice(15, 40))]
    whole = rank_tally(("a", "b", "c"), p, truth)
    assert isinstance(whole, RankTally) and (halves[0] + halves[1]).scores() == whole.scores()
    said = [reliability_tally(p[half, 0], truth[half] == 0) for half in (slice(0, 15), slice(15, 40))]
    both = said[0] + said[1]
    assert isinstance(both, ReliabilityTally)
    assert both.scores()["ece"] == pytest.approx(reliability_tally(p[:, 0], truth == 0).scores()["ece"])
