"""The user's own tissue mask, of any scale: read in blocks, and reduced to what windows are chosen by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geryon.errors import InputError
from geryon.slides import formats
from geryon.slides.array import read_values
from geryon.slides.tiff import TiffReader
from geryon.space.arrays import Mask

BLOCK_PX = 2048
"""Side of the blocks: a multiple of most tiles, so that none is decoded twice; 17 MB while it is reduced."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A mask as it lies on disk: `read` gives the values of x0, y0, x1, y1, [y, x] or [y, x, channel]."""

    width: int
    height: int
    read: Callable[[tuple[int, int, int, int]], np.ndarray]
    path: Path


@contextmanager
def open_mask(path: Path) -> Iterator[Drawn]:
    """The mask at `path`: a TIFF by tiles, of any size; a PNG or other picture whole, as far as OpenCV allows."""
    file = _tiff(path)
    if file is not None:
        with closing(file):
            at = file.levels[0]
            yield Drawn(at.width, at.height, lambda box: file.values(0, box), path)
        return
    values = read_values(path)
    height, width = values.shape[:2]
    yield Drawn(width, height, lambda box: values[box[1] : box[3], box[0] : box[2]], path)


def _tiff(path: Path) -> TiffReader | None:
    try:
        return TiffReader(path, left_out=0) if formats.is_tiff(path) else None
    except InputError:  # one bit a pixel, palettes: OpenCV reads them
        return None


def reduced(drawn: Drawn, shape: tuple[int, int]) -> Mask:
    """bool [y, x] of that shape over the same place: True where any pixel that a cell meets is drawn.

    A stroke thinner than a cell still keeps its window. InputError unless the values are 0 and 1, or 0 and 255.
    """
    out = np.zeros(shape, bool)
    for (x, y, x1, y1), mask in _blocks(drawn):
        rows, columns = _cells(y, y1, drawn.height, shape[0]), _cells(x, x1, drawn.width, shape[1])
        across = _any(mask, columns.starts, columns.ends)
        out[rows.cells, columns.cells] |= _any(across.T, rows.starts, rows.ends).T
    return out


def covered(drawn: Drawn, rows_px: np.ndarray, columns_px: np.ndarray) -> np.ndarray:
    """float64 [row, column]: how many of the mask's pixels are drawn inside each rectangle, parts of pixels counted.

    `rows_px` and `columns_px` are float [n, 2], where the rectangles of a row or column begin and end, in pixels of
    the mask; they rise from one to the next, may overlap, and may reach outside, where nothing is drawn.
    """
    out = np.zeros((len(rows_px), len(columns_px)))
    for (x, y, x1, y1), mask in _blocks(drawn):
        rows, columns = _meeting(rows_px, y, y1), _meeting(columns_px, x, x1)
        across = _lengths(mask.astype(np.float64), columns_px[columns] - x)
        out[rows, columns] += _lengths(across.T, rows_px[rows] - y).T
    return out


def _blocks(drawn: Drawn) -> Iterator[tuple[tuple[int, int, int, int], Mask]]:
    """Each block with something drawn: its x0, y0, x1, y1, and where."""
    tops: set[int] = set()
    for y in range(0, drawn.height, BLOCK_PX):
        for x in range(0, drawn.width, BLOCK_PX):
            box = (x, y, min(x + BLOCK_PX, drawn.width), min(y + BLOCK_PX, drawn.height))
            values = drawn.read(box)
            values = values if values.ndim == 2 else values[..., :3].max(axis=2)
            here = _tops(values)
            if not here:
                continue
            tops |= here
            if len(tops) > 1 or not tops <= {1, 255}:
                what = f"a mask holds 0 and 1, or 0 and 255; this one holds {' and '.join(map(str, sorted(tops)))}"
                mend = "threshold it and save it as PNG (JPEG blurs the edges)"
                raise InputError(what=what, where=str(drawn.path), mend=mend)
            yield box, values > 0


def _tops(values: np.ndarray) -> set[int]:
    """The values beside 0, or enough of them to tell that they are too many."""
    if not values.any():
        return set()
    found = {int(v) for v in (1, 255) if (values == v).any()}
    others = (values != 0) & (values != 1) & (values != 255)
    return found | {int(values[others].max())} if others.any() else found


@dataclass(frozen=True, slots=True)
class _Cells:
    cells: slice
    starts: np.ndarray
    ends: np.ndarray


def _cells(first: int, last: int, pixels: int, cells: int) -> _Cells:
    """The cells that the mask's pixels first..last meet along one axis, and from where to where in those."""
    low, high = first * cells // pixels, -(-last * cells // pixels)
    number = np.arange(low, high, dtype=np.int64)
    starts, ends = number * pixels // cells, -(-(number + 1) * pixels // cells)
    return _Cells(slice(low, high), np.maximum(starts, first) - first, np.minimum(ends, last) - first)


def _any(mask: Mask, starts: np.ndarray, ends: np.ndarray) -> Mask:
    """bool [y, cell]: whether any of the columns starts..ends is True; the ranges may share columns."""
    counts = np.zeros((mask.shape[0], mask.shape[1] + 1), np.int32)
    np.cumsum(mask, axis=1, out=counts[:, 1:])
    return counts[:, ends] > counts[:, starts]


def _meeting(spans_px: np.ndarray, first: int, last: int) -> slice:
    """The spans that share some of the pixels first..last."""
    return slice(
        int(np.searchsorted(spans_px[:, 1], first, "right")), int(np.searchsorted(spans_px[:, 0], last, "left"))
    )


def _lengths(counts: np.ndarray, spans: np.ndarray) -> np.ndarray:
    """float64 [y, span]: the sum of `counts` [y, x] along x from where each span begins to where it ends."""
    sums = np.zeros((counts.shape[0], counts.shape[1] + 1))
    np.cumsum(counts, axis=1, out=sums[:, 1:])
    edges = np.clip(spans, 0, counts.shape[1])
    low = np.minimum(edges.astype(np.intp), max(counts.shape[1] - 1, 0))
    at = sums[:, low] + (edges - low) * counts[:, low]
    return at[..., 1] - at[..., 0]
