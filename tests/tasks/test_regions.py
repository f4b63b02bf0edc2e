"""Regions from maps: necks part them, unsure ones go, and any cutting gives the same."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geryon.nets.model import halo_px
from geryon.space.boxes import Frame
from geryon.space.objects import Objects, join_objects
from geryon.space.seams import Gathering, link
from geryon.space.windows import Tiling, Window
from geryon.tasks import regions
from geryon.tasks.glands import GLANDS
from geryon.tasks.lumina import LUMINA
from geryon.tasks.task import Task

SIDE_PX = 160


def found(maps: dict[str, np.ndarray], task: Task, step: int) -> Objects:
    """Regions of square maps (uint8 [y, x, channel]) cut into tiles of `step`, joined again."""
    side = maps["inside"].shape[0]
    frame = Frame(name="task", mpp_x=task.mpp, mpp_y=task.mpp, width=side, height=side)
    halo = halo_px(task, frame)
    tiling = Tiling(frame=frame, step=step)
    fragments = {}
    for row in range(tiling.rows):
        for column in range(tiling.columns):
            window: Window = tiling.window(row, column, halo)
            x, y = round(window.core.xmin), round(window.core.ymin)
            rows, columns = window.core.shape
            cut = {
                name: np.pad(m, ((halo, halo), (halo, halo), (0, 0)))[
                    y : y + rows + 2 * halo, x : x + columns + 2 * halo
                ]
                for name, m in maps.items()
            }
            fragments[row, column] = task.decode(cut, window, task)
    gathering = Gathering(link((cell, f.band) for cell, f in fragments.items()).groups())
    sets = [regions.finished(f, gathering.single(cell, f), task) for cell, f in fragments.items()]
    sets += [regions.finished_region(r, task) for cell, f in fragments.items() for r in gathering.add(cell, f)]
    objects, dropped = regions.wanted(join_objects(sets), task)
    assert len(objects) + sum(dropped.values()) == sum(map(len, sets))
    return objects


def told(objects: Objects) -> list[tuple[float, ...]]:
    """Centroid, area, score and probabilities of each object, in order."""
    rows = np.column_stack([objects.xy, objects.area, objects.score, objects.p])
    return sorted(tuple(np.round(row, 6)) for row in rows)


def blobs(seed: int, task: Task) -> dict[str, np.ndarray]:
    """Maps as a network might give them: smooth noise, rims where it is middling."""
    rng = np.random.default_rng(seed)
    out = {}
    for m in task.maps:
        noise = rng.standard_normal((SIDE_PX, SIDE_PX, m.channels)).astype(np.float32)
        smooth = cv2.GaussianBlur(noise, (0, 0), float(rng.uniform(2, 6)))
        smooth = smooth.reshape(SIDE_PX, SIDE_PX, m.channels) / smooth.std()
        out[m.name] = (128 + 90 * smooth).clip(0, 255).astype(np.uint8)
    return out


@pytest.mark.parametrize("task", [GLANDS, LUMINA], ids=lambda t: t.name)
@given(seed=st.integers(0, 2**32 - 1), step=st.sampled_from([32, 56, 100]))
@settings(max_examples=15, deadline=None)
def test_cutting_changes_nothing(task: Task, seed: int, step: int) -> None:
    maps, every = blobs(seed, task), replace(task, least_score=0.0)
    whole = told(found(maps, every, SIDE_PX))
    assert whole and told(found(maps, every, step)) == whole


def dumb_bell(neck_px: int) -> dict[str, np.ndarray]:
    """Two discs, sure and without rims, that meet in a neck of that width."""
    inside = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
    for x in (50, 110):
        cv2.circle(inside, (x, 80), 24, 255, -1)
    inside[80 - neck_px // 2 : 80 - neck_px // 2 + neck_px, 50:110] = 255
    nothing = np.zeros((SIDE_PX, SIDE_PX, 1), np.uint8)
    return {"inside": inside[..., None], "rim": nothing, "class": np.full((SIDE_PX, SIDE_PX, 2), 127, np.uint8)}


def test_a_neck_parts_glands_and_a_broad_bridge_does_not() -> None:
    neck_px = round(GLANDS.neck_um / GLANDS.mpp)
    assert neck_px > 0
    for wide, count in ((neck_px, 2), (neck_px + 3, 1)):
        objects = found(dumb_bell(wide), GLANDS, SIDE_PX)
        assert len(objects) == count
        # What was worn off is taken back, neck and all.
        lost_px = (dumb_bell(wide)["inside"] > 0).sum() - objects.area.sum()
        assert abs(lost_px) < 0.01 * objects.area.sum() + (40 if count == 2 else 0)
    one = replace(GLANDS, neck_um=0.0)
    assert len(found(dumb_bell(neck_px), one, SIDE_PX)) == 1


def test_an_unsure_region_is_left_out() -> None:
    maps = dumb_bell(0)
    bound = round(255 * GLANDS.least_score)
    maps["inside"][:, 80:] = np.minimum(maps["inside"][:, 80:], bound - 2)
    assert len(found(maps, GLANDS, SIDE_PX)) == 1
    assert len(found(maps, replace(GLANDS, least_score=0.0), SIDE_PX)) == 2


def test_a_neck_wider_than_tiles_can_see_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="wider than tiles"):
        found(dumb_bell(4), replace(GLANDS, neck_um=40.0), SIDE_PX)
