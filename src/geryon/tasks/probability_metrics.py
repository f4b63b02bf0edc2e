"""What probabilities are worth: how well they rank (AUC) and whether they mean what they say (calibration).

Probabilities are uint8, so counts by level (256) lose nothing and add over images and groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from geryon.tasks.class_metrics import mean_of_known, share
from geryon.tasks.detection_metrics import LEVELS, by_level

BINS = 15
"""Of equal width over 0..1, as Guo et al. have them."""
_BIN = np.clip(np.ceil(np.arange(LEVELS) / (LEVELS - 1) * BINS).astype(int) - 1, 0, BINS - 1)


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
        """ece: expected calibration error, |share that was so - mean probability| of each of 15 bins, weighted by
        how much was said in it (Guo et al., ICML 2017, section 2); nan where nothing was."""
        said, so = np.asarray(self.said, float), np.asarray(self.so, float)
        gap = so - said * (np.arange(LEVELS) / (LEVELS - 1))
        off = sum(np.abs(gap[..., k == _BIN].sum(-1)) for k in range(BINS))
        return {"ece": share(off, said.sum(-1))}


def reliability_tally(levels: np.ndarray, is_so: np.ndarray) -> ReliabilityTally:
    """Counts of one image: levels uint8 [n], is_so bool [n]."""
    return ReliabilityTally(said=by_level(levels), so=by_level(levels[is_so]))
