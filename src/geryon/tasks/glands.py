"""Glands: regions with a class, benign or malignant, found at 2 µm per pixel; the lumen is part of its gland."""

from __future__ import annotations

from geryon.tasks import metrics, regions
from geryon.tasks.task import ClassTree, Map, Task

TREE = ClassTree.flat(("benign", "malignant"))

GLANDS = Task(
    name="glands",
    singular="gland",
    mpp=2.0,
    seam="join",
    reach_um=regions.REACH_PX * 2.0,
    classes=TREE,
    maps=(
        Map(name="inside", channels=1, activation="sigmoid", loss="bce_dice"),
        Map(name="rim", channels=1, activation="sigmoid", loss="bce_dice"),
        Map(name="class", channels=2, activation="softmax", loss="class_cross_entropy"),
    ),
    target=regions.target,
    decode=regions.decode,
    metric=metrics.object_metric,
    smallest_um2=400.0,
    smallest_hole_um2=5000.0,
    neck_um=8.0,
    least_score=0.8,
    colours=((0, 128, 64), (200, 0, 160)),
)
