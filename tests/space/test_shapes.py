"""Shapes of outlines against what is known of ellipses and rectangles, and against scikit-image on drawn labels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from skimage import measure

from geryon.space.boxes import Frame
from geryon.space.drawing import drawn
from geryon.space.objects import Outlines, offsets
from geryon.space.shapes import COLUMNS, shapes

sizes = st.floats(2.0, 300.0)
places = st.floats(0.0, 1e5)
angles = st.floats(0.0, math.pi)


def outlines_of(*objects: list[np.ndarray]) -> Outlines:
    rings = [ring for one in objects for ring in one]
    return Outlines(
        points=np.concatenate(rings) if rings else np.zeros((0, 2)),
        ring_at=offsets(np.array([len(ring) for ring in rings], int)),
        object_at=offsets(np.array([len(one) for one in objects], int)),
    )


def turned(points: np.ndarray, angle: float) -> np.ndarray:
    c, s = math.cos(angle), math.sin(angle)
    return points @ np.array([[c, s], [-s, c]])


def ellipse(a: float, b: float, angle: float = 0.0, n: int = 720) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, n, endpoint=False)
    return turned(np.stack([a * np.cos(turn), b * np.sin(turn)], axis=1), angle)


def rectangle(w: float, h: float, angle: float = 0.0) -> np.ndarray:
    return turned(np.array([[0, 0], [w, 0], [w, h], [0, h]], float), angle)


def of_one(ring: np.ndarray, *holes: np.ndarray) -> dict[str, float]:
    found = shapes(outlines_of([ring, *holes]))
    assert tuple(found) == COLUMNS
    return {name: float(value[0]) for name, value in found.items()}


@settings(deadline=None)
@given(a=sizes, b=sizes, angle=angles, x=places, y=places)
def test_an_ellipse_has_its_own_axes(a: float, b: float, angle: float, x: float, y: float) -> None:
    a, b = max(a, b), min(a, b)
    found = of_one(ellipse(a, b, angle) + [x, y])
    squared = 1 - (b / a) ** 2
    perimeter = 4 * a * special.ellipe(squared)
    assert found["major_axis_um"] == pytest.approx(2 * a, rel=1e-3)
    assert found["minor_axis_um"] == pytest.approx(2 * b, rel=1e-3)
    assert found["eccentricity_ratio"] ** 2 == pytest.approx(squared, abs=1e-3)
    assert found["perimeter_um"] == pytest.approx(perimeter, rel=1e-3)
    assert found["circularity_ratio"] == pytest.approx(4 * np.pi * np.pi * a * b / perimeter**2, rel=2e-3)
    assert found["solidity_ratio"] == pytest.approx(1, abs=1e-5)


@settings(deadline=None)
@given(w=sizes, h=sizes, angle=angles, x=places, y=places)
def test_a_rectangle_has_the_moments_of_one(w: float, h: float, angle: float, x: float, y: float) -> None:
    w, h = max(w, h), min(w, h)
    found = of_one(rectangle(w, h, angle) + [x, y])
    # Second moments w²/12 and h²/12; those of an ellipse are a quarter of its half axes squared.
    assert found["major_axis_um"] == pytest.approx(2 * w / math.sqrt(3), rel=1e-6)
    assert found["minor_axis_um"] == pytest.approx(2 * h / math.sqrt(3), rel=1e-6)
    assert found["perimeter_um"] == pytest.approx(2 * (w + h), rel=1e-9)
    assert found["circularity_ratio"] == pytest.approx(np.pi * w * h / (w + h) ** 2, rel=1e-9)
    assert found["solidity_ratio"] == pytest.approx(1, rel=1e-9)


def test_an_l_is_as_solid_as_its_area_in_its_hull() -> None:
    corner = np.array([[0, 0], [4, 0], [4, 1], [1, 1], [1, 4], [0, 4]], float)
    assert of_one(corner)["solidity_ratio"] == pytest.approx(7 / (16 - 4.5))


def test_holes_and_the_way_round_change_nothing() -> None:
    ring, hole = ellipse(20, 10), ellipse(5, 3)[::-1]
    assert of_one(ring, hole) == of_one(ring)
    assert of_one(ring[::-1]) == pytest.approx(of_one(ring), rel=1e-9)


def test_objects_do_not_know_one_another() -> None:
    rings = [[ellipse(9, 4) + [k * 31.0, 1e5], ellipse(2, 1)] for k in range(5)] + [[rectangle(3, 8)]]
    together = shapes(outlines_of(*rings))
    for i, one in enumerate(rings):
        alone = shapes(outlines_of(one))
        assert all(alone[name][0] == together[name][i] for name in COLUMNS)


def test_nothing_and_what_has_no_area() -> None:
    assert all(len(value) == 0 for value in shapes(outlines_of()).values())
    flat, two, good = np.array([[0, 0], [4, 0], [8, 0]], float), np.array([[1, 1], [2, 2]], float), rectangle(2, 2)
    found = shapes(outlines_of([flat], [two], [good]))
    assert all(np.isnan(value[:2]).all() and np.isfinite(value[2]) for value in found.values())


@settings(max_examples=15, deadline=None)
@given(a=st.floats(15, 60), ratio=st.floats(0.3, 1.0), angle=angles, seed=st.integers(0, 99))
def test_scikit_image_finds_the_same_on_drawn_labels(a: float, ratio: float, angle: float, seed: int) -> None:
    wobble = 1 + 0.15 * np.sin(np.random.default_rng(seed).integers(2, 6) * np.linspace(0, 2 * np.pi, 720))[:, None]
    ring = ellipse(a, a * ratio, angle) * wobble + 80.3
    mpp = 0.25  # so fine that pixels hide little of a shape of 15 µm
    frame = Frame(name="task", mpp_x=mpp, mpp_y=mpp, width=640, height=640)
    labels = drawn(outlines_of([ring / mpp]), np.array([1]), frame.box)
    (seen,) = measure.regionprops(labels, spacing=mpp)
    found = of_one(ring)
    assert found["major_axis_um"] == pytest.approx(seen.axis_major_length, rel=0.01)
    assert found["minor_axis_um"] == pytest.approx(seen.axis_minor_length, rel=0.01)
    assert found["eccentricity_ratio"] ** 2 == pytest.approx(seen.eccentricity**2, abs=0.01)
    assert found["solidity_ratio"] == pytest.approx(seen.solidity, abs=0.03)  # its hull is that of pixel corners
    assert found["perimeter_um"] == pytest.approx(measure.perimeter_crofton(labels, 4) * mpp, rel=0.03)
