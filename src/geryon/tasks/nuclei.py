"""Nuclei: bounded objects with a class, found at 0.5 µm per pixel.

The network says where nuclei are, how deep in its nucleus a pixel lies (tasks.peaks), and of which class it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from geryon.space.objects import Objects
from geryon.space.windows import Window
from geryon.tasks import decoding, metrics, peaks, targets
from geryon.tasks.task import ClassTree, Labelled, Map, Task

AREA_PX = 24
"""Smaller objects (6 µm²) are no nuclei."""
TREE = ClassTree.of(
    {
        "epithelial": (),
        "inflammatory": ("neutrophil", "lymphocyte", "plasma", "eosinophil"),
        "connective": (),
        "other": (),
    }
)
"""The default classes; a model whose data go no deeper than the branches carries the cut tree."""


def target(labelled: Labelled, task: Task) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Targets and weights of a labelled image; nuclei known by points teach classes only."""
    if labelled.points is not None:
        return _target_of_points(labelled, task)
    objects = labelled.objects if labelled.objects is not None else np.zeros(_shape(labelled), np.int32)
    weight = targets.known_weight(labelled, objects.shape)
    foreground = objects > 0
    depth_weight = weight
    if labelled.objects is None and labelled.foreground is not None:
        foreground, depth_weight = labelled.foreground, weight * ~labelled.foreground
    depth = targets.normalised_rim_distance(objects)
    classes, class_weight = _class_target(objects, labelled, task)
    return {
        "inside": (foreground.astype(np.float32)[..., None], weight),
        "depth": (depth[..., None], depth_weight),
        "class": (classes, class_weight),
    }


def _shape(labelled: Labelled) -> tuple[int, int]:
    known = labelled.foreground if labelled.foreground is not None else labelled.known
    assert known is not None, "a label of nuclei holds objects, a foreground or points"
    return known.shape[0], known.shape[1]


def _class_target(objects: np.ndarray, labelled: Labelled, task: Task) -> tuple[np.ndarray, np.ndarray]:
    assert task.classes is not None
    return targets.class_target(targets.coarser(objects, task.map("class").coarse), labelled, task.classes)


def _target_of_points(labelled: Labelled, task: Task) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    assert labelled.points is not None and labelled.known is not None, "points come with `known`, which has the shape"
    height, width = labelled.known.shape
    discs = np.zeros((height, width), np.int32)
    y, x = np.mgrid[-4:5, -4:5]
    disc = np.argwhere(y * y + x * x <= 9) - 4
    for i, (px, py) in enumerate(labelled.points):
        at = disc + [int(py), int(px)]
        at = at[(at >= 0).all(axis=1) & (at[:, 0] < height) & (at[:, 1] < width)]
        discs[at[:, 0], at[:, 1]] = i + 1
    names = {i + 1: name for i, name in enumerate(labelled.point_classes) if name}
    classes, class_weight = _class_target(discs, replace(labelled, classes=names), task)
    heart = (discs > 0).astype(np.float32)
    nothing = np.zeros((height, width), np.float32)
    return {
        "inside": (heart[..., None], heart * 0.5),
        "depth": (heart[..., None], nothing),
        "class": (classes, class_weight),
    }


def decode(maps: Mapping[str, np.ndarray], window: Window, task: Task) -> Objects:
    """The nuclei whose peak lies in the window's core, in the window's frame; maps cover its outer box."""
    found = decoding.objects_of_runs(
        peaks.found(maps, window),
        score=maps["inside"],
        classes=maps["class"],
        frame=window.frame,
        coarse=task.map("class").coarse,
        smallest_px=AREA_PX,
        filled=True,
    )
    return decoding.placed(found, window)


NUCLEI = Task(
    name="nuclei",
    singular="nucleus",
    mpp=0.5,
    seam="own",
    reach_um=peaks.REACH_PX * 0.5,
    classes=TREE,
    maps=(
        *peaks.MAPS,
        Map(name="class", channels=len(TREE.leaves), activation="softmax", loss="class_cross_entropy", coarse=2),
    ),
    target=target,
    decode=decode,
    metric=metrics.object_metric,
    within="glands",
    colours=(
        (214, 39, 40),
        (23, 190, 207),
        (31, 119, 180),
        (148, 103, 189),
        (255, 152, 150),
        (44, 160, 44),
        (255, 187, 51),
    ),
)
