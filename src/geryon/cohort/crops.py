"""Which part of a volume a network sees: random crops to learn from, spread ones to answer from, samples of a bag.

What is drawn depends on the volume's mask and the generator alone, not on whether the volume is in memory.
"""

from __future__ import annotations

import numpy as np

from geryon.cohort.volumes import Cells, checked
from geryon.space.arrays import Mask
from geryon.space.centres import distance_map
from geryon.space.turns import TURNS, turned
from geryon.store.tables import hilbert

BLOCK = 16
"""Side of the squares of cells that a sample of a large bag is made of: few chunks are read, and many places seen."""

Corner = tuple[int, int]
"""Row and column of a crop's first cell, which may lie outside."""
Seen = tuple[np.ndarray, Mask]
"""Codes float32 [row, column, code] and where there is tissue, bool [row, column]."""


def drawn_corner(tissue: Mask, side: int, rng: np.random.Generator) -> Corner:
    """A crop whose centre is drawn by the distance map; it stays within the slide where that is larger than the crop,
    and holds the whole of it, anywhere in the crop, where it is smaller."""
    weights = distance_map(tissue).ravel()
    row, column = divmod(int(rng.choice(weights.size, p=weights)), tissue.shape[1])
    return _drawn(row, side, tissue.shape[0], rng), _drawn(column, side, tissue.shape[1], rng)


def _drawn(centre: int, side: int, length: int, rng: np.random.Generator) -> int:
    return _first(centre, side, length) if length > side else int(rng.integers(length - side, 1))


def _first(centre: int, side: int, length: int) -> int:
    """The first cell of a crop around a centre, moved inside; a slide that is smaller lies in the middle."""
    return min(max(centre - side // 2, 0), length - side) if length > side else -((side - length) // 2)


def spread_corners(tissue: Mask, side: int, n: int) -> list[Corner]:
    """At most n crops spread over the tissue, always the same, none twice.

    Cells are put in Hilbert order; centres are at even shares of the sum of their weights (distance_map).
    """
    rows, columns = np.nonzero(tissue)
    weights = distance_map(tissue)[rows, columns]
    order = np.argsort(hilbert(columns, rows, max(1, int(max(tissue.shape)).bit_length())), kind="stable")
    along = np.cumsum(weights[order])
    at = order[np.searchsorted(along, (np.arange(n) + 0.5) / n * along[-1])]
    corners = [
        (_first(int(rows[k]), side, tissue.shape[0]), _first(int(columns[k]), side, tissue.shape[1])) for k in at
    ]
    return list(dict.fromkeys(corners))


def crop(cells: Cells, corner: Corner, side: int, turn: int) -> Seen:
    """One crop, turned; codes of turned patches where the volume holds them."""
    codes = checked(cells.crop(*corner, side, side, turn), cells.path)
    return codes, cells.crop_tissue(*corner, side, side, turn)


def all_turns(cells: Cells, corner: Corner, side: int, has_turns: bool) -> list[Seen]:
    """One crop in all eight turns; it is read once where the volume has one code a cell."""
    if has_turns:
        return [crop(cells, corner, side, turn) for turn in range(TURNS)]
    codes, tissue = crop(cells, corner, side, 0)
    return [(turned(codes, turn), turned(tissue, turn)) for turn in range(TURNS)]


def sampled_bag(cells: Cells, most: int, rng: np.random.Generator, turn: int = 0) -> np.ndarray:
    """float32 [n, code]: the whole bag where it has at most that many cells, else cells of squares drawn at random."""
    tissue = cells.tissue
    if int(tissue.sum()) <= most:
        return checked(np.concatenate([codes for codes, _ in cells.strips(turn)]), cells.path)
    counts = _in_blocks(tissue)
    order = rng.permutation(np.flatnonzero(counts))
    enough = int(np.searchsorted(np.cumsum(counts.ravel()[order]), most)) + 1
    found = []
    for block in order[:enough]:
        row, column = (BLOCK * int(k) for k in divmod(int(block), counts.shape[1]))
        codes, there = crop(cells, (row, column), BLOCK, turn)
        found.append(codes[there])
    return np.concatenate(found)[rng.permutation(sum(map(len, found)))[:most]]


def _in_blocks(tissue: Mask) -> np.ndarray:
    """int64 [block row, block column]: cells with tissue in each square."""
    rows, columns = (-(-n // BLOCK) for n in tissue.shape)
    padded = np.zeros((rows * BLOCK, columns * BLOCK), np.int64)
    padded[: tissue.shape[0], : tissue.shape[1]] = tissue
    counts: np.ndarray = padded.reshape(rows, BLOCK, columns, BLOCK).sum((1, 3))
    return counts
