"""Tasks of published models of others: Cerberus (Graham et al., Medical Image Analysis 2022, 102685).

Names of tasks are ours, so results land in the same files; maps, classes and rules are Cerberus'. Glands and
lumina are asked at 1 µm per pixel, as the published system does on slides.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from geryon.space.objects import Objects
from geryon.space.seams import LINK_PX, Fragments
from geryon.space.windows import Window
from geryon.tasks import cerberus_decoding as rules
from geryon.tasks import cerberus_kernels, decoding, metrics, targets, tissue
from geryon.tasks.runs import runs_of, sums
from geryon.tasks.task import CLASS_LOSS, ClassTree, Labelled, Map, Task

NUCLEUS_CLASSES = ("neutrophil", "epithelial", "lymphocyte", "plasma", "eosinophil", "connective")
GLAND_CLASSES = ("gland", "surface_epithelium")
TISSUE_CLASSES = {
    "background": "background",
    "abnormal epithelium": "tumour",
    "normal epithelium": "normal",
    "inflammatory": "lymphocytes",
    "muscle": "muscle",
    "stroma": "stroma",
    "debris": "debris",
    "mucous": "mucus",
    "adipose": "adipose",
}
"""Published name -> ours, in published order."""
INSTANCE_LOSS, TYPE_LOSS = "cerberus_instance", "cerberus_type"
CLASS_WEIGHTS = {"glands": (1.0, 1.0), "nuclei": (12.0, 1.0, 2.0, 6.0, 12.0, 2.0)}
"""Of pixels, by class."""
REGION_SCALE = 0.5
"""Glands and lumina: published sizes in pixels of 0.5 µm times this are pixels of 1 µm."""
NUCLEUS_REACH_PX = 128
"""Farther pixels can change a nucleus only through a clump of touching nuclei wider than this."""
TARGET_KERNEL_PX = {"glands": 11, "lumina": 3, "nuclei": 3}
"""At 0.5 µm per pixel."""


def target(labelled: Labelled, task: Task) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Targets: background, inner part (eroded object), contour (dilated but not eroded); and the class where known.

    Weights are as published: of borders between objects, and of classes. The published trainer draws only those
    objects that the crop holds; here all are drawn once, before any crop is cut.
    """
    assert labelled.objects is not None, "a label for the published maps holds objects"
    objects = rules.consecutive(labelled.objects)
    side = max(3, int(TARGET_KERNEL_PX[task.name] * 0.5 / task.mpp))
    parts = instance_target(objects, side)
    weight = targets.known_weight(labelled, objects.shape) * targets.border_weight(parts == 1, side)
    out = {"inst": (np.eye(3, dtype=np.float32)[parts], weight)}
    if task.classes is not None:
        each, _ = targets.class_target(labelled.objects, labelled, task.classes)
        of_class = np.array(CLASS_WEIGHTS[task.name], np.float32)
        out["class"] = (np.pad(each, ((0, 0), (0, 0), (1, 0))), ((each == targets.MAY_BE) * of_class).max(axis=2))
    return out


def instance_target(objects: np.ndarray, side: int) -> np.ndarray:
    """uint8 [y, x]: 1 where an object eroded by the elliptic kernel is, 2 where dilated but not eroded, else 0.

    The image's border erodes nothing. Work is done in the objects' boxes.
    """
    out = np.zeros(objects.shape, np.uint8)
    eroded = np.zeros(objects.shape, bool)
    kernel = rules.ellipse(side)
    boxes = cerberus_kernels.boxes(objects, int(objects.max(initial=0)))
    for number, (top, left, bottom, right, count) in enumerate(boxes.tolist()):
        if number == 0 or count == 0:
            continue
        rows, columns = rules.enlarged((top, left, bottom, right), side, objects.shape, published=False)
        part = (objects[rows, columns] == number).astype(np.uint8)
        eroded[rows, columns] |= cv2.erode(part, kernel) > 0
        out[rows, columns][cv2.dilate(part, kernel) > 0] = 2
    out[eroded] = 1
    return out


def decode_nuclei(maps: Mapping[str, np.ndarray], window: Window, task: Task) -> Objects:
    """The nuclei whose centroid lies in the window's core, in the window's frame; maps cover its outer box."""
    inner, contour = split(maps)
    labels = rules.decode_nuclei(inner, contour)
    boxes = cerberus_kernels.boxes(labels, int(labels.max(initial=0)))
    wide = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) >= 2
    keep = wide & _in_core(labels, boxes, window)
    keep[0] = False
    wanted = (np.arange(len(keep)) * keep).astype(np.int32)[labels]
    types = maps["class"].argmax(axis=2)
    return decoding.placed(rules.objects_of(wanted, inner, types, window.frame, len(task.class_names)), window)


