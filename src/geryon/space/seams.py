"""How regions cut by tiles become whole: exactly, so that cutting changes nothing.

A region's parts are linked through its cores (see tasks.regions): two tiles that share an edge both
number the core pixels in a band along it, so equal pixels carry both numbers. Linking all such pairs
gives the components that one pass over the whole slide would give.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import find_objects

from geryon.space.boxes import Box, Frame

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
    if both.any():
        for pair in np.unique(a[both].astype(np.int64) << 32 | b[both]):
            links.join((first[0], int(pair >> 32)), (second[0], int(pair & 0xFFFFFFFF)))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Piece:
    """What lies of one region in one tile."""

    frame: Frame
    x: int
    y: int
    """Of the mask's corner, in the frame."""
    mask: np.ndarray
    place: np.ndarray
    sums: np.ndarray


class Gathering:
    """Puts the regions of several parts together while their tiles pass by, each tile once.

    Held are the masks of the regions that wait for a part.
    """

    def __init__(self, groups: Mapping[Part, Sequence[Part]]) -> None:
        self._root = {part: root for root, parts in groups.items() for part in parts}
        self._awaited = {root: len(parts) for root, parts in groups.items()}
        self._pieces: dict[Part, list[_Piece]] = {}

    def single(self, cell: Cell, fragments: Fragments) -> np.ndarray:
        """bool [n]: the fragments of a tile that are whole regions."""
        return np.array([(cell, n + 1) not in self._root for n in range(len(fragments.place))], bool)

    def add(self, cell: Cell, fragments: Fragments) -> Iterator[Region]:
        """The regions of which this tile holds the last part."""
        if not any((cell, n + 1) in self._root for n in range(len(fragments.place))):
            return
        boxes = find_objects(fragments.labels, len(fragments.place))
        for n in range(1, len(fragments.place) + 1):
            root = self._root.get((cell, n))
            if root is None:
                continue
            if fragments.place[n - 1, 0] > 0:
                self._pieces.setdefault(root, []).append(_piece(fragments, n, boxes[n - 1]))
            self._awaited[root] -= 1
            if not self._awaited[root] and root in self._pieces:
                yield _whole(self._pieces.pop(root))


def _piece(fragments: Fragments, number: int, at: tuple[slice, slice]) -> _Piece:
    x, y = round(fragments.core.xmin), round(fragments.core.ymin)
    count, sx, sy = fragments.place[number - 1]
    return _Piece(
        frame=fragments.core.frame,
        x=x + at[1].start,
        y=y + at[0].start,
        mask=fragments.labels[at] == number,
        place=np.array([count, sx + count * x, sy + count * y]),
        sums=fragments.sums[number - 1],
    )


def _whole(pieces: list[_Piece]) -> Region:
    x0, y0 = min(p.x for p in pieces), min(p.y for p in pieces)
    x1, y1 = max(p.x + p.mask.shape[1] for p in pieces), max(p.y + p.mask.shape[0] for p in pieces)
    mask = np.zeros((y1 - y0, x1 - x0), bool)
    for p in pieces:
        rows, columns = p.mask.shape
        mask[p.y - y0 : p.y - y0 + rows, p.x - x0 : p.x - x0 + columns] |= p.mask
    place, sums = (np.sum([getattr(p, name) for p in pieces], axis=0) for name in ("place", "sums"))
    return Region(box=Box(pieces[0].frame, x0, y0, x1, y1), mask=mask, place=place, sums=sums)
