"""Cells between the glands, and how every kind of nucleus looks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from geryon.slides.synthetic.layout import (
    ADIPOSE,
    BACKGROUND,
    DEBRIS,
    LYMPHOCYTES,
    MUCUS,
    MUSCLE,
    NORMAL,
    STROMA,
    TUMOUR,
    World,
    fibres,
    is_glass,
    tissue_at,
)  # fmt: skip
from geryon.slides.synthetic.polygons import fill, ovals, spaced

BLOCK_UM = 256.0
"""The cells of a block come from its own seed."""
SEEN_UM = 34.0
"""Around a block: what its cells keep clear of."""
PITCH_UM = 5.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of nucleus and its cell; lengths in µm."""

    name: str
    """The class in the truth."""
    a: tuple[float, float]
    """Mean and spread of the half length, µm; 0 where the gland says it."""
    thin: tuple[float, float]
    """Least and greatest ratio of half width to half length."""
    haematoxylin: tuple[float, float]
    """Least and greatest optical density of its chromatin."""
    clump: float
    """How coarse the chromatin is, 0..1."""
    vesicle: float
    """How much paler the middle is than the rim, 0..1."""
    wobble: tuple[float, float] = (0.05, 0.04)
    bend: float = 0.0
    cytoplasm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Size over the nucleus' (0: none to see), eosin, haematoxylin."""