def _in_core(labels: np.ndarray, boxes: np.ndarray, window: Window) -> np.ndarray:
    """bool per label: its centroid, rounded down in whole numbers so that every window agrees, is in the core."""
    place, _ = cerberus_kernels.tally(labels, np.zeros(labels.shape, np.uint8), len(boxes) - 1, 1)
    x, y = (place // np.maximum(boxes[:, 4:], 1)).T
    left, top = window.offset
    rows, columns = window.core.shape
    return (x >= left) & (x < left + columns) & (y >= top) & (y < top + rows)


def decode_glands(maps: Mapping[str, np.ndarray], window: Window, task: Task) -> Fragments:
    """What lies of each gland in the window's core."""
    inner, contour = split(maps)
    sure = rules.foreground(inner, contour, rules.GLAND_SURE)
    return _fragments(sure, int(rules.GLAND_KERNEL_PX * REGION_SCALE), maps, window, task)


def decode_lumina(maps: Mapping[str, np.ndarray], window: Window, task: Task) -> Fragments:
    """What lies of each lumen in the window's core."""
    inner, contour = split(maps)
    sure = rules.foreground(inner, contour, rules.LUMEN_SURE)
    return _fragments(sure, int(rules.LUMEN_KERNEL_PX * REGION_SCALE), maps, window, task)


def split(maps: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The maps of the inner part and of the contour."""
    return np.ascontiguousarray(maps["inst"][..., 1]), np.ascontiguousarray(maps["inst"][..., 2])


def _fragments(sure: np.ndarray, side: int, maps: Mapping[str, np.ndarray], window: Window, task: Task) -> Fragments:
    """Components of `sure` are linked across tiles; grown by the kernel they are what is drawn.

    A pixel that two objects grow over goes to the nearer one (published: to the one numbered later, which
    would depend on where tiles lie).
    """
    cores, _ = cerberus_kernels.parts(sure.astype(np.uint8))
    labels = cerberus_kernels.spread(cores, nearest_first(side))
    x, y = window.offset
    rows, columns = window.core.shape
    band = cores[y - LINK_PX : y + rows + LINK_PX, x - LINK_PX : x + columns + LINK_PX]
    core = labels[y : y + rows, x : x + columns]
    numbers = np.union1d(band, core)
    numbers = numbers[numbers > 0]
    short = np.zeros(int(labels.max(initial=0)) + 1, np.int32)
    short[numbers] = np.arange(1, len(numbers) + 1)
    core = np.ascontiguousarray(short[core])
    here = {name: value[y : y + rows, x : x + columns] for name, value in maps.items()}
    values = here["inst"][..., 1:2]
    if task.classes is not None:
        votes = rules.votes_map(here["class"].argmax(axis=2), len(task.class_names))
        values = np.concatenate([values, votes], axis=2)
    place, total = sums(runs_of(core), len(numbers), np.ascontiguousarray(values), 1)
    return Fragments(core=window.core, labels=core, band=np.ascontiguousarray(short[band]), place=place, sums=total)


def nearest_first(side: int) -> np.ndarray:
    """int64 [k, 2]: offsets y, x from a pixel to those that reach it by the elliptic kernel, nearest first."""
    offsets = np.argwhere(rules.ellipse(side)) - side // 2
    order = np.lexsort((offsets[:, 1], offsets[:, 0], (offsets**2).sum(axis=1)))
    return np.ascontiguousarray(offsets[order], dtype=np.int64)


def disc_grown(area_px: float, by_px: float) -> float:
    """Area of a disc of that area once it has grown: published sizes are asked before growth, ours after it."""
    return float(np.pi * (np.sqrt(area_px / np.pi) + by_px) ** 2)


def _colours(names: tuple[str, ...]) -> tuple[tuple[int, int, int], ...]:
    by_name = dict(zip(tissue.CLASSES, tissue.TISSUE.colours, strict=True))
    return tuple(by_name[name] for name in names)


NUCLEI = Task(
    name="nuclei",
    singular="nucleus",
    mpp=0.5,
    seam="own",
    reach_um=NUCLEUS_REACH_PX * 0.5,
    classes=ClassTree.flat(NUCLEUS_CLASSES),
    maps=(
        Map(name="inst", channels=3, activation="softmax", loss=INSTANCE_LOSS),
        Map(name="class", channels=7, activation="softmax", loss=TYPE_LOSS),
    ),
    target=target,
    decode=decode_nuclei,
    metric=metrics.object_metric,
    within="glands",
    colours=((23, 190, 207), (214, 39, 40), (31, 119, 180), (148, 103, 189), (255, 152, 150), (44, 160, 44)),
)
GLANDS = Task(
    name="glands",
    singular="gland",
    mpp=1.0,
    seam="join",
    reach_um=LINK_PX + 5.0,
    classes=ClassTree.flat(GLAND_CLASSES),
    maps=(
        Map(name="inst", channels=3, activation="softmax", loss=INSTANCE_LOSS),
        Map(name="class", channels=3, activation="softmax", loss=TYPE_LOSS),
    ),
    target=target,
    decode=decode_glands,
    metric=metrics.object_metric,
    smallest_um2=disc_grown(250.0, 2.0),
    smallest_hole_um2=np.inf,
    colours=((0, 128, 64), (230, 159, 0)),
)
LUMINA = Task(
    name="lumina",
    singular="lumen",
    mpp=1.0,
    seam="join",
    reach_um=LINK_PX + 5.0,
    classes=None,
    maps=(Map(name="inst", channels=3, activation="softmax", loss=INSTANCE_LOSS),),
    target=target,
    decode=decode_lumina,
    metric=metrics.object_metric,
    within="glands",
    only_within=True,
    smallest_um2=37.0,
    smallest_hole_um2=np.inf,
    colours=((0, 190, 230),),
)
TISSUE = Task(
    name="tissue",
    mpp=8.0,
    seam="place",
    reach_um=0.0,
    classes=ClassTree.flat(tuple(TISSUE_CLASSES.values())),
    maps=(Map(name="class", channels=9, activation="softmax", loss=CLASS_LOSS),),
    target=tissue.target,
    decode=tissue.decode,
    metric=metrics.raster_metric,
    colours=_colours(tuple(TISSUE_CLASSES.values())),
)
CERBERUS = (NUCLEI, GLANDS, LUMINA, TISSUE)
