"""What was drawn on one image, as cases: which boxes are read, and what their pixels are labelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from geryon.space import units
from geryon.space.boxes import Box, Frame
from geryon.space.drawing import by_square, drawn
from geryon.space.objects import Outlines, offsets
from geryon.tasks.task import Labelled, get_task
from geryon.train.faults import Fault
from geryon.train.own import IMAGE, OBJECTS, OwnChoice
from geryon.train.pictures import Picture, part
from geryon.train.source import Case

MOST_PX = 1 << 26
"""Of a case: it is in memory whole, with a target a task."""
SQUARE_PX = 512
"""Where nothing is known beside what is annotated, a case is a square of this side that holds some."""
POINT_UM = 6.0
"""What a point makes known around it there: the distance at which evaluation pairs points."""


def no_outlines() -> Outlines:
    """None."""
    return Outlines(points=np.zeros((0, 2)), ring_at=np.zeros(1, np.int64), object_at=np.zeros(1, np.int64))


def outlines(polygons: Sequence[Sequence[np.ndarray]]) -> Outlines:
    """Outlines of objects, each a list of rings float64 [n, 2] of x, y; the even-odd rule makes holes and parts."""
    rings = [ring for polygon in polygons for ring in polygon]
    return Outlines(
        points=np.concatenate(rings).astype(np.float64) if rings else np.zeros((0, 2)),
        ring_at=offsets(np.array([len(ring) for ring in rings], np.int64)),
        object_at=offsets(np.array([len(polygon) for polygon in polygons], np.int64)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """All that somebody drew on one image, in pixels of level 0, edges at integers."""

    shapes: Outlines = field(default_factory=no_outlines)
    classes: tuple[str, ...] = ()
    """Class of each shape, or of each point; "" where it is not told."""
    points: np.ndarray | None = None
    """float64 [n, 2]: x, y of centres, where only those are known."""
    extents: np.ndarray | None = None
    """float64 [n, 4]: the boxes that the points are the centres of, if they are."""
    places: Outlines = field(default_factory=no_outlines)
    """Where everything is annotated."""
    unknown: Outlines = field(default_factory=no_outlines)
    """Where nothing is known."""

    def at(self, factor: float) -> Drawing:
        """Counted in pixels of another size."""
        return Drawing(
            shapes=self.shapes.scaled(factor, factor),
            classes=self.classes,
            points=None if self.points is None else self.points * factor,
            extents=None if self.extents is None else self.extents * factor,
            places=self.places.scaled(factor, factor),
            unknown=self.unknown.scaled(factor, factor),
        )

    @property
    def boxes(self) -> np.ndarray:
        """float64 [n, 4]: xmin, ymin, xmax, ymax of each shape or point."""
        if self.points is None:
            return self.shapes.boxes()
        return np.tile(self.points, 2) if self.extents is None else self.extents


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A box of whole pixels at the picture's grid_mpp, and what of the drawing is its own."""

    box: tuple[int, int, int, int]
    own: np.ndarray | None = None
    """int64: the shapes or points that alone are known; None: see place."""
    place: int = -1
    """The place that is known; -1: all of it."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns; none where it lies outside of the picture."""
        return max(0, self.box[3] - self.box[1]), max(0, self.box[2] - self.box[0])


def cases_of(own: OwnChoice, picture: Picture, drawing: Drawing) -> tuple[list[Case], list[Fault]]:
    """The cases that a drawing gives; faults for boxes too large to be held."""
    scaled = drawing.at(picture.factor)
    windows = [w for w in _windows(own, picture, scaled) if min(w.shape) > 0]
    large = [w for w in windows if w.shape[0] * w.shape[1] > MOST_PX]
    mend = f"annotate places of at most {MOST_PX / 1e6:.0f} million pixels at {picture.grid_mpp:g} µm"
    faults = [
        Fault(
            source=own.name,
            where=picture.path.name,
            what=f"a place of {w.shape[1]} x {w.shape[0]} px would be one training image",
            mend=mend,
        )
        for w in large
    ]
    faults += _outside(own, picture, scaled)
    numbered = len(windows) > 1 or own.known != IMAGE
    cases = [
        Case(
            name=f"{picture.name}-{k}" if numbered else picture.name,
            group=picture.group,
            image=partial(part, picture, window.box),
            mpp=picture.grid_mpp,
            labels={own.task: partial(labelled, own, picture, scaled, window)},
            stratum=commonest([scaled.classes[i] for i in _inside(scaled, window)]),
        )
        for k, window in enumerate(windows, start=1)
    ]
    return ([] if faults else cases), faults


