"""Regions: connected objects of any size, shared by glands and lumina.

The network says what is inside an object and which part of that is its rim. What is inside and no rim
are the cores, less their necks where the task says how wide those may be. The connected components of
the cores are the objects, and each grows back over neck and rim by a few steps. Components are joined
exactly across windows (space.seams), so cutting changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from geryon.space.boxes import Frame
from geryon.space.objects import Objects, no_objects
from geryon.space.seams import LINK_PX, Fragments, Region
from geryon.space.windows import Window
from geryon.tasks import decoding, kernels, targets
from geryon.tasks.runs import runs_of, sums
from geryon.tasks.task import Labelled, Task

SURE = 128
"""Of 255: a pixel at least this sure is inside (or rim)."""
RIM_PX = 2.0
"""Width of the rim in pixels of the task."""
DEEP_WEIGHT = np.float32(0.3)
"""Of "no rim" deep in a foreground without instances: touching objects have rims there, but most of it is none."""
GROW_STEPS = 4
"""Steps over 4-neighbours by which a core takes its rim back."""
MOST_WORN_PX = LINK_PX - GROW_STEPS
"""Cores grow back over what was worn off them, and that is all they may do past a tile's edge."""
REACH_PX = LINK_PX + MOST_WORN_PX + 1


def target(labelled: Labelled, task: Task) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Targets and weights; a foreground without instances says little about rims inside it."""
    objects = labelled.objects
    if objects is None:
        assert labelled.foreground is not None, "a label of regions holds objects or a foreground"
        objects = labelled.foreground.astype(np.int32)
    weight = targets.known_weight(labelled, objects.shape)
    distance = targets.rim_distance(objects)
    rim = (objects > 0) & (distance <= RIM_PX)
    rim_weight = weight if labelled.objects is not None else weight * np.where(distance <= RIM_PX, 1.0, DEEP_WEIGHT)
    out = {
        "inside": ((objects > 0).astype(np.float32)[..., None], weight),
        "rim": (rim.astype(np.float32)[..., None], rim_weight),
    }
    if task.classes is not None:
        out["class"] = targets.class_target(objects, labelled, task.classes)
    return out


def decode(maps: Mapping[str, np.ndarray], window: Window, task: Task) -> Fragments:
    """What lies of each region in the window's core, with all that is needed to join it to its other parts."""
    inside = maps["inside"][..., 0] >= SURE
    worn_px = round(task.neck_um / 2.0 / task.mpp)
    assert worn_px <= MOST_WORN_PX, f"a neck of {task.neck_um} µm is wider than tiles can see"
    cores, n = decoding.components(decoding.worn(inside & (maps["rim"][..., 0] < SURE), worn_px))
    labels = kernels.grow(cores, inside, GROW_STEPS + worn_px)
    x, y = window.offset
    rows, columns = window.core.shape
    band = cores[y - LINK_PX : y + rows + LINK_PX, x - LINK_PX : x + columns + LINK_PX]
    band, core, count = kernels.renumbered(band, labels[y : y + rows, x : x + columns], n)
    values = [maps[name][y : y + rows, x : x + columns] for name in ("inside", "class") if name in maps]
    place, total = sums(runs_of(core), count, np.concatenate(values, axis=2), 1)
    return Fragments(core=window.core, labels=core, band=band, place=place, sums=total)


def finished(fragments: Fragments, single: np.ndarray, task: Task) -> Objects:
    """The regions of one tile that lie in it whole; `single` (bool [n]) says which."""
    table = np.zeros(len(single) + 1, np.int32)
    numbers = np.flatnonzero(single & (fragments.place[:, 0] > 0))
    table[numbers + 1] = np.arange(1, len(numbers) + 1)
    place = fragments.place[numbers]
    shift = np.array([fragments.core.xmin, fragments.core.ymin])
    objects = _objects(table[fragments.labels], place, fragments.sums[numbers], fragments.core.frame)
    return _filled(objects.moved(*shift), task)


def finished_region(region: Region, task: Task) -> Objects:
    """A region put together from several tiles, as a set of one object."""
    x0, y0 = region.box.xmin, region.box.ymin
    place = region.place - np.array([0, x0 * region.place[0], y0 * region.place[0]], np.int64)
    objects = _objects(region.mask.astype(np.int32), place[None], region.sums[None], region.box.frame)
    return _filled(objects.moved(x0, y0), task)


def _objects(labels: np.ndarray, place: np.ndarray, sums: np.ndarray, frame: Frame) -> Objects:
    if len(place) == 0:
        return no_objects(frame, max(sums.shape[1] - 1, 0))
    count = place[:, :1]
    means = decoding.mean_u8(sums, count)
    outlines = decoding.outlines_of(labels)
    return Objects(
        frame=frame,
        xy=place[:, 1:] / count + 0.5,
        outlines=outlines,
        area=decoding.areas(outlines),
        score=means[:, 0],
        p=means[:, 1:],
    )


def _filled(objects: Objects, task: Task) -> Objects:
    pixel_um2 = objects.frame.mpp_x * objects.frame.mpp_y
    outlines = decoding.without_small_holes(objects.outlines, task.smallest_hole_um2 / pixel_um2)
    return replace(objects, outlines=outlines, area=decoding.areas(outlines))


def wanted(objects: Objects, task: Task) -> tuple[Objects, dict[str, int]]:
    """Those of the whole regions (in the task's frame) that count, and how many do not, by reason."""
    small = objects.area * (objects.frame.mpp_x * objects.frame.mpp_y) < task.smallest_um2
    unsure = ~small & (objects.score < 255.0 * task.least_score)
    reasons = {"too small": int(small.sum()), "too unsure": int(unsure.sum())}
    return objects.take(~small & ~unsure), {reason: n for reason, n in reasons.items() if n}
