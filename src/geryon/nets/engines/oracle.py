"""An engine that knows the truth: the target maps of a synthetic slide in place of a network's.

It proves cutting, joining, resuming and storing exact before and beside any weights. Any object with
`truth(task, box, mpp)` will do as a source of truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from geryon.nets.engine import MapsOfWindow
from geryon.space.boxes import Box
from geryon.tasks.task import Labelled, Task

MARGIN_UM = 96.0
"""Looked at around a window, so that objects at its border get the same target as in any other window."""


class Truth(Protocol):
    """Labels of any place of a slide."""

    def truth(self, task: str, box: Box, mpp: float) -> Any:
        """Of the box: objects (int32 [y, x], ids unique in the slide), classes, raster, raster_names."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class OracleEngine:
    """Target maps instead of a network's."""

    source: Truth
    tasks: tuple[Task, ...]
    model_mpp: float
    name: str = "oracle"
    lanes: int = 2
    batch: int = 1
    precision: str = "exact"

    def maps(self, images: Sequence[np.ndarray], places: Sequence[Box]) -> list[MapsOfWindow]:
        return [{k: v for t in self.tasks for k, v in self._of_task(t, place).items()} for place in places]

    def _of_task(self, task: Task, place: Box) -> MapsOfWindow:
        mpp = place.frame.mpp_x * task.mpp / self.model_mpp
        frame = place.frame.at(mpp)
        cell = max(m.coarse for m in task.maps)
        margin = int(np.ceil(MARGIN_UM / mpp / cell)) * cell
        box = place.to(frame)
        true = self.source.truth(task.name, box.grow(margin), mpp)
        target = task.target(labelled_of(true), task)
        out = {}
        for m in task.maps:
            values, inset = target[m.name][0], margin // m.coarse
            rows, columns = round(box.height / m.coarse), round(box.width / m.coarse)
            inner = values[inset : inset + rows, inset : inset + columns]
            out[f"{task.name}/{m.name}"] = np.round(inner * 255).astype(np.uint8)
        return out


def labelled_of(true: Any) -> Labelled:
    """What a synthetic slide knows, as a label: a raster where it has one, else objects and classes."""
    if getattr(true, "raster", None) is not None:
        return Labelled(raster=true.raster, raster_names=tuple(true.raster_names))
    return Labelled(objects=true.objects, classes=true.classes)