def _outside(own: OwnChoice, picture: Picture, drawing: Drawing) -> list[Fault]:
    """A fault where most objects lie beside their picture: then the coordinates are of something else."""
    boxes, (width, height) = drawing.boxes, picture.grid_size
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    beside = int(((centres < 0).any(axis=1) | (centres >= (width, height)).any(axis=1)).sum())
    if 2 * beside <= len(boxes):
        return []
    what = f"{beside} of {len(boxes)} annotations lie outside of the image"
    mend = "give them in pixels of this image, not of the slide that it was cut from"
    return [Fault(source=own.name, where=picture.path.name, what=what, mend=mend)]


def commonest(names: Sequence[str]) -> str:
    """The commonest of the names that are none "", the first by name of several; "" of none."""
    counts = Counter(name for name in names if name)
    return min(counts, key=lambda name: (-counts[name], name)) if counts else ""


def _windows(own: OwnChoice, picture: Picture, drawing: Drawing) -> Iterator[Window]:
    width, height = picture.grid_size
    if own.known == IMAGE:
        yield Window(box=(0, 0, width, height))
    elif own.known == OBJECTS and get_task(own.task).seam == "place":
        yield from _tiles(drawing.shapes, (width, height))
    elif own.known == OBJECTS:
        yield from _squares(drawing.boxes, (width, height))
    else:
        for number, box in enumerate(drawing.places.boxes()):
            yield Window(box=_clipped(box, (width, height)), place=number)


def _tiles(shapes: Outlines, size: tuple[int, int]) -> Iterator[Window]:
    """Squares that hold some of any shape: classes of places may be cut anywhere."""
    squares: dict[tuple[int, int], list[int]] = {}
    for place, numbers in by_square(shapes, SQUARE_PX):
        squares.setdefault(place, []).extend(numbers.tolist())
    for (row, column), some in sorted(squares.items()):
        window = Window(box=_clipped(SQUARE_PX * np.array([column, row, column + 1, row + 1]), size))
        if _draw(shapes, np.array(some), np.ones(len(some), np.int32), window).any():
            yield window


