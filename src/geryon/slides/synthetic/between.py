"""The cells between the glands, block by block."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from geryon.slides.synthetic.cells import KINDS, MYOCYTE, SHARES, SPINDLE, Cells, made
from geryon.slides.synthetic.glands import glands_of, groups_of
from geryon.slides.synthetic.layout import World, fibres, is_glass, tissue_at
from geryon.slides.synthetic.polygons import fill, spaced
from geryon.slides.synthetic.vessels import vessels_of

BLOCK_UM = 256.0
"""The cells of a block come from its own seed."""
SEEN_UM = 34.0
"""Around a block: what its cells keep clear of."""
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
    """The cells between the glands whose place is in the block."""
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
    if not len(near):
        return nothing
    clear, turn = _surroundings(world, row, column, near[:, :2])
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
    return made(near[keep, :2], axes[keep], angle[keep], kind[keep], rng)


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


def _surroundings(world: World, row: int, column: int, xy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At each point: µm to the nearest gland, and the angle of the fibres."""
    x = np.arange(column * BLOCK_UM - SEEN_UM, (column + 1) * BLOCK_UM + SEEN_UM) + 0.5
    y = np.arange(row * BLOCK_UM - SEEN_UM, (row + 1) * BLOCK_UM + SEEN_UM) + 0.5
    box = (float(x[0]), float(y[0]), float(x[-1]), float(y[-1]))
    outlines = [gland.outline for at in groups_of(*box) for gland in glands_of(world, *at)]
    filled = fill(np.zeros((len(y), len(x)), np.uint8), outlines, np.ones(len(outlines)), x_px=x, y_px=y)
    distance = clearance(filled)
    _, across = fibres(world, x, y, distance)
    vessels = [vessel.outline for vessel in vessels_of(world, *box)]
    distance = clearance(fill(filled, vessels, np.ones(len(vessels)), x_px=x, y_px=y))
    down, right = np.gradient(across)
    i, j = (xy[:, 1] - y[0]).round().astype(int), (xy[:, 0] - x[0]).round().astype(int)
    return distance[i, j], np.arctan2(down[i, j], right[i, j]) + np.pi / 2


def clearance(filled: np.ndarray) -> np.ndarray:
    """float32 [y, x]: pixels to the nearest filled one, 0 inside; far off where nothing is filled."""
    if not filled.any():
        return np.full(filled.shape, 1e4, np.float32)
    return cv2.distanceTransform((filled == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
