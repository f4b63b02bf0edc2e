"""The contract of a reader: subclass, say how to open one file and what is in it, inherit the tests."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import pytest

from geryon.slides.reader import Reader
from geryon.space.arrays import Image


class ReaderContract:
    """What every reader promises. A subclass has a method `open_reader` (a fixture of that name works too)."""

    def open_reader(self) -> Reader:
        """A reader of a small file, opened anew."""
        raise NotImplementedError

    def expected(self) -> Image | None:
        """The pixels of level 0 as known from elsewhere; None when only the reader itself knows."""
        return None

    tolerance: float = 0.0
    """Mean absolute difference allowed against `expected`: above 0 for lossy compression."""

    @pytest.fixture
    def reader(self) -> object:
        opened = self.open_reader()
        yield opened
        opened.close()

    def test_levels_begin_with_the_finest(self, reader: Reader) -> None:
        first = reader.levels[0]
        assert (first.downsample_x, first.downsample_y) == (1, 1)
        for finer, coarser in zip(reader.levels, reader.levels[1:], strict=False):
            assert coarser.width <= finer.width and coarser.height <= finer.height
            assert coarser.downsample_x >= finer.downsample_x
            assert abs(coarser.width * coarser.downsample_x - first.width) <= coarser.downsample_x
            assert abs(coarser.height * coarser.downsample_y - first.height) <= coarser.downsample_y

    def test_pixels_are_those_of_the_file(self, reader: Reader) -> None:
        known = self.expected()
        if known is None:
            pytest.skip("the pixels of this file are known from its reader only")
        got = whole(reader, 0)
        assert got.shape == known.shape
        assert np.abs(got.astype(int) - known).mean() <= self.tolerance

    def test_any_box_equals_the_crop_of_the_whole(self, reader: Reader) -> None:
        random = np.random.default_rng(0)
        for level, at in enumerate(reader.levels):
            all_of_it = whole(reader, level)
            assert all_of_it.dtype == np.uint8 and all_of_it.shape == (at.height, at.width, 3)
            for _ in range(12):
                x0, x1 = sorted(random.choice(at.width + 1, 2, replace=False).tolist())
                y0, y1 = sorted(random.choice(at.height + 1, 2, replace=False).tolist())
                np.testing.assert_array_equal(reader.read(level, (x0, y0, x1, y1)), all_of_it[y0:y1, x0:x1])

    def test_edges_and_single_pixels(self, reader: Reader) -> None:
        for level, at in enumerate(reader.levels):
            all_of_it = whole(reader, level)
            for x, y in ((0, 0), (at.width - 1, 0), (0, at.height - 1), (at.width - 1, at.height - 1)):
                np.testing.assert_array_equal(reader.read(level, (x, y, x + 1, y + 1))[0, 0], all_of_it[y, x])

    def test_what_is_read_belongs_to_the_caller(self, reader: Reader) -> None:
        before = whole(reader, 0)
        mine = reader.read(0, (0, 0, 8, 8))
        mine[:] = 77
        np.testing.assert_array_equal(whole(reader, 0), before)

    def test_resolution_is_positive_or_unknown(self, reader: Reader) -> None:
        assert reader.mpp is None or min(reader.mpp) > 0
        assert reader.objective is None or reader.objective > 0

    def test_threads_see_the_same_pixels(self, reader: Reader) -> None:
        known = whole(reader, 0)
        height, width = known.shape[:2]
        lock: AbstractContextManager[object] = nullcontext() if reader.thread_safe else threading.Lock()
        boxes = [
            (x, y, min(x + 37, width), min(y + 29, height)) for y in range(0, height, 29) for x in range(0, width, 37)
        ]

        def read(box: tuple[int, int, int, int]) -> Image:
            with lock:
                return reader.read(0, box)

        with ThreadPoolExecutor(4) as pool:
            for (x0, y0, x1, y1), got in zip(boxes, pool.map(read, boxes), strict=True):
                np.testing.assert_array_equal(got, known[y0:y1, x0:x1])

    def test_closed_twice(self) -> None:
        opened = self.open_reader()
        opened.close()
        opened.close()


def whole(reader: Reader, level: int) -> Image:
    """All pixels of one level."""
    at = reader.levels[level]
    return reader.read(level, (0, 0, at.width, at.height))
