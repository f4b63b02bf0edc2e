"""Tissue: the class of each cell of a grid of 16 µm."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from geryon.space.windows import Window
from geryon.tasks import metrics, targets
from geryon.tasks.task import ClassTree, Labelled, Map, Task

CLASSES = ("adipose", "background", "debris", "lymphocytes", "mucus", "muscle", "normal", "stroma", "tumour")


def target(labelled: Labelled, task: Task) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """One-hot classes where the raster says one, weight 0 elsewhere."""
    assert labelled.raster is not None and task.classes is not None, "a label of tissue holds a raster"
    table = np.zeros((len(labelled.raster_names) + 1, len(task.class_names)), np.float32)
    for number, name in enumerate(labelled.raster_names, start=1):
        table[number] = targets.class_row(name, labelled, task.classes)
    classes = table[labelled.raster]
    weight = (classes.max(axis=2) == targets.MAY_BE).astype(np.float32)
    if labelled.known is not None:
        weight *= labelled.known
    return {"class": (classes, weight)}


def decode(maps: Mapping[str, np.ndarray], window: Window, task: Task) -> np.ndarray:
    """uint8 [y, x, class]: the probabilities of the core's cells."""
    x, y = window.offset
    rows, columns = window.core.shape
    return np.ascontiguousarray(maps["class"][y : y + rows, x : x + columns])


TISSUE = Task(
    name="tissue",
    mpp=16.0,
    seam="place",
    reach_um=0.0,
    classes=ClassTree.flat(CLASSES),
    maps=(Map(name="class", channels=len(CLASSES), activation="softmax", loss="class_cross_entropy"),),
    target=target,
    decode=decode,
    metric=metrics.raster_metric,
    colours=(
        (240, 228, 150),
        (245, 245, 245),
        (120, 120, 120),
        (65, 60, 180),
        (150, 220, 235),
        (180, 60, 60),
        (0, 130, 70),
        (230, 150, 190),
        (150, 0, 130),
    ),
)
