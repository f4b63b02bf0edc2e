"""What the objects of a slide say of it as a whole: counts, densities, class mix, sizes.

They come from a finished result of `geryon segment`. They are the second modality beside the feature volume, which the
same network can have made in the same pass, or stand alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geryon.errors import InputError
from geryon.store.columns import plain_values
from geryon.store.run import RunRecord, is_whole, read_run
from geryon.store.tables import read_objects


@dataclass(frozen=True, slots=True, kw_only=True)
class SlideObjects:
    """The measures of one slide's objects, and what made them."""

    slide: str
    """Its name."""
    made_by: str
    """Name and checksum of the model."""
    has_tissue: bool
    measures: Mapping[str, float]
    """nan where a measure does not exist: the mix of classes of no object."""
    identity: str
    """A digest of the slide's size, tissue and measures: equal for the same slide given twice, whatever its name."""


def objects_of(folder: Path) -> SlideObjects:
    """The measures of the objects in a slide's folder of results; InputError where it is no whole run.

    For each task with objects: `<task>/log10_count` (of 1 + n), `<task>/per_mm2` of tissue, `<task>/area_share` of the
    tissue, `<task>/median_area_um2`, and for each class `<task>/<class>/per_mm2` and `<task>/<class>/share`.
    """
    record = read_run(folder)
    if not record.object_tasks:
        raise InputError(
            what="the run has no objects", where=str(folder), mend="run geryon segment with --tasks nuclei"
        )
    if not is_whole(folder):
        raise InputError(what="files of the run are gone", where=str(folder), mend="run geryon segment again")
    measures: dict[str, float] = {}
    for task in record.object_tasks:
        measures |= _of_task(record, task)
    told = repr([record.size_level0, record.mpp, record.tissue_mm2, *measures.items()])
    return SlideObjects(
        slide=record.slide,
        made_by=f"{record.model.name} {record.model.sha256[:12]}".strip(),
        has_tissue=record.tissue_mm2 > 0,
        measures=measures,
        identity=hashlib.sha256(told.encode()).hexdigest(),
    )


def _of_task(record: RunRecord, task: str) -> dict[str, float]:
    assert record.folder is not None, "a record that was read knows its folder"
    done, tissue_mm2 = record.tasks[task], record.tissue_mm2
    area_um2 = np.concatenate(
        [np.zeros(0), *(plain_values(c) for c in read_objects(record.folder, task, columns=["area_um2"])[0].chunks)]
    )
    n = len(area_um2)
    found = {
        f"{task}/log10_count": math.log10(1 + n),
        f"{task}/per_mm2": _over(n, tissue_mm2),
        f"{task}/area_share": _over(float(area_um2.sum()) / 1e6, tissue_mm2),
        f"{task}/median_area_um2": float(np.median(area_um2)) if n else math.nan,
    }
    for name in done.classes:
        count = done.counts.get(name, 0)
        found |= {f"{task}/{name}/per_mm2": _over(count, tissue_mm2), f"{task}/{name}/share": _over(count, n)}
    return found


def table_of(slides: Sequence[SlideObjects], names: Sequence[str]) -> np.ndarray:
    """float64 [slide, measure] in the order of names."""
    return np.array([[slide.measures[name] for name in names] for slide in slides], float).reshape(
        len(slides), len(names)
    )


def _over(above: float, below: float) -> float:
    return above / below if below > 0 else math.nan
