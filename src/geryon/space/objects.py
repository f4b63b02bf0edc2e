"""Objects: what decoding finds and what is stored, as columns with outlines in one frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geryon.compiling import compiled
from geryon.space.boxes import Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlines:
    """Polygons as three flat arrays, ready for WKB.

    Ring r is points[ring_at[r]:ring_at[r + 1]], its first point not repeated; object i owns rings
    object_at[i]:object_at[i + 1], the outer ring first, then its holes. Outer rings run so that the
    shoelace sum is positive with y downwards; holes the other way.
    """

    points: np.ndarray
    """float64 [point, 2]: x, y; pixel edges at integers."""
    ring_at: np.ndarray
    """int64 [ring + 1]"""
    object_at: np.ndarray
    """int64 [object + 1]"""

    def __len__(self) -> int:
        return len(self.object_at) - 1

    def rings(self, i: int) -> list[np.ndarray]:
        """The rings of object i, the outer one first."""
        return [
            self.points[self.ring_at[r] : self.ring_at[r + 1]]
            for r in range(int(self.object_at[i]), int(self.object_at[i + 1]))
        ]

    def boxes(self) -> np.ndarray:
        """float64 [object, 4]: xmin, ymin, xmax, ymax."""
        found: np.ndarray = _boxes(self.points, self.ring_at[self.object_at])
        return found

    def take(self, index: np.ndarray) -> Outlines:
        """The outlines of the objects at `index` (int64), in that order."""
        points, ring_at, object_at = _taken(self.points, self.ring_at, self.object_at, index)
        return Outlines(points=points, ring_at=ring_at, object_at=object_at)

    def scaled(self, x: float, y: float, grid: float = 0.0) -> Outlines:
        """Multiplied by x and y; rounded to multiples of `grid` where that is positive."""
        points = self.points * np.array([x, y])
        if grid > 0:
            points = np.round(points / grid) * grid
        return Outlines(points=points, ring_at=self.ring_at, object_at=self.object_at)


@compiled
def _boxes(points, point_at):  # type: ignore[no-untyped-def]
    """Of runs of points, none of them empty."""
    out = np.empty((len(point_at) - 1, 4))
    for i in range(len(out)):
        xmin = xmax = points[point_at[i], 0]
        ymin = ymax = points[point_at[i], 1]
        for k in range(point_at[i], point_at[i + 1]):
            x, y = points[k, 0], points[k, 1]
            xmin, xmax = min(xmin, x), max(xmax, x)
            ymin, ymax = min(ymin, y), max(ymax, y)
        out[i, 0], out[i, 1], out[i, 2], out[i, 3] = xmin, ymin, xmax, ymax
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Objects:
    """n objects of one task, in one frame. All arrays have length n."""

    frame: Frame
    xy: np.ndarray
    """float64 [n, 2]: centroids x, y."""
    outlines: Outlines
    area: np.ndarray
    """float64 [n]: of the outline, holes out, in square units of the frame."""
    score: np.ndarray
    """uint8 [n]: 0..255 for 0..1, how sure that this is an object."""
    p: np.ndarray
    """uint8 [n, class]: 0..255 for 0..1; no columns where the task has no classes."""

    def __len__(self) -> int:
        return len(self.xy)

    def take(self, index: np.ndarray) -> Objects:
        """The objects at `index` (int64 or bool mask), in that order."""
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        return Objects(
            frame=self.frame,
            xy=self.xy[index],
            outlines=self.outlines.take(index),
            area=self.area[index],
            score=self.score[index],
            p=self.p[index],
        )

    def to(self, frame: Frame, grid: float = 0.0) -> Objects:
        """The same objects counted in another frame; outlines rounded to multiples of `grid`."""
        x, y = self.frame.mpp_x / frame.mpp_x, self.frame.mpp_y / frame.mpp_y
        return Objects(
            frame=frame,
            xy=self.xy * np.array([x, y]),
            outlines=self.outlines.scaled(x, y, grid),
            area=self.area * (x * y),
            score=self.score,
            p=self.p,
        )

    def moved(self, dx: float, dy: float) -> Objects:
        """Shifted within the frame."""
        shift = np.array([dx, dy])
        moved = Outlines(
            points=self.outlines.points + shift, ring_at=self.outlines.ring_at, object_at=self.outlines.object_at
        )
        return Objects(frame=self.frame, xy=self.xy + shift, outlines=moved, area=self.area, score=self.score, p=self.p)


def no_objects(frame: Frame, classes: int) -> Objects:
    """An empty set of objects with that many class columns."""
    outlines = Outlines(points=np.zeros((0, 2)), ring_at=np.zeros(1, np.int64), object_at=np.zeros(1, np.int64))
    return Objects(
        frame=frame,
        xy=np.zeros((0, 2)),
        outlines=outlines,
        area=np.zeros(0),
        score=np.zeros(0, np.uint8),
        p=np.zeros((0, classes), np.uint8),
    )


def join_objects(parts: Sequence[Objects]) -> Objects:
    """One set from several of the same frame and classes, in order; `parts` holds at least one."""
    return Objects(
        frame=parts[0].frame,
        xy=np.concatenate([o.xy for o in parts]),
        outlines=join_outlines([o.outlines for o in parts]),
        area=np.concatenate([o.area for o in parts]),
        score=np.concatenate([o.score for o in parts]),
        p=np.concatenate([o.p for o in parts]),
    )


def join_outlines(parts: Sequence[Outlines]) -> Outlines:
    """One set from several, in order."""
    none = np.zeros(0, np.int64)
    return Outlines(
        points=np.concatenate([np.zeros((0, 2)), *(o.points for o in parts)]),
        ring_at=offsets(np.concatenate([none, *(np.diff(o.ring_at) for o in parts)])),
        object_at=offsets(np.concatenate([none, *(np.diff(o.object_at) for o in parts)])),
    )


def offsets(counts: np.ndarray) -> np.ndarray:
    """int64 [n + 1]: where each run starts, from the lengths of the runs."""
    at = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=at[1:])
    return at


def ranges(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """int64: the numbers of all half-open ranges, one after the other.

    >>> ranges(np.array([0, 5]), np.array([2, 8])).tolist()
    [0, 1, 5, 6, 7]
    """
    lengths = ends - starts
    at = offsets(lengths)
    return np.repeat(starts - at[:-1], lengths) + np.arange(at[-1])


@compiled
def _taken(points, ring_at, object_at, index):  # type: ignore[no-untyped-def]
    rings, n = 0, 0
    for i in index:
        rings += object_at[i + 1] - object_at[i]
        n += ring_at[object_at[i + 1]] - ring_at[object_at[i]]
    out = np.empty((n, 2), points.dtype)
    out_ring_at, out_object_at = np.zeros(rings + 1, np.int64), np.zeros(len(index) + 1, np.int64)
    ring, at = 0, 0
    for k, i in enumerate(index):
        for r in range(object_at[i], object_at[i + 1]):
            for j in range(ring_at[r], ring_at[r + 1]):
                out[at, 0], out[at, 1] = points[j, 0], points[j, 1]
                at += 1
            ring += 1
            out_ring_at[ring] = at
        out_object_at[k + 1] = ring
    return out, out_ring_at, out_object_at
