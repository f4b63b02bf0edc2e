"""How well objects are found when their score may be cut anywhere: average precision and FROC.

Scores are uint8, so counts by score (256 levels) lose nothing and add over images and groups. Objects of one
score are taken together: no order among them is made up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from geryon.tasks.class_metrics import mean_of_known, share

LEVELS = 256
SURE = 128
"""Of 255: the score from which on an object counts where one cut has to be named."""
NORMAL_FPS = (1, 2, 4, 8, 16, 32)
"""False positives a normal image at which FROC takes the recall (DigestPath 2019)."""


def by_level(score: np.ndarray) -> np.ndarray:
    """int64 [256]: how many of the scores (uint8 [n]) have each level."""
    return np.bincount(score, minlength=LEVELS)


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionTally:
    """Found objects by class and score, hits and misses, and true ones; leading axes may be resampled sums.

    ap/<class>: area under the precision that is at least reached at each recall (PASCAL VOC 2010 and later,
    development kit, section 3.4.1); map: its mean over the classes that the truth has.
    """

    names: tuple[str, ...]
    hits: Any = 0
    """[class, 256]"""
    misses: Any = 0
    truth: Any = 0
    """[class]"""

    def __add__(self, other: PrecisionTally) -> PrecisionTally:
        return PrecisionTally(
            names=self.names,
            hits=self.hits + other.hits,
            misses=self.misses + other.misses,
            truth=self.truth + other.truth,
        )

    def scores(self) -> dict[str, Any]:
        """map and ap/<class>; nan where there is nothing to find."""
        each = average_precision(self.hits, self.misses, self.truth)
        return {"map": mean_of_known(each)} | {f"ap/{name}": each[..., k] for k, name in enumerate(self.names)}


def average_precision(hits: Any, misses: Any, truth: Any) -> np.ndarray:
    """Average precision from counts by score [..., 256] and numbers of true objects [...]."""
    right = np.cumsum(np.asarray(hits, float)[..., ::-1], axis=-1)
    every = right + np.cumsum(np.asarray(misses, float)[..., ::-1], axis=-1)
    precision = np.nan_to_num(share(right, every))
    reached = np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]
    gained = np.diff(right, axis=-1, prepend=0.0)
    return share((gained * reached).sum(axis=-1), truth)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrocTally:
    """Hits on images with objects, false positives on normal images (which surely hold none), by score.

    The rules of DigestPath 2019 (Da et al., Med. Image Anal. 80, 2022), whose boxes are incomplete: what is found
    beside a box of an image with boxes is neither right nor wrong.
    """

    hits: Any = 0
    """[256]"""
    truth: Any = 0
    misses: Any = 0
    """[256], on normal images."""
    normals: Any = 0
    """How many those are."""

    def __add__(self, other: FrocTally) -> FrocTally:
        return FrocTally(
            hits=self.hits + other.hits,
            truth=self.truth + other.truth,
            misses=self.misses + other.misses,
            normals=self.normals + other.normals,
        )

    def scores(self) -> dict[str, Any]:
        """recall and normal_fp (false positives a normal image) of objects of score 0.5 and more; froc: the mean
        recall at the lowest scores that keep those to 1, 2, 4, 8, 16 and 32. nan without images of the kind."""
        recall = share(_above(self.hits), np.asarray(self.truth)[..., None])
        wrong = share(_above(self.misses), np.asarray(self.normals)[..., None])
        at = [np.where(np.isnan(wrong[..., 0]), np.nan, _most(recall, wrong <= limit)) for limit in NORMAL_FPS]
        by_name = {"froc": np.mean(at, axis=0), "recall": recall[..., SURE], "normal_fp": wrong[..., SURE]}
        return {name: float(value) if np.ndim(value) == 0 else value for name, value in by_name.items()}


def _above(counts: Any) -> np.ndarray:
    """[..., 256]: how many have at least each score."""
    return np.cumsum(np.asarray(counts, float)[..., ::-1], axis=-1)[..., ::-1]


def _most(recall: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The largest recall among allowed cuts; 0 where even the highest score allows too many."""
    return np.where(allowed, recall, 0.0).max(axis=-1)


def match_boxes(found: np.ndarray, score: np.ndarray, truth: np.ndarray, least_iou: float) -> np.ndarray:
    """int64 [pair, 2]: found and true boxes (float [n, 4]: xmin, ymin, xmax, ymax) of that IoU and more.

    The surest found box chooses first, the true box that it shares most with among those still free.
    """
    iou = box_iou(found, truth)
    free = np.ones(len(truth), bool)
    pairs = []
    for i in np.lexsort((np.arange(len(found)), -score.astype(float))) if len(truth) else ():
        best = int(np.where(free, iou[i], -1.0).argmax())
        if free[best] and iou[i, best] >= least_iou:
            free[best] = False
            pairs.append((int(i), best))
    return np.array(pairs, np.int64).reshape(-1, 2)


def box_iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """float64 [n, m]: shared area by joint area of boxes [n, 4] and [m, 4]; edges are where pixels end."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1.0), 0.0)