def _squares(boxes: np.ndarray, size: tuple[int, int]) -> Iterator[Window]:
    """Squares that hold centres of objects, grown to hold these objects whole."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    at = np.floor(centres / SQUARE_PX).astype(np.int64)
    inside = (centres >= 0).all(axis=1) & (centres < size).all(axis=1)
    for column, row in np.unique(at[inside], axis=0):
        own = np.flatnonzero((at == [column, row]).all(axis=1) & inside)
        low = np.minimum([column * SQUARE_PX, row * SQUARE_PX], boxes[own, :2].min(axis=0))
        high = np.maximum([(column + 1) * SQUARE_PX, (row + 1) * SQUARE_PX], boxes[own, 2:].max(axis=0))
        yield Window(box=_clipped(np.concatenate([low, high]), size), own=own)


def _clipped(box: np.ndarray, size: tuple[int, int]) -> tuple[int, int, int, int]:
    xmin, ymin = np.maximum(np.floor(box[:2] + 1e-6), 0).astype(int)
    xmax, ymax = np.minimum(np.ceil(box[2:] - 1e-6), size).astype(int)
    return int(xmin), int(ymin), int(xmax), int(ymax)


def _inside(drawing: Drawing, window: Window) -> np.ndarray:
    """int64: shapes or points that lie in the window, at least in part."""
    if window.own is not None:
        return window.own
    boxes, (xmin, ymin, xmax, ymax) = drawing.boxes, window.box
    return np.flatnonzero((boxes[:, 0] < xmax) & (boxes[:, 1] < ymax) & (boxes[:, 2] >= xmin) & (boxes[:, 3] >= ymin))


def labelled(own: OwnChoice, picture: Picture, drawing: Drawing, window: Window) -> Labelled:
    """What the drawing says of the window's pixels."""
    task, index = get_task(own.task), _inside(drawing, window)
    classes = [drawing.classes[i] for i in index]
    if task.seam == "place":
        names = tuple(dict.fromkeys(name for name in own.names.values() if name))
        numbers = np.array([names.index(name) + 1 if name else 0 for name in classes], np.int32)
        raster = _draw(drawing.shapes, index, numbers, window)
        return Labelled(raster=np.where(_known(picture, drawing, window), raster, 0), raster_names=names)
    if drawing.points is not None:
        points = drawing.points[index] - window.box[:2]
        known = _known(picture, drawing, window)
        columns, rows = np.floor(points).astype(int).T
        keep = (points >= 0).all(axis=1) & (columns < known.shape[1]) & (rows < known.shape[0])
        keep[keep] = known[rows[keep], columns[keep]]
        names = tuple(name for name, there in zip(classes, keep, strict=True) if there)
        boxes = None if drawing.extents is None else (drawing.extents[index] - np.tile(window.box[:2], 2))[keep]
        return Labelled(
            points=points[keep], point_classes=names, boxes=boxes, known=known, exhaustive=own.known != OBJECTS
        )
    objects = _draw(drawing.shapes, index, np.arange(1, len(index) + 1, dtype=np.int32), window)
    there = np.bincount(objects.ravel(), minlength=len(index) + 1) > 0
    return Labelled(
        objects=objects,
        classes={i: name for i, name in enumerate(classes, start=1) if name and there[i]},
        known=_known(picture, drawing, window),
    )


def _known(picture: Picture, drawing: Drawing, window: Window) -> np.ndarray:
    """bool [y, x]: where the drawing is the whole truth."""
    height, width = window.shape
    if window.own is not None and drawing.points is not None:
        known = _discs(drawing.boxes[window.own] - np.tile(window.box[:2], 2), (height, width), picture.grid_mpp)
    elif window.own is not None:
        known = _draw(drawing.shapes, window.own, np.ones(len(window.own), np.int32), window) > 0
    elif window.place >= 0:
        known = _draw(drawing.places, np.array([window.place]), np.ones(1, np.int32), window) > 0
    else:
        known = np.ones((height, width), bool)
    if len(drawing.unknown):
        every = np.arange(len(drawing.unknown))
        known &= _draw(drawing.unknown, every, np.ones(len(every), np.int32), window) == 0
    return known


def _discs(boxes: np.ndarray, shape: tuple[int, int], mpp: float) -> np.ndarray:
    """bool [y, x]: within POINT_UM of a point, or in its box."""
    known = np.zeros(shape, bool)
    reach = units.px(POINT_UM, mpp)
    for xmin, ymin, xmax, ymax in boxes:
        top, left = max(0, int(ymin - reach)), max(0, int(xmin - reach))
        y, x = np.ogrid[top : int(ymax + reach) + 2, left : int(xmax + reach) + 2]
        beside = np.maximum(np.maximum(xmin - x - 0.5, x + 0.5 - xmax), 0)
        above = np.maximum(np.maximum(ymin - y - 0.5, y + 0.5 - ymax), 0)
        near = beside**2 + above**2 <= reach**2
        place = known[top : top + near.shape[0], left : left + near.shape[1]]
        place |= near[: place.shape[0], : place.shape[1]]
    return known


def _draw(shapes: Outlines, index: np.ndarray, numbers: np.ndarray, window: Window) -> np.ndarray:
    """int32 [y, x] of the window: numbers where those shapes are, later ones on top."""
    chosen = shapes.take(index)
    if len(chosen) == 0:
        return np.zeros(window.shape, np.int32)
    # A box with whole edges in the outlines' own frame, so that no pixel depends on how boxes are cut.
    frame = Frame(name="task", mpp_x=1.0, mpp_y=1.0, width=window.box[2], height=window.box[3])
    return drawn(chosen, numbers, Box(frame, *window.box))
