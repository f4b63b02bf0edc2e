"""Balanced accuracy and AUC of answers by group, and how far they would move with other groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from geryon.tasks.class_metrics import share
from geryon.tasks.intervals import span

DRAWS = 1000
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
    counts = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
    weights = np.concatenate([np.ones((1, len(names))), counts]).astype(np.float32)[:, of_group]
    found = {BALANCED: _balanced, AUC: _auc}
    return {name: _figure(np.stack([of(one, labels, weights) for one in said])) for name, of in found.items()}


def _figure(table: np.ndarray) -> Figure:
    """From [seed, 1 + draw]: the whole set comes first."""
    return Figure(value=float(table[:, 0].mean()), seeds=tuple(table[:, 0].tolist()), drawn=table[:, 1:].mean(axis=0))


def _balanced(p: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    right = p.argmax(axis=1) == labels
    recalls = []
    for kind in range(p.shape[1]):
        mine = weights[:, labels == kind]
        recalls.append(share((mine * right[labels == kind]).sum(axis=1), mine.sum(axis=1)))
    return _mean(np.array(recalls))


def _auc(p: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    kinds = range(p.shape[1]) if p.shape[1] > 2 else [1]
    return _mean(np.array([_one_against_all(p[:, kind], labels == kind, weights) for kind in kinds]))


def _mean(table: np.ndarray) -> np.ndarray:
    """Over the classes [class, draw] for which something was drawn; nan where for none."""
    known = ~np.isnan(table)
    return share(np.where(known, table, 0.0).sum(axis=0), known.sum(axis=0))


def _one_against_all(score: np.ndarray, truth: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Chance that a true one scores above another, ties by half; [draw]."""
    others = np.sort(score[~truth])
    order = np.argsort(score[~truth], kind="stable")
    below = np.pad(np.cumsum(weights[:, ~truth][:, order], axis=1, dtype=np.float64), ((0, 0), (1, 0)))
    first, last = (np.searchsorted(others, score[truth], side=side) for side in ("left", "right"))
    won = (weights[:, truth] * (below[:, first] + below[:, last]) / 2).sum(axis=1)
    pairs = weights[:, truth].sum(axis=1, dtype=np.float64) * below[:, -1]
    return share(won, pairs)
