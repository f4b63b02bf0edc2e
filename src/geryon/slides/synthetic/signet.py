"""Signet ring cells: a vacuole of mucin that pushes the nucleus to the rim as a crescent, alone and in nests.

Sizes and looks after the positives of DigestPath 2019 (Da et al., Medical Image Analysis 80, 2022): finely granular,
grey to lilac vacuoles, dark crescents, nests in dense cytoplasm. The cells of a block stay inside it, so that blocks
need not know one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from geryon.slides.synthetic.cells import MALIGNANT, Cells
from geryon.slides.synthetic.layout import MUCUS, MUSCLE, NORMAL, STROMA, TUMOUR, World, is_glass, tissue_at
from geryon.slides.synthetic.polygons import CORNERS, ovals, spaced
from geryon.slides.synthetic.surroundings import BLOCK_UM, surroundings

RADIUS_UM = (7.0, 14.0)
"""Least and greatest half length."""
WHERE = (MUCUS, MUSCLE, NORMAL, STROMA, TUMOUR)
NESTS, NEST_CELLS, NEST_UM = 3, 20, 14.0
"""Nests that a block may have, places that a nest tries, and how far these stray from its middle."""
SINGLES = 12
EDGE_UM = 15.0
"""Cells keep this far inside their block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signets:
    """n signet ring cells; positions µm."""

    xy: np.ndarray
    reach: np.ndarray
    """float64 [n]: half length"""
    outline: np.ndarray
    """float64 [n, corner, 2]: of the whole cell"""
    vacuole: np.ndarray
    """float64 [n, corner, 2]"""
    dense: np.ndarray
    """float64 [n, corner, 2]: the dense cytoplasm around it, of other cells that are cut at their edge"""
    tint: np.ndarray
    """float64 [n] in 0..1: from clear mucin to granular lilac"""
    nuclei: Cells


@lru_cache(maxsize=2048)
def signets_of(world: World, row: int, column: int) -> Signets:
    """The signet ring cells of a block; none where the world has none."""
    rng = np.random.default_rng([world.seed, 45, row + 8, column + 8])
    corner = np.array([column, row]) * BLOCK_UM
    if world.signet <= 0 or is_glass(world, *corner, *(corner + BLOCK_UM)):
        return _made(np.zeros((0, 2)), np.zeros((0, 2)), rng)
    xy = np.clip(_places(world.signet, rng), EDGE_UM, BLOCK_UM - EDGE_UM) + corner
    a = rng.uniform(*RADIUS_UM, len(xy))
    axes = np.stack([a, a * rng.uniform(0.72, 1.0, len(xy))], axis=1)
    clear, _ = surroundings(world, row, column, xy)
    fits = np.flatnonzero((clear > a + 1.0) & np.isin(tissue_at(world, *xy.T), WHERE))
    angle = rng.uniform(0, np.pi, len(xy))
    kept = fits[spaced(xy[fits, 0], xy[fits, 1], axes[fits, 0], axes[fits, 1], angle[fits], 1.0)]
    return _made(xy[kept], axes[kept], rng)


def _places(share: float, rng: np.random.Generator) -> np.ndarray:
    """float64 [n, 2]: where cells try to be, from the block's corner; nests come first."""
    middles = rng.uniform(50.0, BLOCK_UM - 50.0, (NESTS, 2))[rng.random(NESTS) < share]
    nests = [middle + rng.normal(0.0, NEST_UM, (NEST_CELLS, 2)) for middle in middles]
    return np.concatenate([*nests, rng.uniform(0.0, BLOCK_UM, (SINGLES, 2))[rng.random(SINGLES) < share]])


def _made(xy: np.ndarray, axes: np.ndarray, rng: np.random.Generator) -> Signets:
    n = len(xy)
    angle, phase = rng.uniform(0, 2 * np.pi, n), rng.uniform(0, 2 * np.pi, (n, 2))
    wobble = rng.uniform(0.0, 1.0, (n, 2)) * [[0.07, 0.05]]
    outline = ovals(xy, axes, angle, wobble, phase, bend=np.zeros(n))
    side = rng.uniform(0, 2 * np.pi, n)
    rim = rng.uniform(0.5, 1.6, (n, 1))
    shift = (rim * 0.6) * np.stack([np.cos(side + angle), np.sin(side + angle)], axis=1)
    vacuole = ovals(xy - shift, axes - rim, angle, wobble, phase, bend=np.zeros(n))
    more = np.where(rng.random((n, 1)) < 0.6, rng.uniform(1.5, 5.0, (n, 1)), 0.0)
    dense = ovals(xy + rng.normal(0, 0.35, (n, 2)) * more, axes + more, angle, wobble, phase, bend=np.zeros(n))
    crescent = _crescents(xy, axes, angle, side, rng)
    nuclei = Cells(
        xy=crescent.mean(axis=1),
        kind=np.full(n, MALIGNANT),
        outline=crescent,
        density=rng.uniform(0.95, 1.35, n),
        around=np.repeat(xy[:, None, :], CORNERS, axis=1),
    )
    return Signets(
        xy=xy,
        reach=axes[:, 0],
        outline=outline,
        vacuole=vacuole,
        dense=dense,
        tint=rng.uniform(0, 1, n),
        nuclei=nuclei,
    )


def _crescents(
    xy: np.ndarray, axes: np.ndarray, angle: np.ndarray, side: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """float64 [n, CORNERS, 2]: along the rim at `side` (as the oval turns), thick in the middle, thin at the ends."""
    half = rng.uniform(0.38, 0.80, (len(xy), 1))
    thick = rng.uniform(0.28, 0.60, (len(xy), 1)) * (1.15 - 0.6 * half)
    s = np.linspace(-1.0, 1.0, CORNERS // 2)
    outer = np.full((len(xy), CORNERS // 2), 0.97)
    inner = 0.97 - thick * np.sqrt(np.clip(1.0 - s * s, 0.03, 1.0))[None, :]
    r = np.concatenate([outer, inner[:, ::-1]], axis=1)
    t = side[:, None] + half * np.concatenate([s, s[::-1]])[None, :]
    u, v = r * np.cos(t) * axes[:, :1], r * np.sin(t) * axes[:, 1:]
    c, d = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.stack([u * c - v * d, u * d + v * c], axis=2) + xy[:, None, :]


def clear_of(world: World, row: int, column: int, xy: np.ndarray) -> np.ndarray:
    """float64 [n]: µm from each point near the block to the nearest signet ring cell, as if those were round."""
    near = [signets_of(world, row + dr, column + dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1)]
    at, reach = np.concatenate([s.xy for s in near]), np.concatenate([s.reach for s in near])
    if not len(at):
        return np.full(len(xy), np.inf)
    away = np.hypot(*(xy[:, None, :] - at[None, :, :]).transpose(2, 0, 1))
    return (away - reach).min(axis=1)
