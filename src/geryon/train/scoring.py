"""One prediction against one labelled image: the pieces that evaluation adds up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from geryon.space import units
from geryon.space.objects import Objects
from geryon.tasks import class_metrics, decoding, metrics
from geryon.tasks.task import Labelled, Task

OUTLINED_UM = 3.0
"""Outlined nuclei are paired for F_d and F_c by centroids this near: HoVer-Net's 12 pixels of 0.25 µm."""
POINT_UM = 6.0
"""Nuclei known by points only are found if a centroid lies this near."""
BRIGHT = 200
PALE = 40
SMOOTH_UM = 3.0
SMALLEST_UM2 = 200.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassPiece:
    """Found classes and true names, and which found object is which true one."""

    p: np.ndarray
    """float [found, leaf of the model's class tree]"""
    names: tuple[str, ...]
    """One a true object, "" unknown."""
    pairs: np.ndarray
    """int64 [pair, 2]: found, truth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one image says about one task; `kind` names the protocol: objects, foreground, points, tile or bright."""

    task: Task
    kind: str
    group: str
    tally: metrics.Tally
    classes: ClassPiece | None = None
    mpp: float = 0.0
    """µm per pixel of the grid that was scored."""


def score_case(prediction: Any, case: Any, tasks: Mapping[str, Task], shape: tuple[int, int]) -> Iterator[Piece]:
    """The pieces of one case: one a task that both the case labels and `tasks` holds. `shape` is the image's."""
    for name, task in tasks.items():
        if name not in case.labels:
            continue
        labelled = case.labels[name]()
        if labelled.raster is not None:
            yield _tile(prediction.rasters[name], labelled, case, task)
        elif labelled.points is not None:
            yield _points(prediction.objects[name], labelled, case, task, shape)
        elif labelled.objects is not None:
            yield _objects(prediction.objects[name], labelled, case, task, shape)
        elif labelled.foreground is not None:
            yield _foreground(prediction.objects[name], labelled, case, task, shape)


def _on_grid(objects: Objects, grid: tuple[int, int], shape: tuple[int, int]) -> tuple[Objects, float]:
    y, x = grid[0] / shape[0], grid[1] / shape[1]
    if (y, x) == (1.0, 1.0):
        return objects, 1.0
    moved = Objects(
        frame=objects.frame,
        xy=objects.xy * [x, y],
        outlines=objects.outlines.scaled(x, y),
        area=objects.area * (x * y),
        score=objects.score,
        p=objects.p,
    )
    return moved, float(np.sqrt(x * y))


