"""Lumina: the hollows of glands, regions without a class, found at 2 µm per pixel."""

from __future__ import annotations

from geryon.tasks import metrics, regions
from geryon.tasks.task import Map, Task

LUMINA = Task(
    name="lumina",
    singular="lumen",
    mpp=2.0,
    seam="join",
    reach_um=regions.REACH_PX * 2.0,
    classes=None,
    maps=(
        Map(name="inside", channels=1, activation="sigmoid", loss="bce_dice"),
        Map(name="rim", channels=1, activation="sigmoid", loss="bce_dice"),
    ),
    target=regions.target,
    decode=regions.decode,
    metric=metrics.object_metric,
    within="glands",
    only_within=True,
    smallest_um2=60.0,
    smallest_hole_um2=1000.0,
    colours=((0, 190, 230),),
)
