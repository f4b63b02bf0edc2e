"""How well found objects agree with the truth, from one table of overlaps between two label maps.

A `Tally` holds counts and sums of one image; tallies add, so that pooled scores of a set are the scores of
the sum, as contests compute them. Label maps are int32 [y, x], 0 background; ids need not be dense.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
from scipy import ndimage

from geryon.tasks import class_metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlaps:
    """Which found objects share pixels with which true ones, and how many; indices point into the ids."""

    found_ids: np.ndarray
    truth_ids: np.ndarray
    found_area: np.ndarray
    truth_area: np.ndarray
    found: np.ndarray
    """int64 [pair]: index into found_ids; pairs are sorted by it, then by `truth`."""
    truth: np.ndarray
    """int64 [pair]: index into truth_ids."""
    shared: np.ndarray
    """int64 [pair]: pixels that both hold."""

    @property
    def union(self) -> np.ndarray:
        """int64 [pair]: pixels that one or the other holds."""
        return self.found_area[self.found] + self.truth_area[self.truth] - self.shared

    def truth_of_found(self, by: np.ndarray) -> np.ndarray:
        """int64 [found]: the true object of largest `by` (one value a pair), the lowest at a tie, -1 without any."""
        return _best(self.found, self.truth, by, len(self.found_ids))

    def found_of_truth(self, by: np.ndarray) -> np.ndarray:
        """int64 [truth]: as `truth_of_found`, the other way."""
        return _best(self.truth, self.found, by, len(self.truth_ids))


def overlaps(found: np.ndarray, truth: np.ndarray) -> Overlaps:
    """The overlap table of two label maps of one shape; time is linear in the pixels for dense ids."""
    if found.shape != truth.shape:
        raise ValueError(f"label maps of two shapes can't be compared: {found.shape} and {truth.shape}")
    found_ids, found_area = _counts(found[found > 0])
    truth_ids, truth_area = _counts(truth[truth > 0])
    both = (found > 0) & (truth > 0)
    base = len(truth_ids)
    pair, shared = _counts(np.searchsorted(found_ids, found[both]) * base + np.searchsorted(truth_ids, truth[both]))
    return Overlaps(
        found_ids=found_ids,
        truth_ids=truth_ids,
        found_area=found_area,
        truth_area=truth_area,
        found=pair // max(base, 1),
        truth=pair % max(base, 1),
        shared=shared,
    )


def _counts(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if values.size and int(values.max()) <= 4 * values.size + 65536:
        counts = np.bincount(values)
        ids = np.flatnonzero(counts)
        return ids.astype(np.int64), counts[ids]
    ids, counts = np.unique(values, return_counts=True)
    return ids.astype(np.int64), counts.astype(np.int64)


def _best(own: np.ndarray, other: np.ndarray, by: np.ndarray, n: int) -> np.ndarray:
    best = np.full(n, -1, np.int64)
    order = np.lexsort((-other, by))
    best[own[order]] = other[order]
    return best


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Counts and sums over one image or many; each a number, or an array of resampled sums.

    Conventions: with nothing to find and nothing found a score is perfect (1; distance 0); with nothing on
    one side only it is the worst (0). An image where only one side has objects counts its diagonal as the
    distance of each of them (the contest's own code gives infinity, which would hide all other images).
    """

    images: Any = 0
    found: Any = 0
    truth: Any = 0
    matched: Any = 0
    """Pairs with IoU > 0.5; no object is in two of them (Kirillov et al., CVPR 2019, section 4.1)."""
    matched_iou: Any = 0.0
    aji_shared: Any = 0
    aji_union: Any = 0
    found_px: Any = 0
    truth_px: Any = 0
    shared_px: Any = 0
    covered: Any = 0
    """Found objects that hold at least half of the true object they share most with, one a true object."""
    found_dice: Any = 0.0
    truth_dice: Any = 0.0
    """Sums of Dice with the partner times area, over found and over true objects."""
    found_hausdorff: Any = np.nan
    truth_hausdorff: Any = np.nan
    """The same of Hausdorff distances in pixels; nan where not asked for."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})

    def scores(self) -> dict[str, Any]:
        """Every score by name; floats, or arrays where the fields are arrays. Sources:

        pq, dq, sq: Kirillov et al., CVPR 2019. aji: Kumar et al., IEEE TMI 36(7), 2017, algorithm 1. dice: of all
        pixels. object_f1, object_dice, object_hausdorff_px: Sirinukunwattana et al., Med. Image Anal. 35, 2017,
        section 5.
        """
        objects = self.found + self.truth
        nothing = np.where(np.asarray(objects) == 0, 1.0, 0.0)
        by_name = {
            "pq": _ratio(2 * self.matched_iou, objects, nothing),
            "dq": _ratio(2 * self.matched, objects, nothing),
            "sq": _ratio(self.matched_iou, self.matched, nothing),
            "aji": _ratio(self.aji_shared, self.aji_union, nothing),
            "dice": _ratio(2 * self.shared_px, self.found_px + self.truth_px, nothing),
            "object_f1": _ratio(2 * self.covered, objects, nothing),
            "object_dice": (
                _ratio(self.found_dice, self.found_px, nothing) + _ratio(self.truth_dice, self.truth_px, nothing)
            )
            / 2,
        }
        if not np.isnan(self.found_hausdorff).any():
            by_name["object_hausdorff_px"] = self._hausdorff()
        return {name: float(value) if np.ndim(value) == 0 else value for name, value in by_name.items()}

    def _hausdorff(self) -> np.ndarray:
        of_truth = _ratio(self.truth_hausdorff, self.truth_px, np.nan)
        of_found = _ratio(self.found_hausdorff, self.found_px, of_truth)
        of_truth = np.where(np.isnan(of_truth), of_found, of_truth)
        return np.nan_to_num((of_found + of_truth) / 2, nan=0.0)


def _ratio(above: Any, below: Any, empty: Any) -> np.ndarray:
    above, below = np.asarray(above, float), np.asarray(below, float)
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), empty)


def tally(found: np.ndarray, truth: np.ndarray, *, hausdorff: bool = False) -> Tally:
    """Counts and sums of one image from two label maps; Hausdorff distances only if asked, they cost most."""
    table = overlaps(found, truth)
    iou = table.shared / table.union
    good = iou > 0.5
    shared, union = _jaccard_sums(table, iou)
    partner_of_found, partner_of_truth = table.truth_of_found(table.shared), table.found_of_truth(table.shared)
    dice = 2 * table.shared / (table.found_area[table.found] + table.truth_area[table.truth])
    first = partner_of_found[table.found] == table.truth
    second = partner_of_truth[table.truth] == table.found
    half = first & (2 * table.shared >= table.truth_area[table.truth])
    far = _hausdorff_sums(found, truth, table) if hausdorff else (np.nan, np.nan)
    return Tally(
        images=1,
        found=len(table.found_ids),
        truth=len(table.truth_ids),
        matched=int(good.sum()),
        matched_iou=float(iou[good].sum()),
        aji_shared=shared,
        aji_union=union,
        found_px=int(table.found_area.sum()),
        truth_px=int(table.truth_area.sum()),
        shared_px=int(table.shared.sum()),
        covered=len(np.unique(table.truth[half])),
        found_dice=float((dice * table.found_area[table.found])[first].sum()),
        truth_dice=float((dice * table.truth_area[table.truth])[second].sum()),
        found_hausdorff=far[0],
        truth_hausdorff=far[1],
    )


def _jaccard_sums(table: Overlaps, iou: np.ndarray) -> tuple[int, int]:
    best = table.found_of_truth(iou)
    taken = best[table.truth] == table.found
    unused = np.ones(len(table.found_ids), bool)
    unused[best[best >= 0]] = False
    union = table.union[taken].sum() + table.truth_area[best < 0].sum() + table.found_area[unused].sum()
    return int(table.shared[taken].sum()), int(union)


def _hausdorff_sums(found: np.ndarray, truth: np.ndarray, table: Overlaps) -> tuple[float, float]:
    diagonal = float(np.hypot(*found.shape))
    places = [_places(found, table.found_ids), _places(truth, table.truth_ids)]
    maps, ids = (found, truth), (table.found_ids, table.truth_ids)

    def distance(f: int, t: int) -> float:
        (ya, xa), (yb, xb) = places[0][f], places[1][t]
        y = slice(min(ya.start, yb.start), max(ya.stop, yb.stop))
        x = slice(min(xa.start, xb.start), max(xa.stop, xb.stop))
        return _hausdorff(maps[0][y, x] == ids[0][f], maps[1][y, x] == ids[1][t])

    def weighted(partners: np.ndarray, area: np.ndarray, flip: bool) -> float:
        total = 0.0
        for own, partner in enumerate(partners):
            others = range(len(ids[0 if flip else 1])) if partner < 0 else (int(partner),)
            far = min((distance(o, own) if flip else distance(own, o) for o in others), default=diagonal)
            total += far * float(area[own])
        return total

    return (
        weighted(table.truth_of_found(table.shared), table.found_area, False),
        weighted(table.found_of_truth(table.shared), table.truth_area, True),
    )


def _places(labels: np.ndarray, ids: np.ndarray) -> list[tuple[slice, slice]]:
    dense = np.searchsorted(ids, labels).astype(np.int32) + 1
    dense[labels == 0] = 0
    return list(ndimage.find_objects(dense))


def _hausdorff(one: np.ndarray, other: np.ndarray) -> float:
    to_one = cv2.distanceTransform((~one).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    to_other = cv2.distanceTransform((~other).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float(max(to_other[one].max(), to_one[other].max()))


def mean_scores(tallies: Iterable[Tally]) -> dict[str, float]:
    """The mean over images of each image's own scores: an empty image weighs as much as a full one."""
    rows = [tally.scores() for tally in tallies]
    return {name: float(np.nanmean([row[name] for row in rows])) for name in (rows[0] if rows else {})}


def object_metric(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Scores of one image's objects from two label maps: what a task with objects names as its metric."""
    return tally(found, truth).scores()


def raster_metric(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Accuracy and balanced accuracy of two rasters (class number + 1); cells with truth 0 are unknown."""
    known = truth > 0
    n = int(max(found.max(initial=0), truth.max(initial=0)))
    names = tuple(str(i) for i in range(1, n + 1))
    pairs = np.repeat(np.arange(int(known.sum()))[:, None], 2, axis=1)
    scores = class_metrics.class_tally(names, found[known] - 1, truth[known] - 1, pairs).scores()
    return {name: scores[name] for name in ("accuracy", "balanced_accuracy")}
