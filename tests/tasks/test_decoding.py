"""Compiled decoding finds, to the last bit, what the plain one finds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from geryon.space.boxes import Box, Frame
from geryon.space.objects import Objects
from geryon.space.windows import Window
from geryon.tasks import decoding, kernels, nuclei, peaks, targets
from geryon.tasks.glands import GLANDS
from geryon.tasks.lumina import LUMINA
from geryon.tasks.nuclei import NUCLEI
from geryon.tasks.runs import runs_of, sums
from geryon.tasks.task import Task
from tests.tasks import plain_decoding as plain

seeds = st.integers(0, 2**32 - 1)


def window_in(shape: tuple[int, int], halo: int, mpp: float = 0.5) -> Window:
    """A window whose outer box has that shape."""
    frame = Frame(name="task", mpp_x=mpp, mpp_y=mpp, width=shape[1], height=shape[0])
    return Window(frame.box.grow(-halo), frame.box)


def noise(rng: np.random.Generator, shape: tuple[int, int, int], sigma: float) -> np.ndarray:
    """uint8: noise, smoothed if sigma is positive, over the whole range of bytes."""
    values = rng.standard_normal(shape)
    if sigma > 0:
        values = ndimage.gaussian_filter(values, (sigma, sigma, 0))
    return (128 + 80 * values / values.std()).clip(0, 255).astype(np.uint8)


def maps_of_noise(seed: int, task: Task, shape: tuple[int, int]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    sigma = float(rng.choice([0, 0.7, 2, 4]))
    sides = {m.name: (-(-shape[0] // m.coarse), -(-shape[1] // m.coarse), m.channels) for m in task.maps}
    return {name: noise(rng, side, sigma) for name, side in sides.items()}


def maps_of_cells(seed: int, side: int) -> dict[str, np.ndarray]:
    """What a network says of many touching cells: depths with noise, rims half sure, a hole here and there."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((side, side), np.int32)
    for number in range(1, side * side // 250):
        x, y, long = *rng.integers(0, side, 2).tolist(), int(rng.integers(4, 13))
        axes = (long, max(2, round(long * rng.uniform(0.4, 1))))
        cv2.ellipse(labels, (x, y), axes, float(rng.uniform(0, 180)), 0, 360, number, -1)
    _, numbers = np.unique(labels, return_inverse=True)
    depth = targets.normalised_rim_distance(numbers.reshape(labels.shape).astype(np.int32))
    sure = 255 * ndimage.gaussian_filter((labels > 0).astype(float), 0.8) - 60 * (rng.random(labels.shape) < 0.01)
    return {
        "inside": sure.clip(0, 255).astype(np.uint8)[..., None],
        "depth": (235 * depth + rng.normal(0, 12, depth.shape)).clip(0, 255).astype(np.uint8)[..., None],
        "class": noise(rng, (side // 2, side // 2, len(NUCLEI.class_names)), 2),
    }


def assert_plain(objects: Objects, labels: np.ndarray, maps: dict[str, np.ndarray], window: Window) -> None:
    """Objects are those of the plain label map: the same order, rings, points and values."""
    dx, dy = window.outer.xmin, window.outer.ymin
    at = 0
    for label in range(1, int(labels.max(initial=0)) + 1):
        every = plain.rings(labels, label)
        if sum(map(plain.area, every)) < nuclei.AREA_PX:
            continue
        outer = [ring for ring in every if plain.area(ring) > 0]
        assert [ring.tolist() for ring in objects.outlines.rings(at)] == [
            [[x + dx, y + dy] for x, y in ring] for ring in outer
        ]
        rows, columns = np.nonzero(labels == label)
        middle = columns.sum() / len(rows) + 0.5 + dx, rows.sum() / len(rows) + 0.5 + dy
        p = maps["class"][rows // 2, columns // 2].T.tolist()
        assert tuple(objects.xy[at]) == middle and objects.area[at] == sum(map(plain.area, outer))
        assert objects.score[at] == plain.mean_u8(maps["inside"][rows, columns, 0].tolist())
        assert objects.p[at].tolist() == [plain.mean_u8(values) for values in p]
        at += 1
    assert len(objects) == len(objects.score) == len(objects.p) == at


@settings(max_examples=20, deadline=None)
@given(seed=seeds, rows=st.integers(1, 14), columns=st.integers(1, 14), halo=st.integers(0, 8))
def test_nuclei_of_noise_are_the_plain_ones(seed: int, rows: int, columns: int, halo: int) -> None:
    shape = 2 * rows + 2 * halo, 2 * columns + 2 * halo
    maps, window = maps_of_noise(seed, NUCLEI, shape), window_in(shape, halo)
    assert_plain(NUCLEI.decode(maps, window, NUCLEI), plain.found(maps, window), maps, window)


def test_nuclei_of_a_crowd_are_the_plain_ones() -> None:
    maps, window = maps_of_cells(3, 240), window_in((240, 240), 30)
    objects = NUCLEI.decode(maps, window, NUCLEI)
    assert len(objects) > 80
    assert_plain(objects, plain.found(maps, window), maps, window)


def test_a_window_is_counted_in_its_frame() -> None:
    maps = maps_of_cells(4, 120)
    frame = Frame(name="task", mpp_x=0.5, mpp_y=0.5, width=4000, height=4000)
    window = Window(Box(frame, 1020, 2030, 1100, 2090), Box(frame, 1000, 2000, 1120, 2120))
    assert_plain(NUCLEI.decode(maps, window, NUCLEI), plain.found(maps, window), maps, window)


@pytest.mark.parametrize("missing", ["inside", "depth"])
def test_nothing_is_no_nucleus(missing: str) -> None:
    maps = maps_of_cells(5, 60) | {missing: np.zeros((60, 60, 1), np.uint8)}
    assert len(NUCLEI.decode(maps, window_in((60, 60), 4), NUCLEI)) == 0


@settings(max_examples=10, deadline=None)
@given(seed=seeds, halo=st.integers(15, 22))
@pytest.mark.parametrize("task", [GLANDS, LUMINA], ids=lambda t: t.name)
def test_regions_are_the_plain_ones(task: Task, seed: int, halo: int) -> None:
    shape = 70 + 2 * halo, 50 + 2 * halo
    maps, window = maps_of_noise(seed, task, shape), window_in(shape, halo, mpp=task.mpp)
    seen, wanted = task.decode(maps, window, task), plain.fragments(maps, window, task)
    for name, value in wanted.items():
        assert np.array_equal(getattr(seen, name), value), name
    assert seen.labels.dtype == seen.band.dtype == np.int32 and seen.sums.dtype == np.int64


@settings(max_examples=60, deadline=None)
@given(seed=seeds, rows=st.integers(1, 14), columns=st.integers(1, 14), share=st.floats(0.1, 0.95))
def test_outlines_are_the_plain_ones(seed: int, rows: int, columns: int, share: float) -> None:
    # Labels meet one another, their own corners and every border, and have holes with islands.
    mask = np.random.default_rng(seed).random((rows, columns)) < share
    labels = ndimage.label(mask)[0].astype(np.int32)
    outlines = decoding.outlines_of(labels)
    assert len(outlines) == labels.max(initial=0)
    for i in range(len(outlines)):
        assert [[tuple(p) for p in ring] for ring in outlines.rings(i)] == plain.rings(labels, i + 1)


@settings(max_examples=40, deadline=None)
@given(seed=seeds, rows=st.integers(1, 12), columns=st.integers(1, 12), coarse=st.integers(1, 3), n=st.integers(1, 4))
def test_sums_are_those_of_each_pixel(seed: int, rows: int, columns: int, coarse: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n + 1, (rows, columns)).astype(np.int32)
    # One cell fewer than pixels ask for: those at the border then take the last.
    sides = [max(1, -(-side // coarse) - int(rng.integers(2))) for side in labels.shape]
    values = rng.integers(0, 256, (*sides, 2)).astype(np.uint8)
    place, total = sums(runs_of(labels), n, values, coarse)
    for label in range(1, n + 1):
        y, x = np.nonzero(labels == label)
        assert place[label - 1].tolist() == [len(y), x.sum(), y.sum()]
        seen = values[np.minimum(y // coarse, sides[0] - 1), np.minimum(x // coarse, sides[1] - 1)]
        assert total[label - 1].tolist() == seen.astype(int).sum(axis=0).tolist()


@given(length=st.integers(1, 80), steps=st.integers(0, 70))
def test_a_walk_ends_after_that_many_steps(length: int, steps: int) -> None:
    ramp = np.arange(1, length + 1, dtype=np.uint16)[None]
    _, to, _, _ = kernels.listed(kernels.uphill(ramp, np.ones(ramp.shape, bool)))
    basin, found = kernels.climb(to, steps)
    assert found.tolist() == [length - 1]
    assert basin.tolist() == [int(length - 1 - at <= steps) for at in range(length)]


def test_an_object_ends_at_its_radius() -> None:
    """A plateau, whose peak is its first pixel, reaches as far as a disc around that does."""
    side = 2 * peaks.RADIUS_PX + 9
    places = np.arange(side * side, dtype=np.int32)
    right = places % side != side - 1
    heart = np.array([side * (side // 2) + side // 2], np.int32)
    runs = kernels.collect(np.ones(side * side, np.int32), places, right, side, heart, peaks.RADIUS_PX)
    y, x = np.mgrid[:side, :side] - side // 2
    disc = (x * x + y * y <= peaks.RADIUS_PX**2).astype(np.int32)
    assert np.array_equal(runs, runs_of(disc))
