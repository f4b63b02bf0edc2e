"""The cells of a compressed slide, and the eight ways in which a square can lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geryon.space.boxes import Frame
from geryon.space.grid import Grid
from geryon.space.turns import TURNS, turned, turned_back

SIZES = st.integers(8, 5000)
LENGTHS_UM = st.floats(2.0, 300.0)


@given(SIZES, SIZES, st.floats(0.1, 4.0), LENGTHS_UM, LENGTHS_UM)
def test_every_pixel_lies_in_the_square_of_one_cell(width, height, mpp, patch_um, stride_um):
    level0 = Frame(name="level0", mpp_x=mpp, mpp_y=mpp, width=width, height=height)
    grid = Grid(level0=level0, patch_um=patch_um, stride_um=stride_um)
    um = level0.um
    assert grid.rows * stride_um >= um.height - 1e-3 * stride_um
    assert grid.columns * stride_um >= um.width - 1e-3 * stride_um
    assert (grid.rows - 1) * stride_um < um.height and (grid.columns - 1) * stride_um < um.width


@given(SIZES, SIZES, LENGTHS_UM, LENGTHS_UM)
def test_a_cell_is_at_the_edge_when_its_patch_leaves_the_slide(width, height, patch_um, stride_um):
    level0 = Frame(name="level0", mpp_x=0.5, mpp_y=0.25, width=width, height=height)
    grid = Grid(level0=level0, patch_um=patch_um, stride_um=stride_um)
    edge = grid.edge()
    assert edge.shape == (grid.rows, grid.columns)
    for row, column in {(0, 0), (grid.rows - 1, 0), (0, grid.columns - 1), (grid.rows // 2, grid.columns // 2)}:
        box = grid.box(row, column)
        past = max(box.xmax - level0.um.width, box.ymax - level0.um.height)
        if abs(past) > 1e-3:
            assert edge[row, column] == (past > 0)


def test_a_cell_begins_at_its_corner_in_level0_pixels():
    level0 = Frame(name="level0", mpp_x=0.25, mpp_y=0.5, width=4000, height=2000)
    box = Grid(level0=level0, patch_um=64.0, stride_um=32.0).box_level0(2, 3)
    assert (box.xmin, box.ymin, box.xmax, box.ymax) == (384.0, 128.0, 640.0, 256.0)


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, TURNS - 1))
def test_a_turn_is_turned_back(rows, columns, k):
    array = np.arange(rows * columns * 2).reshape(rows, columns, 2)
    there = turned(array, k)
    assert there.shape[:2] == ((columns, rows) if k % 2 else (rows, columns))
    assert np.array_equal(turned_back(there, k), array)


def test_the_eight_turns_differ_and_are_no_ninth():
    array = np.arange(6).reshape(2, 3)
    assert len({(turned(array, k).shape, turned(array, k).tobytes()) for k in range(TURNS)}) == TURNS
    assert turned(array, 5).tolist() == np.rot90(array)[:, ::-1].tolist()
    with pytest.raises(ValueError, match="0 to 7"):
        turned(array, 8)
