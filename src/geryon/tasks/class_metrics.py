"""How well found classes agree with the truth, once it is known which found object is which true one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.spatial import KDTree


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassTally:
    """Counts over one image or many; the arrays may have leading axes of resampled sums. Tallies add.

    Scores that nothing was counted for are nan, so that an absent class neither helps nor harms a mean.
    """

    names: tuple[str, ...]
    paired: Any = 0
    """Found objects that are a true one, whatever the classes; the next two are those left over."""
    found_alone: Any = 0
    truth_alone: Any = 0
    confusion: Any = 0
    """int64 [class + 1, class + 2]: true class by found class. Row 0: no true object; column 0: none found;
    last column: found, but of none of the classes. True objects of unknown class are not in it."""

    def __add__(self, other: ClassTally) -> ClassTally:
        if self.names != other.names:
            raise ValueError(f"tallies of two lists of classes can't be added: {self.names} and {other.names}")
        return ClassTally(
            names=self.names,
            paired=self.paired + other.paired,
            found_alone=self.found_alone + other.found_alone,
            truth_alone=self.truth_alone + other.truth_alone,
            confusion=self.confusion + other.confusion,
        )

    def scores(self) -> dict[str, Any]:
        """f_d; accuracy, balanced_accuracy and the floors of always saying the commonest class; weighted_f1 (of pairs,
        classes weigh as often as they are true); f_c/<class> and f1/<class>.

        F_d and F_c: Graham et al., Med. Image Anal. 58, 2019, section 4.2, pairs that neither side calls the
        class left out of F_c (as its published figures have it). f1/<class> is the F1 of finding objects of that
        class as such: what is found on a true object of unknown class is neither right nor wrong.
        """
        table = np.asarray(self.confusion, float)
        pairs = table[..., 1:, 1:]
        right = np.diagonal(pairs[..., :-1], axis1=-2, axis2=-1)
        truth, everything = pairs.sum(-1), pairs.sum((-1, -2))
        present, commonest = (truth > 0).sum(-1), truth.max(-1, initial=0)
        found = pairs[..., :-1].sum(-2)
        recall = np.where(truth > 0, right / np.maximum(truth, 1), 0.0)
        by_name = {
            "f_d": share(
                2 * np.asarray(self.paired, float),
                2 * np.asarray(self.paired, float) + self.found_alone + self.truth_alone,
            ),
            "accuracy": share(right.sum(-1), everything),
            "balanced_accuracy": share(recall.sum(-1), present),
            "weighted_f1": share((2 * truth * right / np.maximum(truth + found, 1)).sum(-1), everything),
            "majority_accuracy": share(commonest, everything),
            "majority_balanced_accuracy": share(np.ones_like(everything), present),
            "majority_weighted_f1": share(2 * commonest**2, (commonest + everything) * everything),
        }
        by_name.update(self._f_of_classes(table))
        return {name: float(value) if np.ndim(value) == 0 else value for name, value in by_name.items()}

    def _f_of_classes(self, table: np.ndarray) -> dict[str, np.ndarray]:
        scores = {}
        for k, name in enumerate(self.names, start=1):
            right = table[..., k, k]
            wrong = table[..., 1:, k].sum(-1) + table[..., k, 1:].sum(-1) - 2 * right
            alone = table[..., 0, k] + table[..., k, 0]
            scores[f"f_c/{name}"] = share(2 * right, 2 * right + 2 * wrong + alone)
            scores[f"f1/{name}"] = share(2 * right, table[..., :, k].sum(-1) + table[..., k, :].sum(-1))
        return scores


def share(above: Any, below: Any) -> np.ndarray:
    """above / below; nan where nothing was counted."""
    below = np.asarray(below, float)
    return np.where(below > 0, np.asarray(above, float) / np.where(below > 0, below, 1.0), np.nan)


def mean_of_known(values: np.ndarray) -> np.ndarray:
    """The mean over the last axis of what is not nan; nan where all are."""
    known = ~np.isnan(values)
    return share(np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1))


def class_tally(
    names: tuple[str, ...], found_classes: np.ndarray, truth_classes: np.ndarray, pairs: np.ndarray
) -> ClassTally:
    """Counts of one image. Classes are int [object], an index into names, -1 for none of them (found) or unknown
    (truth); `pairs` is int [pair, 2]: found, truth, no object twice."""
    k = len(names)
    table = np.zeros((k + 1, k + 2), np.int64)
    found_column = np.where(found_classes < 0, k, found_classes) + 1
    alone_found = np.setdiff1d(np.arange(len(found_classes)), pairs[:, 0])
    alone_truth = np.setdiff1d(np.arange(len(truth_classes)), pairs[:, 1])
    known = truth_classes[pairs[:, 1]] >= 0
    np.add.at(table, (truth_classes[pairs[known, 1]] + 1, found_column[pairs[known, 0]]), 1)
    np.add.at(table[0], found_column[alone_found], 1)
    np.add.at(table[:, 0], truth_classes[alone_truth][truth_classes[alone_truth] >= 0] + 1, 1)
    return ClassTally(
        names=names,
        paired=len(pairs),
        found_alone=len(alone_found),
        truth_alone=len(alone_truth),
        confusion=table,
    )


def match_points(found_xy: np.ndarray, truth_xy: np.ndarray, radius: float) -> np.ndarray:
    """int64 [pair, 2]: found and true points at most `radius` apart, the nearest pair first, none used twice.

    Ties go to the lower found, then the lower true index.
    """
    if len(found_xy) == 0 or len(truth_xy) == 0:
        return np.zeros((0, 2), np.int64)
    near = KDTree(found_xy).sparse_distance_matrix(KDTree(truth_xy), radius, output_type="ndarray")
    order = np.lexsort((near["j"], near["i"], near["v"]))
    free_found, free_truth = np.ones(len(found_xy), bool), np.ones(len(truth_xy), bool)
    pairs = []
    for i, j in zip(near["i"][order].tolist(), near["j"][order].tolist(), strict=True):
        if free_found[i] and free_truth[j]:
            free_found[i] = free_truth[j] = False
            pairs.append((i, j))
    return np.array(pairs, np.int64).reshape(-1, 2)
