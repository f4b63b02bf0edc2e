"""Drawn outlines: pixels by their centres, the same however the picture is cut."""

from __future__ import annotations

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geryon.space import drawing
from geryon.space.boxes import Box, Frame
from geryon.space.drawing import by_square, drawn, inside
from geryon.space.objects import Outlines, offsets

SIDE = 60
FRAME = Frame(name="task", mpp_x=0.5, mpp_y=0.5, width=SIDE, height=SIDE)


def outlines_of(*objects: list[list[tuple[float, float]]]) -> Outlines:
    rings = [np.array(ring, float) for one in objects for ring in one]
    return Outlines(
        points=np.concatenate(rings) if rings else np.zeros((0, 2)),
        ring_at=offsets(np.array([len(ring) for ring in rings], int)),
        object_at=offsets(np.array([len(one) for one in objects], int)),
    )


def square(x: float, y: float, side: float) -> list[tuple[float, float]]:
    return [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]


def stars(seed: int, n: int) -> Outlines:
    """n star-shaped outlines with quarter-pixel points, some with a hole, some over the picture's edge."""
    rng = np.random.default_rng(seed)
    made = []
    for k in range(n):
        turn = np.linspace(0, 2 * np.pi, int(rng.integers(5, 20)), endpoint=False)[:, None]
        unit, middle = np.hstack([np.cos(turn), np.sin(turn)]), rng.uniform(0, SIDE, 2)
        rings = [np.round((middle + unit * rng.uniform(5, 12, (len(turn), 1))) * 4) / 4]
        if k % 2:
            rings.append(np.round((middle + unit[::-1] * 3) * 4) / 4)
        made.append([[tuple(point) for point in ring] for ring in rings])
    return outlines_of(*made)


def test_holes_are_out_and_later_objects_on_top() -> None:
    two = outlines_of([square(1, 1, 6), square(3, 3, 2)], [square(6, 6, 3)])
    labels = drawn(two, np.array([7, 9]), Box(FRAME, 0, 0, 10, 10))
    assert labels.dtype == np.int32
    assert (labels[1:7, 1:7] == 0).sum() == 4 and (labels[3:5, 3:5] == 0).all()
    assert (labels[6:9, 6:9] == 9).all() and (labels == 7).sum() == 36 - 4 - 1


def test_of_two_that_share_an_edge_through_centres_one_has_them() -> None:
    left, right = [(0.5, 0.5), (5.5, 0.5), (3.5, 8.5), (0.5, 8.5)], [(5.5, 0.5), (9.5, 0.5), (9.5, 8.5), (3.5, 8.5)]
    number, pixel = inside(outlines_of([left], [right]), Box(FRAME, 0, 0, 10, 10))
    assert len(np.unique(pixel)) == len(pixel) == 8 * 9
    assert set(number) == {0, 1}


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(0, 8))
def test_pixels_are_those_whose_centre_lies_inside(seed: int, n: int) -> None:
    outlines = stars(seed, n)
    number, pixel = inside(outlines, FRAME.box)
    x, y = (a.ravel() + 0.5 for a in np.meshgrid(np.arange(SIDE), np.arange(SIDE)))
    for i in range(n):
        rings = outlines.rings(i)
        polygon = shapely.Polygon(rings[0], rings[1:])
        mine = np.zeros(SIDE * SIDE, bool)
        mine[pixel[number == i]] = True
        on_the_edge = shapely.dwithin(polygon.boundary, shapely.points(x, y), 1e-9)
        wanted = shapely.contains_xy(polygon, x, y)
        assert (mine == wanted)[~on_the_edge].all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), x=st.integers(1, SIDE - 1), y=st.integers(1, SIDE - 1))
def test_cuts_change_nothing(seed: int, x: int, y: int) -> None:
    outlines, numbers = stars(seed, 8), np.arange(1, 9)
    whole = drawn(outlines, numbers, FRAME.box)
    edges = [(0, 0, x, y), (x, 0, SIDE, y), (0, y, x, SIDE), (x, y, SIDE, SIDE)]
    for x0, y0, x1, y1 in edges:
        np.testing.assert_array_equal(drawn(outlines, numbers, Box(FRAME, x0, y0, x1, y1)), whole[y0:y1, x0:x1])


def test_bands_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    outlines, numbers = stars(1, 8), np.arange(1, 9)
    whole = drawn(outlines, numbers, FRAME.box)
    monkeypatch.setattr(drawing, "PIXELS_AT_ONCE", 7 * SIDE)
    np.testing.assert_array_equal(drawn(outlines, numbers, FRAME.box), whole)


def test_squares_name_all_that_meets_them() -> None:
    outlines = outlines_of([square(2, 2, 4)], [square(8, 2, 4)], [square(2, 9, 25)], [square(10, 0, 10)])
    found = {cell: numbers.tolist() for cell, numbers in by_square(outlines, 10)}
    assert list(found) == sorted(found)
    assert found[0, 0] == [0, 1, 2] and found[0, 1] == [1, 2, 3]
    assert {cell for cell, numbers in found.items() if 2 in numbers} == {(r, c) for r in range(4) for c in range(3)}
    assert not list(by_square(outlines_of(), 10))


def test_an_empty_box_holds_nothing() -> None:
    number, pixel = inside(stars(0, 3), Box(FRAME, 5, 5, 5, 9))
    assert len(number) == len(pixel) == 0