KINDS = (
    Kind(name="epithelial", a=(0, 0), thin=(0, 0), haematoxylin=(0.75, 1.05), clump=0.35, vesicle=0.18),
    Kind(name="epithelial", a=(0, 0), thin=(0, 0), haematoxylin=(0.75, 1.35), clump=0.65, vesicle=0.42),
    Kind(name="lymphocyte", a=(3.1, 0.3), thin=(0.84, 1.0), haematoxylin=(1.2, 1.65), clump=0.35, vesicle=0.05,
         cytoplasm=(1.25, 0.16, 0.18)),
    Kind(name="plasma", a=(3.3, 0.3), thin=(0.78, 0.98), haematoxylin=(1.1, 1.5), clump=0.6, vesicle=0.12,
         cytoplasm=(1.95, 0.30, 0.36)),
    Kind(name="eosinophil", a=(3.2, 0.25), thin=(0.62, 0.8), haematoxylin=(1.0, 1.4), clump=0.25, vesicle=0.0,
         wobble=(0.16, 0.05), bend=0.5, cytoplasm=(1.8, 1.15, 0.02)),
    Kind(name="neutrophil", a=(2.9, 0.25), thin=(0.8, 1.0), haematoxylin=(1.2, 1.6), clump=0.15, vesicle=0.0,
         wobble=(0.08, 0.30), cytoplasm=(1.6, 0.22, 0.03)),
    Kind(name="connective", a=(7.0, 1.7), thin=(0.20, 0.36), haematoxylin=(0.75, 1.25), clump=0.35, vesicle=0.12,
         wobble=(0.03, 0.05), bend=0.5),
    Kind(name="connective", a=(8.3, 1.5), thin=(0.17, 0.27), haematoxylin=(0.65, 1.0), clump=0.25, vesicle=0.12,
         wobble=(0.02, 0.02), bend=0.35),
    Kind(name="other", a=(2.2, 0.5), thin=(0.7, 1.0), haematoxylin=(1.4, 1.9), clump=0.1, vesicle=0.0,
         wobble=(0.10, 0.10), cytoplasm=(1.6, 0.55, 0.05)),
)  # fmt: skip
BENIGN, MALIGNANT, LYMPHOCYTE, PLASMA, EOSINOPHIL, NEUTROPHIL, SPINDLE, MYOCYTE, DEAD = range(9)
SHARES: dict[int, tuple[tuple[int, float], ...]] = {
    ADIPOSE: ((SPINDLE, 0.012),),
    BACKGROUND: (),
    DEBRIS: ((DEAD, 0.10), (NEUTROPHIL, 0.07), (LYMPHOCYTE, 0.02)),
    LYMPHOCYTES: ((LYMPHOCYTE, 0.93), (PLASMA, 0.02), (SPINDLE, 0.015)),
    MUCUS: ((DEAD, 0.004), (LYMPHOCYTE, 0.006), (NEUTROPHIL, 0.004)),
    MUSCLE: ((MYOCYTE, 0.075), (LYMPHOCYTE, 0.003)),
    NORMAL: ((LYMPHOCYTE, 0.16), (PLASMA, 0.11), (EOSINOPHIL, 0.025), (NEUTROPHIL, 0.008), (SPINDLE, 0.09)),
    STROMA: ((SPINDLE, 0.10), (LYMPHOCYTE, 0.022), (PLASMA, 0.010), (EOSINOPHIL, 0.003)),
    TUMOUR: ((SPINDLE, 0.13), (LYMPHOCYTE, 0.06), (PLASMA, 0.02), (NEUTROPHIL, 0.015), (EOSINOPHIL, 0.008), (DEAD, 0.006)),
}  # fmt: skip
"""How many of the places on the lattice try to hold which kind, by tissue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """n nuclei; positions µm."""

    xy: np.ndarray
    kind: np.ndarray
    """int64 [n]: number in KINDS"""
    outline: np.ndarray
    """float64 [n, corner, 2]"""
    density: np.ndarray
    """float64 [n]: optical density of the chromatin"""
    around: np.ndarray
    """float64 [n, corner, 2]: outline of the cell body; empty (a point) where none is to be seen"""

    def __len__(self) -> int:
        return len(self.xy)


def made(xy: np.ndarray, axes: np.ndarray, angle: np.ndarray, kind: np.ndarray, rng: np.random.Generator) -> Cells:
    """Nuclei of those places, half axes and kinds, each with an outline of its own."""
    n = len(xy)
    wobble = np.array([k.wobble for k in KINDS])[kind] * rng.uniform(0.4, 1.0, (n, 2))
    bend = np.array([k.bend for k in KINDS])[kind] * rng.uniform(-1, 1, n)
    outline = ovals(xy, axes, angle, wobble, rng.uniform(0, 2 * np.pi, (n, 2)), bend)
    low, high = np.array([k.haematoxylin for k in KINDS])[kind].T
    size = np.array([k.cytoplasm[0] for k in KINDS])[kind]
    turn = rng.uniform(0, 2 * np.pi, n)
    off = np.where(kind == PLASMA, 0.55, 0.25)[:, None] * axes[:, 1:] * (size > 0)[:, None]
    centre = xy + off * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    body = ovals(
        centre, axes[:, 1:] * size[:, None] * [[1.12, 1.0]], turn, wobble * 0.5, turn[:, None] * [[1, 2]], bend * 0
    )
    return Cells(xy=xy, kind=kind, outline=outline, density=rng.uniform(low, high), around=body)


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
def cells_of(world: World, row: int, column: int) -> Cells:
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
    keep = fits[spaced(near[fits, 0], near[fits, 1], axes[fits, 0], axes[fits, 1], angle[fits], 1.0)]
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
    from geryon.slides.synthetic.glands import glands_of, groups_of

    x = np.arange(column * BLOCK_UM - SEEN_UM, (column + 1) * BLOCK_UM + SEEN_UM) + 0.5
    y = np.arange(row * BLOCK_UM - SEEN_UM, (row + 1) * BLOCK_UM + SEEN_UM) + 0.5
    groups = groups_of(x[0], y[0], x[-1], y[-1])
    outlines = [gland.outline for at in groups for gland in glands_of(world, *at)]
    filled = fill(np.zeros((len(y), len(x)), np.uint8), outlines, np.ones(len(outlines)), x_px=x, y_px=y)
    distance = clearance(filled)
    _, across = fibres(world, x, y, distance)
    down, right = np.gradient(across)
    i, j = (xy[:, 1] - y[0]).round().astype(int), (xy[:, 0] - x[0]).round().astype(int)
    return distance[i, j], np.arctan2(down[i, j], right[i, j]) + np.pi / 2


def clearance(filled: np.ndarray) -> np.ndarray:
    """float32 [y, x]: pixels to the nearest filled one, 0 inside; far off where nothing is filled."""
    if not filled.any():
        return np.full(filled.shape, 1e4, np.float32)
    return cv2.distanceTransform((filled == 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
