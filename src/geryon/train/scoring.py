"""One prediction against one labelled image: the pieces that evaluation adds up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np

from geryon.space import units
from geryon.space.objects import Objects
from geryon.tasks import class_metrics, decoding, detection_metrics, metrics
from geryon.tasks.calibration import calibrated_p
from geryon.tasks.given import given_classes
from geryon.tasks.task import Labelled, Task

OUTLINED_UM = 3.0
"""Outlined nuclei are paired for F_d and F_c by centroids this near: HoVer-Net's 12 pixels of 0.25 µm."""
POINT_UM = 3.3
"""Nuclei known by points only are found if a centroid lies this near: 6 pixels of 0.55 µm (CRCHistoPhenotypes,
Sirinukunwattana et al., IEEE TMI 35(5), 2016, section V)."""
BOX_IOU = 0.3
"""Boxes are found if a found one shares this much: DigestPath's rule for signet ring cells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """Found objects of one image with what the model says of them, true ones, and which is which."""

    score: np.ndarray
    """uint8 [found], before calibration."""
    p: np.ndarray
    """uint8 [found, leaf of the model's class tree], before calibration; of tiles float: votes."""
    names: tuple[str, ...]
    """Class of each true object, "" unknown."""
    pairs: np.ndarray
    """int64 [pair, 2]: found, true; by the rule of the protocol, none twice."""
    overlapping: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    """int64 [pair, 2]: those of IoU > 0.5."""
    iou: np.ndarray = field(default_factory=lambda: np.zeros(0))
    is_exhaustive: bool = True
    """False where the source leaves out true objects: then what is found beside those is neither right nor wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """Cells of a grid whose class is known."""

    p: np.ndarray
    """uint8 [cell, class], before calibration."""
    names: np.ndarray
    """str [cell]"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one image says about one task; `kind` names the protocol: objects, foreground, points, boxes, tile or
    bright."""

    task: Task
    kind: str
    group: str
    tally: metrics.Tally
    matches: Matches | None = None
    given: Matches | None = None
    """The true objects of known class, each paired with itself: their classes where their places are given."""
    cells: Cells | None = None
    mpp: float = 0.0
    """µm per pixel of the grid that was scored."""
    stratum: str = ""


def score_case(prediction: Any, case: Any, tasks: Mapping[str, Task], shape: tuple[int, int]) -> Iterator[Piece]:
    """The pieces of one case: one a task that both the case labels and `tasks` holds. `shape` is the image's."""
    for name, task in tasks.items():
        if name not in case.labels:
            continue
        labelled = case.labels[name]()
        if labelled.raster is not None:
            yield _tile(prediction.rasters[name], labelled, case, task)
        elif labelled.points is not None:
            piece = _points(prediction.objects[name], labelled, case, task, shape)
            yield replace(piece, given=_given(prediction, labelled, case, task, shape))
        elif labelled.boxes is not None:
            yield _boxes(prediction.objects[name], labelled, case, task, shape)
        elif labelled.objects is not None:
            drawn = getattr(prediction, "labels", {}).get(name)
            piece = _objects((prediction.objects[name], drawn), labelled, case, task, shape)
            yield replace(piece, given=_given(prediction, labelled, case, task, shape))
        elif labelled.foreground is not None:
            yield _foreground(prediction.objects[name], labelled, case, task, shape)


def _given(prediction: Any, labelled: Labelled, case: Any, task: Task, shape: tuple[int, int]) -> Matches | None:
    """None where there is no class map (floors, folders of results), or no class in the label."""
    said = getattr(prediction, "class_maps", {}).get(task.name)
    found = said and given_classes(said, labelled, task, shape, case.mpp)
    if not found:
        return None
    p, names = found
    itself = np.repeat(np.arange(len(p))[:, None], 2, axis=1)
    return Matches(score=np.full(len(p), 255, np.uint8), p=p, names=names, pairs=itself)


def stratum_of(case: Any) -> str:
    """The part of its source that a case belongs to, such as its grade."""
    return str(getattr(case, "stratum", ""))


def on_grid(objects: Objects, grid: tuple[int, int], shape: tuple[int, int]) -> tuple[Objects, float]:
    """The objects in pixels of a label's grid, and how many of those a pixel of the image is wide."""
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


def _objects(
    given: tuple[Objects, np.ndarray | None], labelled: Labelled, case: Any, task: Task, shape: tuple[int, int]
) -> Piece:
    truth = labelled.objects
    assert truth is not None, "only cases with objects come here"
    objects, scale = on_grid(given[0], (truth.shape[0], truth.shape[1]), shape)
    drawn = given[1]
    if drawn is None or drawn.shape != truth.shape:
        drawn = decoding.labels_of(objects, (truth.shape[0], truth.shape[1]))
    found = _known_only(drawn, labelled.known)
    mpp = case.mpp / scale
    return Piece(
        task=task,
        kind="objects",
        group=str(case.group),
        tally=metrics.tally(found, truth, hausdorff=task.seam == "join"),
        matches=_matches_of_outlined(objects, found, labelled, units.px(OUTLINED_UM, mpp), task),
        mpp=mpp,
        stratum=stratum_of(case),
    )


def _matches_of_outlined(
    objects: Objects, found: np.ndarray, labelled: Labelled, radius_px: float, task: Task
) -> Matches:
    truth, names = labelled.objects, labelled.classes or {}
    assert truth is not None, "only cases with objects come here"
    table = metrics.overlaps(found, truth)
    good = 2 * table.shared > table.union
    overlapping = np.stack([table.found[good], table.truth[good]], axis=1)
    pairs = overlapping
    if task.seam != "join":
        at = centroids(found, table.found_ids), centroids(truth, table.truth_ids)
        pairs = class_metrics.match_points(*at, radius_px)
    return Matches(
        score=objects.score[table.found_ids - 1],
        p=objects.p[table.found_ids - 1],
        names=tuple(names.get(int(i), "") for i in table.truth_ids),
        pairs=pairs,
        overlapping=overlapping,
        iou=(table.shared / table.union)[good],
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
    objects, scale = on_grid(objects, (truth.shape[0], truth.shape[1]), shape)
    found = decoding.labels_of(objects, (truth.shape[0], truth.shape[1])) > 0
    known = np.ones(truth.shape, bool) if labelled.known is None else labelled.known
    return Piece(
        task=task,
        kind="foreground",
        group=str(case.group),
        tally=metrics.tally((found & known).astype(np.int32), (truth & known).astype(np.int32)),
        mpp=case.mpp / scale,
        stratum=stratum_of(case),
    )


def _at_known(objects: Objects, labelled: Labelled, shape: tuple[int, int]) -> tuple[Objects, float]:
    """The objects whose centroid lies where the label is the whole truth, on the label's grid."""
    grid = shape if labelled.known is None else labelled.known.shape
    objects, scale = on_grid(objects, (grid[0], grid[1]), shape)
    if labelled.known is not None and len(objects):
        x, y = np.clip(objects.xy.astype(int), 0, [grid[1] - 1, grid[0] - 1]).T
        objects = objects.take(labelled.known[y, x])
    return objects, scale


def _points(objects: Objects, labelled: Labelled, case: Any, task: Task, shape: tuple[int, int]) -> Piece:
    truth = labelled.points
    assert truth is not None, "only cases with points come here"
    objects, scale = _at_known(objects, labelled, shape)
    mpp = case.mpp / scale
    return Piece(
        task=task,
        kind="points",
        group=str(case.group),
        tally=metrics.Tally(images=1, found=len(objects), truth=len(truth)),
        matches=Matches(
            score=objects.score,
            p=objects.p,
            names=labelled.point_classes or ("",) * len(truth),
            pairs=class_metrics.match_points(objects.xy, truth, units.px(POINT_UM, mpp)),
            is_exhaustive=labelled.exhaustive,
        ),
        mpp=mpp,
        stratum=stratum_of(case),
    )


def _boxes(objects: Objects, labelled: Labelled, case: Any, task: Task, shape: tuple[int, int]) -> Piece:
    truth = labelled.boxes
    assert truth is not None, "only cases with boxes come here"
    objects, scale = _at_known(objects, labelled, shape)
    found = objects.outlines.boxes()
    overlapping = detection_metrics.match_boxes(found, objects.score, truth, 0.5)
    return Piece(
        task=task,
        kind="boxes",
        group=str(case.group),
        tally=metrics.Tally(images=1, found=len(objects), truth=len(truth)),
        matches=Matches(
            score=objects.score,
            p=objects.p,
            names=("",) * len(truth),
            pairs=detection_metrics.match_boxes(found, objects.score, truth, BOX_IOU),
            overlapping=overlapping,
            iou=detection_metrics.box_iou(found, truth)[overlapping[:, 0], overlapping[:, 1]],
            is_exhaustive=labelled.exhaustive,
        ),
        mpp=case.mpp / scale,
        stratum=stratum_of(case),
    )


def _tile(raster: np.ndarray, labelled: Labelled, case: Any, task: Task) -> Piece:
    """The commonest class of the known cells, on both sides."""
    truth = labelled.raster
    assert truth is not None, "only cases with a raster come here"
    numbers = np.bincount(truth[truth > 0], minlength=len(labelled.raster_names) + 1)
    name = labelled.raster_names[int(numbers.argmax()) - 1] if numbers.any() else ""
    there = raster.any(axis=2)
    at = cv2.resize(truth.astype(np.float32), there.shape[::-1], interpolation=cv2.INTER_NEAREST).astype(int)
    known = there & (at > 0)
    return Piece(
        task=task,
        kind="tile",
        group=str(case.group),
        tally=metrics.Tally(images=1, found=1, truth=1),
        matches=Matches(
            score=np.full(1, 255, np.uint8),
            p=_votes(raster)[None],
            names=(name,),
            pairs=np.zeros((1, 2), np.int64),
        ),
        cells=Cells(p=raster[known], names=np.array(("", *labelled.raster_names))[at[known]]),
        mpp=task.mpp,
        stratum=stratum_of(case),
    )


def _votes(raster: np.ndarray) -> np.ndarray:
    """float [class]: cells that say it, and below one the mean probability for ties; empty cells are silent."""
    cells = raster.reshape(-1, raster.shape[2]).astype(float)
    cells = cells[cells.sum(axis=1) > 0]
    if len(cells) == 0:
        return np.zeros(raster.shape[2])
    return np.bincount(cells.argmax(axis=1), minlength=raster.shape[2]) + cells.mean(axis=0) / 256.0


def probabilities(p: np.ndarray, task: Task) -> np.ndarray:
    """Probabilities as the task's calibration has them; votes, which are no probabilities, as they are."""
    return p if task.calibration is None or p.dtype != np.uint8 else calibrated_p(p, task.calibration)


def at_depth(p: np.ndarray, names: tuple[str, ...], task: Task) -> tuple[np.ndarray, np.ndarray]:
    """What is said of each of `names` (float [n, name], found leaves counting for the name above them), and the one
    that is said (int64 [n]: an index, -1 where a leaf outside of them is likelier, or nothing is said)."""
    assert task.classes is not None, "only tasks with classes come here"
    p = p.astype(float)
    sums = np.stack([p[:, list(task.classes.below(name))].sum(axis=1) for name in names], axis=1)
    covered = sorted({leaf for name in names for leaf in task.classes.below(name)})
    others = np.delete(p, covered, axis=1).max(axis=1, initial=0.0)
    said = np.where((others > sums.max(axis=1)) | (p.sum(axis=1) == 0), -1, sums.argmax(axis=1))
    return sums, said


def index_of(given: tuple[str, ...] | np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """int64 [n]: the place of each given name in `names`, -1 for others."""
    places = {name: i for i, name in enumerate(names)}
    return np.array([places.get(str(name), -1) for name in given], np.int64)
