"""Survival curves and their comparison, by lifelines: its one door."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from geryon.errors import MissingPartError


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A Kaplan-Meier estimate: steps at the times, with pointwise 95 % intervals (exponential Greenwood)."""

    time: np.ndarray
    """float64 [step], from 0, in the table's unit."""
    alive: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n: int
    deaths: int


def kaplan_meier(time: np.ndarray, event: np.ndarray) -> Curve:
    """The curve of patients with these times and events (bool)."""
    fitter = lifelines().KaplanMeierFitter().fit(time, event)
    limits = fitter.confidence_interval_.to_numpy()
    return Curve(
        time=fitter.survival_function_.index.to_numpy(float),
        alive=fitter.survival_function_.to_numpy()[:, 0],
        low=limits[:, 0],
        high=limits[:, 1],
        n=len(time),
        deaths=int(event.sum()),
    )


def is_higher_half(risk: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """bool [n]: whose risk lies above the middle of those of the same fold (risks of other networks do not compare)."""
    middle = {fold: np.median(risk[folds == fold]) for fold in np.unique(folds)}
    higher: np.ndarray = risk > np.array([middle[fold] for fold in folds])
    return higher


def log_rank(time: np.ndarray, event: np.ndarray, is_high: np.ndarray) -> float:
    """The p value of the log-rank test between two groups of patients; nan where one is empty."""
    if is_high.all() or not is_high.any():
        return float("nan")
    from lifelines.statistics import logrank_test

    return float(logrank_test(time[is_high], time[~is_high], event[is_high], event[~is_high]).p_value)


def lifelines() -> ModuleType:
    """The package; MissingPartError where it is not installed."""
    try:
        import lifelines
    except ImportError as error:
        raise MissingPartError(
            what="lifelines is needed for survival", mend='pip install "geryon[survival]"'
        ) from error
    return lifelines
