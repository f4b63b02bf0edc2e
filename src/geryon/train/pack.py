"""Packing samples: images and targets at the network's resolution, so that learning needs no reader.

A pack is one safetensors file (packed.py reads it). All maps are scalars or classes,
so turning and mirroring a crop turns its targets the same way.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from geryon import events
from geryon.atomic import whole_file
from geryon.nets.weights import save_tensors
from geryon.tasks.task import Labelled, Task
from geryon.train.batches import TARGET_UNIT, WEIGHT_UNIT
from geryon.train.packed import KEY, MADE_FOR, Sample
from geryon.train.source import Case, Source

GRID_PX = 32
"""Sides are multiples of this: the coarsest stride of the network."""
SMALLEST_PX = 320
"""Smaller images are mirrored up to this, since a crop must not be mostly padding."""
FORMAT = 3
"""Of what is packed: raised when the same case would give another sample."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A source, where its release lies, and the sizes at which its cases are packed."""

    source: Source
    root: Path
    scales: tuple[float, ...] = (1.0,)
    place: str = ""
    """What a recipe calls the root, wherever the data folder lies."""


def pack_key(sources: Sequence[Asked], tasks: Sequence[Task], *, mpp: float) -> str:
    """SHA-256 of all that decides about the samples of a pack."""
    asked = {
        "format": FORMAT,
        "mpp": mpp,
        "sources": [
            (a.source.name, a.place or a.root.name, list(a.scales), *filter(None, [a.source.facts])) for a in sources
        ],
        "tasks": [
            (t.name, t.mpp, t.classes.branches if t.classes else None, bool(t.classes and t.classes.is_cut))
            + tuple((m.name, m.channels, m.coarse) for m in t.maps)
            for t in tasks
        ],
    }
    return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()


def sample_of(case: Case, source: str, tasks: Sequence[Task], *, mpp: float = 0.5, scale: float = 1.0) -> Sample:
    """A case at `mpp`, enlarged by `scale` beyond that; tasks that it does not label are left out."""
    image = case.image()
    factor = case.mpp / mpp * scale
    size = max(1, round(image.shape[1] * factor)), max(1, round(image.shape[0] * factor))
    scaled = cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR)
    side = padded_side(size[1]), padded_side(size[0])
    targets: dict[str, np.ndarray] = {}
    weights: dict[str, np.ndarray] = {}
    for task in tasks:
        known = _known(case, task.name)
        if known is None:
            continue
        labels = _at_task(known, factor, (size[1], size[0]), side, round(task.mpp / mpp))
        for name, (target, weight) in task.target(labels, task).items():
            targets[f"{task.name}/{name}"] = np.round(target * TARGET_UNIT).astype(np.uint8)
            weights[f"{task.name}/{name}"] = np.round(weight * WEIGHT_UNIT).astype(np.uint8)
    return Sample(
        source=source,
        name=case.name if scale == 1.0 else f"{case.name} x{scale:g}",
        group=case.group,
        image=np.ascontiguousarray(mirrored(scaled, side)),
        targets=targets,
        weights=weights,
        stratum=case.stratum,
    )


def _known(case: Case, task: str) -> Labelled | None:
    """What the case says of the task: its labels, or what follows from others."""
    read = case.labels.get(task) or case.hints.get(task)
    return read() if read else None


def padded_side(side_px: int) -> int:
    """The next multiple of the grid, at least the smallest side."""
    return max(SMALLEST_PX, -(-side_px // GRID_PX) * GRID_PX)


def mirrored(array: np.ndarray, side: tuple[int, int]) -> np.ndarray:
    """The array [y, x, ...] mirrored at its right and lower border up to that many rows and columns."""
    more = (side[0] - array.shape[0], side[1] - array.shape[1])
    return np.pad(array, ((0, more[0]), (0, more[1]), *([(0, 0)] * (array.ndim - 2))), mode="symmetric")


def _at_task(labels: Labelled, factor: float, size: tuple[int, int], side: tuple[int, int], coarse: int) -> Labelled:
    """The labels on the task's grid: nearest neighbours, so that ids stay ids."""

    def grid(array: np.ndarray) -> np.ndarray:
        near = cv2.resize(array.astype(np.float32), size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
        whole = mirrored(near.astype(np.int32), side)
        return np.ascontiguousarray(whole[coarse // 2 :: coarse, coarse // 2 :: coarse]) if coarse > 1 else whole

    known = None if labels.known is None else grid(labels.known) > 0
    if labels.boxes is not None:  # they are not mirrored with the picture
        pictured = np.zeros((side[0] // coarse, side[1] // coarse), bool)
        pictured[: size[0] // coarse, : size[1] // coarse] = True
        known = pictured if known is None else known & pictured
    return Labelled(
        objects=None if labels.objects is None else grid(labels.objects),
        foreground=None if labels.foreground is None else grid(labels.foreground) > 0,
        known=known,
        classes=labels.classes,
        classes_known=labels.classes_known,
        raster=None if labels.raster is None else grid(labels.raster),
        raster_names=labels.raster_names,
        points=None if labels.points is None else labels.points * (factor / coarse),
        point_classes=labels.point_classes,
        boxes=None if labels.boxes is None else labels.boxes * (factor / coarse),
        exhaustive=labels.exhaustive,
    )


def write_pack(
    path: Path,
    sources: Sequence[Asked],
    tasks: Sequence[Task],
    *,
    mpp: float = 0.5,
    tell: events.Tell = events.nobody,
) -> Path:
    """All cases of the sources as one pack, renamed into place when whole."""
    tensors: dict[str, np.ndarray] = {}
    index: list[dict[str, str]] = []
    for asked in sources:
        source = asked.source
        tell(events.Started(stage=f"pack {source.name}", total=0, unit="samples"))
        for case in source.cases(asked.root):
            for scale in asked.scales:
                sample = sample_of(case, source.name, tasks, mpp=mpp, scale=scale)
                tensors |= _tensors(len(index), sample)
                facts = {key: getattr(sample, key) for key in ("source", "name", "group", "stratum")}
                index.append(facts)
                tell(events.Advanced(stage=f"pack {source.name}"))
    with whole_file(path) as fresh:
        save_tensors(tensors, fresh, metadata={KEY: json.dumps(index), MADE_FOR: pack_key(sources, tasks, mpp=mpp)})
    return path


def _tensors(number: int, sample: Sample) -> dict[str, np.ndarray]:
    named = {f"{number}/image": sample.image}
    named |= {f"{number}/target/{k}": v for k, v in sample.targets.items()}
    return named | {f"{number}/weight/{k}": v for k, v in sample.weights.items()}