def _known_only(labels: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    """Objects that lie for the most part where nothing is known go; of the others the known part stays."""
    if known is None:
        return labels
    n = int(labels.max(initial=0)) + 1
    inside, whole = np.bincount(labels[known], minlength=n), np.bincount(labels.ravel(), minlength=n)
    keep = 2 * inside > whole
    keep[0] = False
    return np.where(keep[labels] & known, labels, 0).astype(np.int32)


def _objects(objects: Objects, labelled: Labelled, case: Any, task: Task, shape: tuple[int, int]) -> Piece:
    truth = labelled.objects
    assert truth is not None, "only cases with objects come here"
    objects, scale = _on_grid(objects, truth.shape, shape)
    found = _known_only(decoding.labels_of(objects, truth.shape), labelled.known)
    mpp = case.mpp / scale
    classes = None
    if labelled.classes is not None and task.classes is not None:
        classes = _classes_of_outlined(objects, found, labelled, units.px(OUTLINED_UM, mpp), task)
    joined = task.seam == "join"
    return Piece(
        task=task,
        kind="objects",
        group=str(case.group),
        tally=metrics.tally(found, truth, hausdorff=joined),
        classes=classes,
        mpp=mpp,
    )


def _classes_of_outlined(
    objects: Objects, found: np.ndarray, labelled: Labelled, radius_px: float, task: Task
) -> ClassPiece:
    truth, names = labelled.objects, labelled.classes
    assert truth is not None and names is not None, "only cases with objects and classes come here"
    table = metrics.overlaps(found, truth)
    if task.seam == "join":
        good = 2 * table.shared > table.union
        pairs = np.stack([table.found[good], table.truth[good]], axis=1)
    else:
        pairs = class_metrics.match_points(
            centroids(found, table.found_ids), centroids(truth, table.truth_ids), radius_px
        )
    return ClassPiece(
        p=objects.p[table.found_ids - 1].astype(float),
        names=tuple(names.get(int(i), "") for i in table.truth_ids),
        pairs=pairs,
    )


def centroids(labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """float64 [id, 2]: x, y of the mean pixel centre of each id (sorted) of an int32 [y, x] map."""
    y, x = np.nonzero(labels)
    at = np.searchsorted(ids, labels[y, x])
    count = np.maximum(np.bincount(at, minlength=len(ids)), 1)
    sums = [np.bincount(at, weights=axis + 0.5, minlength=len(ids)) for axis in (x, y)]
    return np.stack([s / count for s in sums], axis=1)


def _foreground(objects: Objects, labelled: Labelled, case: Any, task: Task, shape: tuple[int, int]) -> Piece:
    truth = labelled.foreground
    assert truth is not None, "only cases with a foreground come here"
    objects, scale = _on_grid(objects, truth.shape, shape)
    found = decoding.labels_of(objects, truth.shape) > 0
    known = np.ones(truth.shape, bool) if labelled.known is None else labelled.known
    return Piece(
        task=task,
        kind="foreground",
        group=str(case.group),
        tally=_pixel_tally(found & known, truth & known),
        mpp=case.mpp / scale,
    )


def _pixel_tally(found: np.ndarray, truth: np.ndarray) -> metrics.Tally:
    """Counts for pixel Dice of two masks (bool [y, x]); its object scores mean nothing."""
    return metrics.tally(found.astype(np.int32), truth.astype(np.int32))


def _points(objects: Objects, labelled: Labelled, case: Any, task: Task, shape: tuple[int, int]) -> Piece:
    truth = labelled.points
    assert truth is not None, "only cases with points come here"
    grid = shape if labelled.known is None else labelled.known.shape
    objects, scale = _on_grid(objects, (grid[0], grid[1]), shape)
    mpp = case.mpp / scale
    if labelled.known is not None and len(objects):
        x, y = np.clip(objects.xy.astype(int), 0, [grid[1] - 1, grid[0] - 1]).T
        objects = objects.take(labelled.known[y, x])
    pairs = class_metrics.match_points(objects.xy, truth, units.px(POINT_UM, mpp))
    names = labelled.point_classes or ("",) * len(truth)
    return Piece(
        task=task,
        kind="points",
        group=str(case.group),
        tally=metrics.Tally(images=1, found=len(objects), truth=len(truth)),
        classes=ClassPiece(p=objects.p.astype(float), names=names, pairs=pairs),
        mpp=mpp,
    )


def _tile(raster: np.ndarray, labelled: Labelled, case: Any, task: Task) -> Piece:
    """The commonest class of the known cells, on both sides."""
    truth = labelled.raster
    assert truth is not None, "only cases with a raster come here"
    numbers = np.bincount(truth[truth > 0], minlength=len(labelled.raster_names) + 1)
    name = labelled.raster_names[int(numbers.argmax()) - 1] if numbers.any() else ""
    votes = _votes(raster)
    return Piece(
        task=task,
        kind="tile",
        group=str(case.group),
        tally=metrics.Tally(images=1, found=1, truth=1),
        classes=ClassPiece(p=votes[None], names=(name,), pairs=np.zeros((1, 2), np.int64)),
        mpp=task.mpp,
    )


def _votes(raster: np.ndarray) -> np.ndarray:
    """float [class]: cells that say it, and below one the mean probability for ties; empty cells are silent."""
    cells = raster.reshape(-1, raster.shape[2]).astype(float)
    cells = cells[cells.sum(axis=1) > 0]
    if len(cells) == 0:
        return np.zeros(raster.shape[2])
    return np.bincount(cells.argmax(axis=1), minlength=raster.shape[2]) + cells.mean(axis=0) / 256.0


def detection_tally(piece: ClassPiece) -> class_metrics.ClassTally:
    """The piece's pairs alone, for F_d where no class is known."""
    nothing = np.full(len(piece.p), -1, np.int64), np.full(len(piece.names), -1, np.int64)
    return class_metrics.class_tally((), *nothing, piece.pairs)


def class_tally_of(piece: ClassPiece, names: tuple[str, ...], task: Task) -> class_metrics.ClassTally:
    """The piece's classes counted at the depth of `names`: a found leaf counts for the name above it."""
    assert task.classes is not None, "only tasks with classes come here"
    sums = np.stack([piece.p[:, list(task.classes.below(name))].sum(axis=1) for name in names], axis=1)
    covered = sorted({leaf for name in names for leaf in task.classes.below(name)})
    others = np.delete(piece.p, covered, axis=1)
    found = sums.argmax(axis=1)
    if others.shape[1]:
        found = np.where(others.max(axis=1) > sums.max(axis=1), -1, found)
    found = np.where(piece.p.sum(axis=1) > 0, found, -1)
    index = {name: i for i, name in enumerate(names)}
    truth = np.array([index.get(name, -1) for name in piece.names], np.int64)
    return class_metrics.class_tally(names, found, truth, piece.pairs)


def bright_piece(prediction: Any, case: Any, lumina: Task, image: np.ndarray) -> Piece | None:
    """Found lumina against bright pixels inside true glands, both within those glands; None without outlined glands."""
    labelled = case.labels["glands"]() if "glands" in case.labels else None
    if labelled is None or labelled.objects is None:
        return None
    glands = labelled.objects > 0
    size = (glands.shape[1], glands.shape[0])
    objects, scale = _on_grid(prediction.objects["lumina"], glands.shape, image.shape[:2])
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if image.shape[:2] != glands.shape else image
    truth = _bright_inside(small, glands, case.mpp / scale)
    found = decoding.labels_of(objects, glands.shape) > 0
    return Piece(
        task=lumina,
        kind="bright",
        group=str(case.group),
        tally=_pixel_tally(found & glands, truth),
        mpp=case.mpp / scale,
    )


def _bright_inside(image: np.ndarray, glands: np.ndarray, mpp: float) -> np.ndarray:
    """bool [y, x]: glass-like places inside glands, a stand-in for lumina where nobody has drawn any.

    After a Gaussian of SMOOTH_UM a pixel counts whose mean of R, G, B is at least BRIGHT and whose largest and
    smallest differ by at most PALE, in connected places of at least SMALLEST_UM2. Pale mucin can pass.
    """
    smooth = cv2.GaussianBlur(image, (0, 0), units.px(SMOOTH_UM, mpp) / 2).astype(np.float32)
    pale = (smooth.mean(axis=2) >= BRIGHT) & (smooth.max(axis=2) - smooth.min(axis=2) <= PALE) & glands
    labels, n = decoding.components(pale)
    keep = np.bincount(labels.ravel(), minlength=n + 1) >= units.area_px(SMALLEST_UM2, mpp, mpp)
    keep[0] = False
    return keep[labels]
