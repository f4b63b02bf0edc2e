"""How regions cut by tiles become whole: exactly, so that cutting changes nothing.

A region's parts are linked through its cores (see tasks.regions): two tiles that share an edge both
number the core pixels in a band along it, so equal pixels carry both numbers. Linking all such pairs
gives the components that one pass over the whole slide would give.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from geryon.space.boxes import Box

LINK_PX = 6
"""Width of the band along a tile's edges: a core takes back at most that many pixels of rim."""

Cell = tuple[int, int]
Part = tuple[Cell, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragments:
    """What lies of n regions in one tile, in task pixels."""

    core: Box
    """The tile."""
    labels: np.ndarray
    """int32 [y, x] over the core: 1..n."""
    band: np.ndarray
    """int32 [y, x] over the core grown by LINK_PX: numbers of the cores of regions."""
    place: np.ndarray
    """int64 [n, 3]: pixels of the fragment in the core, sums of their x and y."""
    sums: np.ndarray
    """int64 [n, channel]: sums of the maps' values over these pixels."""


@dataclass(slots=True)
class Links:
    """Which fragments are one region: a forest with the oldest part of each region as its root."""

    root: dict[Part, Part]

    def find(self, part: Part) -> Part:
        top = part
        while (above := self.root.get(top, top)) != top:
            top = above
        while part != top:
            self.root[part], part = top, self.root.get(part, part)
        return top

    def join(self, a: Part, b: Part) -> None:
        first, second = sorted((self.find(a), self.find(b)))
        self.root.setdefault(first, first)
        self.root[second] = first

    def groups(self) -> dict[Part, list[Part]]:
        """Root -> all its parts in order, for the regions that have more than one part."""
        out: dict[Part, list[Part]] = {}
        for part in sorted(self.root):
            out.setdefault(self.find(part), []).append(part)
        return out


def link(cells: Iterable[tuple[Cell, np.ndarray]]) -> Links:
    """Links between the fragments of all tiles; takes (row, column) and `band`, row by row.

    Only two rows of bands' edges are held at a time.
    """
    links = Links({})
    rows: dict[int, dict[int, dict[str, np.ndarray]]] = {}
    for (row, column), band in cells:
        rows = {r: v for r, v in rows.items() if r >= row - 1}
        sides = _sides(band)
        left = rows.get(row, {}).get(column - 1)
        above = rows.get(row - 1, {}).get(column)
        if left is not None:
            _join_equal(links, ((row, column - 1), left["right"]), ((row, column), sides["left"]))
        if above is not None:
            _join_equal(links, ((row - 1, column), above["bottom"]), ((row, column), sides["top"]))
        for other_row, other_column in ((row - 1, column - 1), (row - 1, column + 1)):
            _join_corner(links, rows, (other_row, other_column), (row, column), sides)
        rows.setdefault(row, {})[column] = sides
    return links


def _sides(band: np.ndarray) -> dict[str, np.ndarray]:
    w = 2 * LINK_PX
    return {
        "top": band[:w].copy(),
        "bottom": band[-w:].copy(),
        "left": band[:, :w].copy(),
        "right": band[:, -w:].copy(),
    }


def _join_equal(links: Links, first: tuple[Cell, np.ndarray], second: tuple[Cell, np.ndarray]) -> None:
    a, b = first[1], second[1]
    both = (a > 0) & (b > 0)
    for x, y in np.unique(np.stack([a[both], b[both]], axis=1), axis=0):
        links.join((first[0], int(x)), (second[0], int(y)))


def _join_corner(links: Links, rows: dict, other: Cell, cell: Cell, sides: Mapping[str, np.ndarray]) -> None:
    theirs = rows.get(other[0], {}).get(other[1])
    if theirs is None:
        return
    w = 2 * LINK_PX
    if other[1] < cell[1]:
        _join_equal(links, (other, theirs["bottom"][:, -w:]), (cell, sides["top"][:, :w]))
    else:
        _join_equal(links, (other, theirs["bottom"][:, :w]), (cell, sides["top"][:, -w:]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """One whole region: its mask and sums."""

    box: Box
    mask: np.ndarray
    """bool [y, x] over the box."""
    place: np.ndarray
    """int64 [3]: pixels, sums of x and y, counted from the frame's origin."""
    sums: np.ndarray
    """int64 [channel]"""


def whole_regions(fragments_of: Mapping[Cell, Fragments] | object, groups: Iterable[list[Part]]) -> Iterator[Region]:
    """The regions that have several parts, one at a time; `fragments_of[cell]` gives a tile's fragments."""
    for parts in groups:
        pieces = [(fragments_of[cell], number) for cell, number in parts]  # type: ignore[index]
        pieces = [(f, n) for f, n in pieces if f.place[n - 1, 0] > 0]
        if pieces:
            yield _whole(pieces)


def _whole(pieces: list[tuple[Fragments, int]]) -> Region:
    boxes = [_bounds(f, n) for f, n in pieces]
    x0, y0 = min(b[0] for b in boxes), min(b[1] for b in boxes)
    x1, y1 = max(b[2] for b in boxes), max(b[3] for b in boxes)
    mask = np.zeros((y1 - y0, x1 - x0), bool)
    place = np.zeros(3, np.int64)
    for (f, n), (bx0, by0, bx1, by1) in zip(pieces, boxes, strict=True):
        cx, cy = round(f.core.xmin), round(f.core.ymin)
        mask[by0 - y0 : by1 - y0, bx0 - x0 : bx1 - x0] |= f.labels[by0 - cy : by1 - cy, bx0 - cx : bx1 - cx] == n
        count, sx, sy = f.place[n - 1]
        place += (count, sx + count * cx, sy + count * cy)
    total = np.sum([f.sums[n - 1] for f, n in pieces], axis=0)
    return Region(box=Box(pieces[0][0].core.frame, x0, y0, x1, y1), mask=mask, place=place, sums=total)


def _bounds(f: Fragments, number: int) -> tuple[int, int, int, int]:
    mask = f.labels == number
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = round(f.core.xmin), round(f.core.ymin)
    return x + int(columns[0]), y + int(rows[0]), x + int(columns[-1]) + 1, y + int(rows[-1]) + 1
