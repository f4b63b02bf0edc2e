"""What is kept of one decoded tile, as named arrays and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from geryon.space.boxes import Box, Frame
from geryon.space.objects import Objects, Outlines
from geryon.space.seams import Fragments
from geryon.tasks.task import Task

Arrays = dict[str, np.ndarray]


def packed(found: Mapping[str, Any]) -> dict[str, Arrays]:
    """What was found in a tile, by task: Objects, Fragments or a raster as named arrays."""
    return {name: _arrays(value) for name, value in found.items()}


def unpacked(arrays: Mapping[str, np.ndarray], task: Task, frame: Frame) -> Any:
    """What was found for one task, in the task's frame."""
    return _READERS[task.seam](arrays, frame)


def _arrays(value: Any) -> Arrays:
    if isinstance(value, np.ndarray):
        return {"raster": value}
    if isinstance(value, Fragments):
        edges = np.array([value.core.xmin, value.core.ymin, value.core.xmax, value.core.ymax])
        labels, band = _narrow(value.labels), _narrow(value.band)
        return {"core": edges, "labels": labels, "band": band, "place": value.place, "sums": value.sums}
    outlines = value.outlines
    return {
        "xy": value.xy,
        # Outline points are halves of pixels: float32 holds them exactly.
        "points": outlines.points.astype(np.float32),
        "ring_at": outlines.ring_at,
        "object_at": outlines.object_at,
        "area": value.area,
        "score": value.score,
        "p": value.p,
    }


def _objects(a: Mapping[str, np.ndarray], frame: Frame) -> Objects:
    outlines = Outlines(points=a["points"].astype(np.float64), ring_at=a["ring_at"], object_at=a["object_at"])
    return Objects(frame=frame, xy=a["xy"], outlines=outlines, area=a["area"], score=a["score"], p=a["p"])


def _fragments(a: Mapping[str, np.ndarray], frame: Frame) -> Fragments:
    core = Box(frame, *(float(edge) for edge in a["core"]))
    return Fragments(core=core, labels=_wide(a["labels"]), band=_wide(a["band"]), place=a["place"], sums=a["sums"])


def _narrow(labels: np.ndarray) -> np.ndarray:
    """In the smallest type that holds them: few regions meet one tile."""
    return labels.astype(np.min_scalar_type(int(labels.max(initial=0))))


def _wide(labels: np.ndarray) -> np.ndarray:
    return labels.astype(np.int32)


_READERS = {"own": _objects, "join": _fragments, "place": lambda a, frame: a["raster"]}
