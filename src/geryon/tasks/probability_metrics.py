"""What probabilities are worth: how well they rank (AUC) and whether they mean what they say (calibration).

Stored probabilities are uint8, so counts by level (256) lose nothing and add over images and groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from geryon.tasks.class_metrics import mean_of_known, share
from geryon.tasks.detection_metrics import LEVELS, by_level

BINS = 15
"""Of equal width over 0..1, as Guo et al. have them."""
_P = np.arange(LEVELS) / (LEVELS - 1)
"""What a level says."""


def bin_of(p: np.ndarray) -> np.ndarray:
    """int of the same shape, 0..BINS - 1: the bin of each probability, its upper edge included."""
    return np.clip(np.ceil(p * BINS).astype(int) - 1, 0, BINS - 1)


def binned_error(gaps: np.ndarray, bins: np.ndarray, total: Any) -> np.ndarray:
    """Expected calibration error (Guo et al., ICML 2017, section 2): |sum of the gaps in a bin| over all bins, over how
    much was said in all; nan where nothing was.

    Gaps are float [..., n], what was so less what was said; `bins` int [n] as `bin_of` has them.
    """
    return share(sum(np.abs(gaps[..., bins == k].sum(-1)) for k in range(BINS)), total)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankTally:
    """Probability of each class among those that are of it and those that are not, by level."""

    names: tuple[str, ...]
    own: Any = 0
    """[class, 256]"""
    others: Any = 0

    def __add__(self, other: RankTally) -> RankTally:
        return RankTally(names=self.names, own=self.own + other.own, others=self.others + other.others)

    def scores(self) -> dict[str, Any]:
        """auc/<class>: one class against the rest (Mann-Whitney, ties count half); auc: their mean over the classes
        that have both (macro)."""
        own, others = np.asarray(self.own, float), np.asarray(self.others, float)
        below = np.cumsum(others, axis=-1) - others / 2
        each = share((own * below).sum(-1), own.sum(-1) * others.sum(-1))
        return {"auc": mean_of_known(each)} | {f"auc/{name}": each[..., k] for k, name in enumerate(self.names)}


def rank_tally(names: tuple[str, ...], levels: np.ndarray, truth: np.ndarray) -> RankTally:
    """Counts of one image: levels uint8 [n, class], truth int [n], an index into names."""
    is_own = truth[:, None] == np.arange(len(names))
    return RankTally(
        names=names,
        own=np.stack([by_level(levels[is_own[:, k], k]) for k in range(len(names))]),
        others=np.stack([by_level(levels[~is_own[:, k], k]) for k in range(len(names))]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityTally:
    """How many things were said with each probability, and how many of them were so."""

    said: Any = 0
    """[256]"""
    so: Any = 0

    def __add__(self, other: ReliabilityTally) -> ReliabilityTally:
        return ReliabilityTally(said=self.said + other.said, so=self.so + other.so)

    def scores(self) -> dict[str, Any]:
        """ece: the expected calibration error, see binned_error."""
        said, so = np.asarray(self.said, float), np.asarray(self.so, float)
        return {"ece": binned_error(so - said * _P, bin_of(_P), said.sum(-1))}


def reliability_tally(levels: np.ndarray, is_so: np.ndarray) -> ReliabilityTally:
    """Counts of one image: levels uint8 [n], is_so bool [n]."""
    return ReliabilityTally(said=by_level(levels), so=by_level(levels[is_so]))
