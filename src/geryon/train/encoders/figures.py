"""Balanced accuracy and AUC of answers by group, and how far they would move with other groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from geryon.tasks.class_metrics import mean_of_known
from geryon.tasks.intervals import drawings, span
from geryon.tasks.weighted_metrics import DRAWS, auc, balanced_accuracy

BALANCED, AUC = "balanced_accuracy", "auc"
FIGURES = (BALANCED, AUC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure's mean over seeds."""

    value: float
    seeds: tuple[float, ...]
    drawn: np.ndarray
    """float64 [DRAWS]: the mean over seeds in drawings of groups with replacement, the same ones for equal groups."""

    @property
    def low_high(self) -> tuple[float, float]:
        """The 95 % interval over groups."""
        return span(self.drawn)


def figures_of(said: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> Mapping[str, Figure]:
    """{"balanced_accuracy", "auc"} of answers float [seed, n, class] about int64 labels [n] of str groups [n].

    AUC is the mean over the classes of each against all others.
    """
    names, of_group = np.unique(groups, return_inverse=True)
    counts = drawings(len(names), DRAWS, seed=0)
    weights = np.concatenate([np.ones((1, len(names))), counts]).astype(np.float32)[:, of_group]
    return {
        BALANCED: _figure(np.stack([balanced_accuracy(labels, p.argmax(axis=1), weights) for p in said])),
        AUC: _figure(np.stack([_mean_auc(p, labels, weights) for p in said])),
    }


def _figure(table: np.ndarray) -> Figure:
    """From [seed, 1 + draw]: the whole set comes first."""
    return Figure(value=float(table[:, 0].mean()), seeds=tuple(table[:, 0].tolist()), drawn=table[:, 1:].mean(axis=0))


def _mean_auc(p: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    kinds = range(p.shape[1]) if p.shape[1] > 2 else [1]
    return mean_of_known(np.stack([auc(labels == kind, p[:, kind], weights) for kind in kinds], axis=-1))
