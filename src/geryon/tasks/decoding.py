"""From label maps to objects and back: parts that several tasks share."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from geryon.space.boxes import Box, Frame
from geryon.space.drawing import drawn
from geryon.space.objects import Objects, Outlines, no_objects, offsets, ranges
from geryon.space.windows import Window
from geryon.tasks.runs import gathered, runs_of, sums, trace


def outlines_of(labels: np.ndarray) -> Outlines:
    """Outlines of the labels 1..n of an int32 [y, x] map, each label 4-connected; see runs.trace."""
    rings = _Rings(*trace(runs_of(labels.astype(np.int32, copy=False))))
    return rings.outlines(np.ones(int(labels.max(initial=0)), bool))


def ring_areas(outlines: Outlines) -> np.ndarray:
    """float64 [ring]: shoelace area, positive for outer rings, negative for holes."""
    if len(outlines.ring_at) == 1:
        return np.zeros(0)
    after = np.arange(1, len(outlines.points) + 1)
    after[outlines.ring_at[1:] - 1] = outlines.ring_at[:-1]
    x, y = outlines.points[:, 0], outlines.points[:, 1]
    return np.add.reduceat(x * y[after] - x[after] * y, outlines.ring_at[:-1]) / 2.0


def areas(outlines: Outlines) -> np.ndarray:
    """float64 [object]: area inside the outer ring, holes out."""
    if len(outlines) == 0:
        return np.zeros(0)
    return np.add.reduceat(ring_areas(outlines), outlines.object_at[:-1])


def without_small_holes(outlines: Outlines, smallest: float) -> Outlines:
    """The same, holes smaller than `smallest` (square pixels) filled."""
    keep = (ring_areas(outlines) > 0) | (ring_areas(outlines) <= -smallest)
    keep[outlines.object_at[:-1]] = True
    kept = np.flatnonzero(keep)
    counts = np.add.reduceat(keep, outlines.object_at[:-1]) if len(outlines) else np.zeros(0, np.int64)
    points = ranges(outlines.ring_at[kept], outlines.ring_at[kept + 1])
    return Outlines(
        points=outlines.points[points],
        ring_at=offsets(outlines.ring_at[kept + 1] - outlines.ring_at[kept]),
        object_at=offsets(counts.astype(np.int64)),
    )


def objects_from_labels(
    labels: np.ndarray, *, score: np.ndarray, classes: np.ndarray | None, frame: Frame, coarse: int = 1
) -> Objects:
    """Objects of the labels 1..n (int32 [y, x], each 4-connected), in pixels of the array.

    `score` is uint8 [y, x, 1], `classes` uint8 [y / coarse, x / coarse, class]: an object has their means.
    """
    return objects_of_runs(runs_of(labels), score=score, classes=classes, frame=frame, coarse=coarse)


def objects_of_runs(
    runs: np.ndarray,
    *,
    score: np.ndarray,
    classes: np.ndarray | None,
    frame: Frame,
    coarse: int = 1,
    smallest_px: float = 0.0,
    filled: bool = False,
) -> Objects:
    """The same from the runs of the labels (tasks.runs), in the array that `score` covers.

    Objects whose area, holes out, is below `smallest_px` are left out; then holes are filled if so asked.
    """
    n = int(runs[:, 3].max(initial=0))
    if n == 0:
        return no_objects(frame, 0 if classes is None else classes.shape[2])
    place, total = sums(runs, n, score, 1)
    count = np.maximum(place[:, :1], 1)
    p = np.zeros((n, 0), np.uint8)
    if classes is not None:
        p = mean_u8(sums(runs, n, classes, coarse)[1], count)
    rings = _Rings(*trace(runs))
    keep = rings.areas(n) >= smallest_px
    rings = rings.take(keep[rings.label - 1] & ((rings.area_8 > 0) | (not filled)))
    return Objects(
        frame=frame,
        xy=(place[:, 1:] / count + 0.5)[keep],
        outlines=rings.outlines(keep),
        area=rings.areas(n)[keep],
        score=mean_u8(total, count)[keep, 0],
        p=p[keep],
    )


class _Rings(NamedTuple):
    """What runs.trace gives."""

    corners: np.ndarray
    spans: np.ndarray
    label: np.ndarray
    area_8: np.ndarray

    def take(self, index: np.ndarray) -> _Rings:
        """Those at the index or mask, in that order."""
        return _Rings(self.corners, self.spans[index], self.label[index], self.area_8[index])

    def areas(self, n: int) -> np.ndarray:
        """float64 [n]: of the labels 1..n, holes out; exact, as eighths are."""
        return np.bincount(self.label, self.area_8, n + 1)[1:] / 8.0

    def outlines(self, keep: np.ndarray) -> Outlines:
        """Outlines of the labels 1..n that a bool mask keeps; there must be no rings of others."""
        spans = self.spans[np.argsort(self.label, kind="stable")]
        return Outlines(
            points=gathered(self.corners, spans),
            ring_at=offsets(spans[:, 1] - spans[:, 0]),
            object_at=offsets(np.bincount(self.label, minlength=len(keep) + 1)[1:][keep]),
        )


def mean_u8(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    """uint8: integer means, rounded half up, so that they do not depend on the platform."""
    return ((2 * total + count) // (2 * np.maximum(count, 1))).astype(np.uint8)


def placed(objects: Objects, window: Window) -> Objects:
    """Objects found in an array over the window's outer box, moved to the frame's own coordinates."""
    return objects.moved(window.outer.xmin, window.outer.ymin)


def worn(mask: np.ndarray, by_px: int) -> np.ndarray:
    """The mask (bool [y, x]) without what lies within `by_px` of its outside, or of the array's border."""
    if by_px == 0:
        return mask
    y, x = np.mgrid[-by_px : by_px + 1, -by_px : by_px + 1]
    disc = (x * x + y * y <= by_px * (by_px + 0.5)).astype(np.uint8)
    return cv2.erode(mask.astype(np.uint8), disc, borderType=cv2.BORDER_CONSTANT, borderValue=(0,)) > 0


def components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """int32 [y, x]: 4-connected components of a bool mask, numbered 1..n, and n."""
    n, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4, ltype=cv2.CV_32S)
    return labels, n - 1


def labels_of(objects: Objects, shape: tuple[int, int]) -> np.ndarray:
    """int32 [y, x]: object i filled with i + 1, later ones on top; pixels by their centres."""
    box = Box(objects.frame, 0, 0, shape[1], shape[0])
    return drawn(objects.outlines, np.arange(1, len(objects) + 1), box)
