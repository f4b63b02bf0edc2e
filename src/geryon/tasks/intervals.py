"""How far a pooled score might move with other patients: bootstrap over groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from numbers import Number
from typing import Any

import numpy as np

LEVEL = 0.95
"""Share of the resampled scores that lie between low and high (percentile interval: Efron and Tibshirani, 1993, 13)."""


def bootstrap(
    tallies_by_group: Mapping[Any, Any], score: Callable[[Any], Any], n: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Low and high of `score` when as many groups are drawn again, with replacement, n times.

    A group is what is independent of others: a patient, not an image. Its tally (Tally, ClassTally: a frozen
    dataclass of numbers and arrays that add) is the sum of its images. With fewer than two groups nothing can
    be said: nan, nan.
    """
    return span(score(resampled(tallies_by_group, n, seed))) if len(tallies_by_group) > 1 else (np.nan, np.nan)


def bootstrap_scores(
    tallies_by_group: Mapping[Any, Any], n: int = 1000, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Low and high of every score that the tallies have, from one set of drawings."""
    return {name: span(values) for name, values in drawn_scores(tallies_by_group, n, seed).items()}


def drawn_scores(tallies_by_group: Mapping[Any, Any], n: int = 1000, seed: int = 0) -> dict[str, np.ndarray]:
    """Every score in each of n drawings of groups, float64 [n]; {} with fewer than two groups.

    The same groups and seed give the same drawings, so that scores of two models can be compared draw by draw.
    """
    if len(tallies_by_group) < 2:
        return {}
    scores: dict[str, np.ndarray] = resampled(tallies_by_group, n, seed).scores()
    return scores


def resampled(tallies_by_group: Mapping[Any, Any], n: int, seed: int) -> Any:
    """One tally whose numbers are arrays [n, ...]: the sums of n drawings of groups. Groups are taken in sorted
    order, so that the order of images changes nothing."""
    groups = [tallies_by_group[group] for group in sorted(tallies_by_group, key=str)]
    draws = drawings(len(groups), n, seed)
    columns = {}
    for field in fields(groups[0]):
        values = [getattr(group, field.name) for group in groups]
        if isinstance(values[0], (Number, np.ndarray)):
            columns[field.name] = np.tensordot(draws, np.stack([np.asarray(v, float) for v in values]), axes=1)
    return replace(groups[0], **columns)


def drawings(groups: int, n: int, seed: int) -> np.ndarray:
    """int64 [n, group]: how often each group stands in each of n drawings of as many groups, with replacement."""
    return np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=n)


def span(values: Any) -> tuple[float, float]:
    """Low and high of drawn values; nan, nan where none is defined."""
    values = np.asarray(values, float)
    if np.isnan(values).all():
        return np.nan, np.nan
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
