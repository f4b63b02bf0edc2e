"""Signet ring cells: bounded objects known by their boxes, found at 1 µm per pixel and given as boxes.

A box teaches its inscribed ellipse, which turns with the picture (`inside` and `depth` are scalars). Sources that box
some of their cells only are known in those boxes and in a narrow ring around each.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from geryon.space.objects import Objects, Outlines
from geryon.space.windows import Window
from geryon.tasks import decoding, metrics, peaks, targets
from geryon.tasks.task import Labelled, Task

RING_PX = 3
"""Around a box, known to be no cell's inside: the corners that its ellipse leaves, and this much beyond them."""
AREA_PX = 60
"""Smaller objects (60 µm², 9 µm across) are no signet ring cells."""


def target(labelled: Labelled, task: Task) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Targets and weights of a labelled image; where objects are drawn, their bounding boxes count."""
    shape = _shape(labelled)
    boxes = labelled.boxes if labelled.boxes is not None else boxes_of(labelled.objects)
    objects = ellipses(boxes, shape)
    weight = targets.known_weight(labelled, shape)
    if not labelled.exhaustive:
        weight = weight * near(boxes, shape)
    depth = targets.normalised_rim_distance(objects)
    inside = (objects > 0).astype(np.float32)
    return {"inside": (inside[..., None], weight), "depth": (depth[..., None], weight)}


def _shape(labelled: Labelled) -> tuple[int, int]:
    known = labelled.known if labelled.objects is None else labelled.objects
    assert known is not None, "boxes come with `known`, which has the shape"
    return known.shape[0], known.shape[1]


def boxes_of(objects: np.ndarray | None) -> np.ndarray:
    """float64 [n, 4]: xmin, ymin, xmax, ymax of the ids of an int32 [y, x] map, in their order; pixel edges."""
    if objects is None or not objects.any():
        return np.zeros((0, 4))
    y, x = np.nonzero(objects)
    _, number = np.unique(objects[y, x], return_inverse=True)
    at = np.stack([x, y], axis=1).astype(np.float64)
    low, high = np.full((number.max() + 1, 2), np.inf), np.zeros((number.max() + 1, 2))
    np.minimum.at(low, number, at)
    np.maximum.at(high, number, at + 1)
    return np.concatenate([low, high], axis=1)


def ellipses(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """int32 [y, x]: box i's inscribed ellipse as i + 1; where two meet, a pixel is of the one it is deeper in."""
    objects, nearest = np.zeros(shape, np.int32), np.ones(shape)
    for number, box in enumerate(boxes, start=1):
        rows, columns = _span(box, shape, 0.0)
        (cx, cy), (a, b) = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
        x, y = (np.arange(each.start, each.stop) + 0.5 for each in (columns, rows))
        if not (a > 0 and b > 0 and len(x) and len(y)):
            continue
        r = ((x - cx) / a)[None, :] ** 2 + ((y - cy) / b)[:, None] ** 2
        own = r < nearest[rows, columns]
        objects[rows, columns][own] = number
        nearest[rows, columns][own] = r[own]
    return objects


def near(boxes: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """float32 [y, x]: 1 in each box and the ring around it."""
    out = np.zeros(shape, np.float32)
    for box in boxes:
        out[_span(box, shape, RING_PX)] = 1.0
    return out


def _span(box: np.ndarray, shape: tuple[int, int], more_px: float) -> tuple[slice, slice]:
    """Rows and columns of the pixels that the box, grown by that much, touches."""
    low = np.maximum(np.floor(box[:2] - more_px), 0).astype(int)
    high = np.maximum(np.ceil(box[2:] + more_px), 0).astype(int)
    return slice(int(low[1]), min(shape[0], int(high[1]))), slice(int(low[0]), min(shape[1], int(high[0])))


def decode(maps: Mapping[str, np.ndarray], window: Window, task: Task) -> Objects:
    """The boxes of the cells whose peak lies in the window's core, in the window's frame; maps cover its outer box."""
    cells = decoding.objects_of_runs(
        peaks.found(maps, window), score=maps["inside"], classes=None, frame=window.frame, smallest_px=AREA_PX
    )
    return decoding.placed(boxed(cells), window)


def boxed(objects: Objects) -> Objects:
    """The same objects with their bounding boxes as outlines."""
    x0, y0, x1, y1 = objects.outlines.boxes().T
    corners = np.stack([x0, y0, x1, y0, x1, y1, x0, y1], axis=1).reshape(-1, 2)
    n = np.arange(len(objects) + 1)
    return Objects(
        frame=objects.frame,
        xy=np.stack([x0 + x1, y0 + y1], axis=1) / 2,
        outlines=Outlines(points=corners, ring_at=4 * n, object_at=n),
        area=(x1 - x0) * (y1 - y0),
        score=objects.score,
        p=objects.p,
    )


SIGNET_RING = Task(
    name="signet_ring",
    singular="signet_ring_cell",
    mpp=1.0,
    seam="own",
    reach_um=peaks.REACH_PX * 1.0,
    classes=None,
    maps=peaks.MAPS,
    target=target,
    decode=decode,
    metric=metrics.object_metric,
    boxes=True,
    colours=((255, 0, 255),),
)
