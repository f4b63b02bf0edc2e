"""Frames, boxes, tilings and outlines as properties."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geryon.space.boxes import Box, Frame
from geryon.space.holding import held, holders, polygons, sharers
from geryon.space.objects import Objects, join_objects, no_objects
from geryon.space.windows import Tiling
from geryon.tasks import decoding

sizes = st.floats(1, 5000)
mpps = st.floats(0.05, 20)


def frame(width: float = 300, height: float = 200, mpp: float = 0.5) -> Frame:
    return Frame(name="level0", mpp_x=mpp, mpp_y=mpp, width=width, height=height)


@given(sizes, sizes, mpps, mpps)
def test_there_and_back_is_where_it_was(width: float, height: float, mpp: float, other: float) -> None:
    at = frame(width, height, mpp)
    box = Box(at, 1.0, 2.0, 10.0, 20.0)
    back = box.to(at.at(other)).to(at)
    assert np.allclose(
        (back.xmin, back.ymin, back.xmax, back.ymax), (box.xmin, box.ymin, box.xmax, box.ymax), rtol=1e-9
    )


def test_boxes_of_two_frames_do_not_meet() -> None:
    with pytest.raises(ValueError, match="two frames"):
        frame().box.meet(frame().at(1.0).box)


@given(st.integers(1, 900), st.integers(1, 900), st.sampled_from([32, 64, 100, 256]), st.sampled_from([1, 4, 32]))
@settings(deadline=None)
def test_tiles_cover_every_pixel_once(width: int, height: int, step: int, cell: int) -> None:
    tiling = Tiling(frame=frame(width, height), step=step, cell=cell)
    seen = np.zeros((height, width), int)
    for row in range(tiling.rows):
        for column in range(tiling.columns):
            box = tiling.box(row, column).meet(tiling.frame.box)
            seen[int(box.ymin) : int(box.ymax), int(box.xmin) : int(box.xmax)] += 1
    assert (seen == 1).all()


@given(st.integers(0, 400), st.integers(0, 400), st.integers(1, 300), st.integers(1, 300))
def test_a_tiling_finds_the_tiles_that_meet_a_box(x: int, y: int, width: int, height: int) -> None:
    tiling = Tiling(frame=frame(700, 600), step=128)
    box = Box(tiling.frame, x, y, min(x + width, 700), min(y + height, 600))
    every = [(r, c) for r in range(tiling.rows) for c in range(tiling.columns)]
    met = [cell for cell in every if not tiling.box(*cell).meet(box).is_empty]
    assert list(tiling.meeting(box)) == met


@given(st.integers(0, 10**6), st.sampled_from([0.6, 1.0, 2.0]))
@settings(deadline=None, max_examples=60)
def test_outlines_filled_are_the_labels_and_valid(seed: int, blur: float) -> None:
    import cv2

    noise = np.random.default_rng(seed).random((33, 41)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), blur)
    labels, n = decoding.components(smooth > np.median(smooth))
    objects = decoding.objects_from_labels(
        labels, score=np.full((33, 41, 1), 200, np.uint8), classes=None, frame=frame(41, 33)
    )
    assert len(objects) == n
    assert np.array_equal(decoding.labels_of(objects, (33, 41)), labels)
    for i in range(n):
        rings = objects.outlines.rings(i)
        shape = shapely.Polygon(rings[0], rings[1:])
        assert shape.is_valid and np.isclose(shape.area, objects.area[i])


def test_taking_and_joining_objects_is_identity() -> None:
    labels = np.zeros((20, 30), np.int32)
    labels[2:6, 3:9], labels[10:15, 10:20] = 1, 2
    made = decoding.objects_from_labels(
        labels, score=np.full((20, 30, 1), 9, np.uint8), classes=np.full((20, 30, 2), 7, np.uint8), frame=frame(30, 20)
    )
    again = join_objects([made.take(np.array([0])), made.take(np.array([False, True])), no_objects(made.frame, 2)])
    for name in ("xy", "area", "score", "p"):
        assert np.array_equal(getattr(again, name), getattr(made, name))
    assert np.array_equal(again.outlines.points, made.outlines.points)
    assert isinstance(again, Objects) and made.xy[0].tolist() == [6.0, 4.0]


def test_a_gland_holds_what_lies_in_it_but_nothing_larger_than_itself() -> None:
    labels = np.zeros((200, 300), np.int32)
    labels[40:60, 40:60] = 1
    gland = of_labels(labels)
    small, outside, around = np.zeros_like(labels), np.zeros_like(labels), np.ones_like(labels)
    small[45:50, 45:50] = 1
    outside[100:110, 100:110] = 1
    around[:, 110:] = 0  # glass about the gland, its centroid in it
    around[110:] = 0
    for found, kept in ((small, 1), (outside, 0), (around, 0)):
        assert len(held(of_labels(found), gland)) == kept
    assert len(held(of_labels(small), of_labels(np.zeros_like(labels)))) == 0


def test_a_gland_holds_by_share_of_area_and_the_largest_share_counts() -> None:
    labels = np.zeros((200, 300), np.int32)
    labels[40:100, 40:100], labels[40:100, 100:160] = 1, 2
    glands = of_labels(labels)
    tree = shapely.STRtree(polygons(glands.outlines))
    for columns, holder in (((50, 70), 0), ((85, 110), 0), ((90, 115), 1), ((25, 56), 0), ((24, 55), -1)):
        lumen = np.zeros_like(labels)
        lumen[50:70, columns[0] : columns[1]] = 1
        assert sharers(of_labels(lumen).outlines, tree).tolist() == [holder], columns
    # a crescent about the gland's end, its centroid in the gland and nothing of itself
    crescent = np.zeros_like(labels)
    crescent[30:110, 20:115], crescent[38:102, 30:115] = 1, 0
    crescent[38:102, :30] = 0
    crescent[30:38, 20:115] = crescent[102:110, 20:115] = crescent[30:110, 20:30] = 1
    found = of_labels(crescent)
    assert labels[tuple(found.xy[0, ::-1].astype(int))] == 1 and len(held(found, glands)) == 0
    assert holders(found.xy, found.area, tree).tolist() == [0]


def of_labels(labels: np.ndarray) -> Objects:
    scores = np.full((*labels.shape, 1), 255, np.uint8)
    return decoding.objects_from_labels(labels, score=scores, classes=None, frame=frame())
