"""Figures of answers, each from weights: float [m, n], so that m drawings of patients are one call.

A weight is how often an answer stands in a drawing; ones give the figure of all as they are. A figure that can't be had
(one class alone) is nan.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from geryon.tasks.class_metrics import mean_of_known, share
from geryon.tasks.intervals import drawings, span
from geryon.tasks.probability_metrics import bin_of, binned_error

DRAWS = 1000


def with_intervals(
    scores: Callable[[np.ndarray], dict[str, np.ndarray]], patients: Sequence[str], *, seed: int = 0
) -> dict[str, dict[str, float]]:
    """{figure: {"value", "low", "high"}}: 95 % percentile intervals over drawings of patients, all that is theirs
    together; low and high are nan with fewer than two patients."""
    names = sorted(set(patients))
    place = {name: k for k, name in enumerate(names)}
    at = np.array([place[name] for name in patients])
    values = scores(np.ones((1, len(at))))
    drawn = scores(drawings(len(names), DRAWS, seed)[:, at].astype(float)) if len(names) > 1 else {}
    spans = {name: span(drawn[name]) if drawn else (np.nan, np.nan) for name in values}
    return {
        name: {"value": float(value[0]), "low": spans[name][0], "high": spans[name][1]}
        for name, value in values.items()
    }


def mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[m]: the weighted mean of values [n]."""
    return share(weights @ values, weights.sum(1))


def auc(is_so: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[m]: area under the ROC curve as Mann and Whitney count it: pairs in the right order, ties half."""
    order = np.argsort(p[~is_so], kind="stable")
    below = np.pad(np.cumsum(weights[:, ~is_so][:, order], axis=1, dtype=np.float64), ((0, 0), (1, 0)))
    first, last = (np.searchsorted(p[~is_so][order], p[is_so], side=side) for side in ("left", "right"))
    of_so = weights[:, is_so]
    right = (of_so * (below[:, first] + below[:, last]) / 2).sum(1)
    return share(right, of_so.sum(1, dtype=np.float64) * below[:, -1])


def balanced_accuracy(true: np.ndarray, found: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[m]: mean over the classes that are there of the share that was found."""
    of = [(weights[:, true == k], (found == k)[true == k]) for k in np.unique(true)]
    return mean_of_known(np.stack([share(w @ hit, w.sum(1)) for w, hit in of], -1))


def calibration_error(is_so: np.ndarray, p: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[m]: expected calibration error (probability_metrics.binned_error)."""
    return binned_error(weights * (is_so - p), bin_of(p), weights.sum(1))


def pearson(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[m]: correlation; a and b are [n] or [m, n]."""
    total = weights.sum(1, keepdims=True)
    a, b = (v - (weights * v).sum(1, keepdims=True) / total for v in (a, b))
    over = np.sqrt((weights * a * a).sum(1) * (weights * b * b).sum(1))
    return share((weights * a * b).sum(1), np.where(over > 1e-12, over, 0.0))


def spearman(a: np.ndarray, b: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[m]: correlation of ranks, those of ties averaged."""
    return pearson(_ranks(a, weights), _ranks(b, weights), weights)


def _ranks(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[m, n]: the middle rank of each value in a drawing, but for a constant."""
    below = (values[:, None] > values) + (values[:, None] == values) / 2
    return weights @ below.T.astype(float)


def quadratic_kappa(true: np.ndarray, found: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """[m]: weighted kappa with squared distances (Cohen, Psychol. Bull. 1968)."""
    off = weights @ ((true - found) ** 2).astype(float)
    total = weights.sum(1)
    # What chance would give is the mean over all pairs of a true and a found grade.
    moments = [weights @ v.astype(float) for v in (true, true**2, found, found**2)]
    chance = share(moments[1] + moments[3], total) - 2 * share(moments[0], total) * share(moments[2], total)
    return 1 - share(share(off, total), np.where(chance > 1e-12, chance, 0.0))


def c_index(
    time: np.ndarray, event: np.ndarray, risk: np.ndarray, weights: np.ndarray, folds: np.ndarray
) -> np.ndarray:
    """[m]: Harrell's concordance (JAMA 1982): of pairs whose order of deaths is known, how many have the higher risk
    die first; equal risks count half. A death and a censoring at one time are a known order, two deaths are not.
    Only pairs of one fold are counted."""
    first = event[:, None] & ((time[:, None] < time) | ((time[:, None] == time) & ~event))
    first &= folds[:, None] == folds
    right = first * ((risk[:, None] > risk) + (risk[:, None] == risk) / 2)
    return share(((weights @ right) * weights).sum(1), ((weights @ first.astype(float)) * weights).sum(1))
