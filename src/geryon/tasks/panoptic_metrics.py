"""Panoptic quality class by class: a pair counts only where both sides give it the same class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from geryon.tasks.class_metrics import mean_of_known, share


@dataclass(frozen=True, slots=True, kw_only=True)
class PanopticTally:
    """Counts and sums by class [class], over one image or many; leading axes may be resampled sums."""

    names: tuple[str, ...]
    found: Any = 0
    truth: Any = 0
    matched: Any = 0
    """Pairs of IoU > 0.5 in which both are of the class."""
    iou: Any = 0.0
    """Sum over these."""

    def __add__(self, other: PanopticTally) -> PanopticTally:
        return PanopticTally(
            names=self.names,
            found=self.found + other.found,
            truth=self.truth + other.truth,
            matched=self.matched + other.matched,
            iou=self.iou + other.iou,
        )

    def scores(self) -> dict[str, Any]:
        """pq/<class> of all images together, and mpq_plus, their mean (Graham et al., CoNIC, Med. Image Anal. 92,
        2024): classes that neither side has are left out."""
        each = self._each()
        return {"mpq_plus": mean_of_known(each)} | {f"pq/{name}": each[..., k] for k, name in enumerate(self.names)}

    def image_scores(self) -> dict[str, float]:
        """mpq of one image: the mean over the classes that its truth has (Gamper et al., PanNuke, arXiv:2003.10778,
        section 4, and its published code); nan for an image without any."""
        each = self._each()
        return {"mpq": float(mean_of_known(np.where(np.asarray(self.truth) > 0, each, np.nan)))}

    def _each(self) -> np.ndarray:
        return share(2 * np.asarray(self.iou, float), np.asarray(self.found, float) + self.truth)


def panoptic_tally(
    names: tuple[str, ...], found: np.ndarray, truth: np.ndarray, pairs: np.ndarray, iou: np.ndarray
) -> PanopticTally:
    """Counts of one image. Classes are int [object], an index into names, -1 for none of them (found) or unknown
    (truth); pairs int64 [pair, 2] of IoU > 0.5 (`iou`). What is found on a true object of unknown class counts for
    no class."""
    k = len(names)
    counted = np.ones(len(found), bool)
    counted[pairs[truth[pairs[:, 1]] < 0, 0]] = False
    same = (found[pairs[:, 0]] == truth[pairs[:, 1]]) & (truth[pairs[:, 1]] >= 0)
    kind = truth[pairs[same, 1]]
    return PanopticTally(
        names=names,
        found=np.bincount(found[counted & (found >= 0)], minlength=k),
        truth=np.bincount(truth[truth >= 0], minlength=k),
        matched=np.bincount(kind, minlength=k),
        iou=np.bincount(kind, weights=iou[same], minlength=k),
    )
