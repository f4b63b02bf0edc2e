"""The cells between the glands, block by block."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from geryon.slides.synthetic.cells import KINDS, MYOCYTE, SHARES, SPINDLE, Cells, joined, made
from geryon.slides.synthetic.layout import World, is_glass, tissue_at
from geryon.slides.synthetic.polygons import spaced
from geryon.slides.synthetic.signet import clear_of, signets_of
from geryon.slides.synthetic.surroundings import BLOCK_UM, surroundings

PITCH_UM = 4.85


@lru_cache(maxsize=2048)
def _tries(world: World, row: int, column: int) -> np.ndarray:
    """float64 [n, 7]: x, y and five uniform numbers of each place in a block where a cell may try to be."""
    rng = np.random.default_rng([world.seed, 41, row + 8, column + 8])
    side = int(BLOCK_UM / PITCH_UM)
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=2).reshape(-1, 2)
    xy = (grid + rng.uniform(0.0, 1.0, grid.shape)) * (BLOCK_UM / side) + np.array([column, row]) * BLOCK_UM
    order = rng.permutation(len(xy))
    return np.concatenate([xy, rng.random((len(xy), 5))], axis=1)[order]


@lru_cache(maxsize=512)
def cells_between(world: World, row: int, column: int) -> Cells:
    """The cells between the glands whose place is in the block; nuclei of signet ring cells come last."""
    x0, y0 = column * BLOCK_UM, row * BLOCK_UM
    x1, y1 = x0 + BLOCK_UM, y0 + BLOCK_UM
    rng = np.random.default_rng([world.seed, 42, row + 8, column + 8])
    nothing = made(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), np.zeros(0, np.int64), rng)
    if is_glass(world, x0 - 20, y0 - 20, x1 + 20, y1 + 20):
        return nothing
    near = np.concatenate([_tries(world, row + dr, column + dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1)])
    near = near[(near[:, 0] > x0 - 14) & (near[:, 0] < x1 + 14) & (near[:, 1] > y0 - 14) & (near[:, 1] < y1 + 14)]
    near = near[np.argsort(near[:, 6], kind="stable")]
    kind = _chosen(tissue_at(world, near[:, 0], near[:, 1]), near[:, 2])
    near, kind = near[kind >= 0], kind[kind >= 0]
    signets = signets_of(world, row, column).nuclei
    if not len(near):
        return signets
    clear, turn = surroundings(world, row, column, near[:, :2])
    if world.signet:
        clear = np.minimum(clear, clear_of(world, row, column, near[:, :2]))
    mean, spread = np.array([k.a for k in KINDS])[kind].T
    a = mean + spread * 3.4 * (near[:, 3] - 0.5)
    thin = np.array([k.thin for k in KINDS])[kind]
    axes = np.stack([a, a * (thin[:, 0] + (thin[:, 1] - thin[:, 0]) * near[:, 4])], axis=1)
    is_long = (kind == SPINDLE) | (kind == MYOCYTE)
    angle = np.where(is_long, turn + 0.5 * (near[:, 5] - 0.5), 2 * np.pi * near[:, 5])
    body = np.where(is_long, axes[:, 1] + 0.25 * axes[:, 0], axes[:, 0])
    fits = np.flatnonzero(clear > body + 0.5)
    keep = fits[spaced(near[fits, 0], near[fits, 1], axes[fits, 0], axes[fits, 1], angle[fits], 0.96)]
    keep = keep[_inside(near[keep], x0, y0, x1, y1)]
    cells = made(near[keep, :2], axes[keep], angle[keep], kind[keep], rng)
    return joined(cells, signets) if len(signets) else cells


def _inside(at: np.ndarray, x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return (at[:, 0] >= x0) & (at[:, 0] < x1) & (at[:, 1] >= y0) & (at[:, 1] < y1)


def _chosen(tissue: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """int64 [n]: number in KINDS, -1 where the place stays empty."""
    kind = np.full(len(tissue), -1)
    for number, shares in SHARES.items():
        at = 0.0
        for k, share in shares:
            kind[(tissue == number) & (chance >= at) & (chance < at + share)] = k
            at += share
    return kind
