"""How well a map of evidence agrees with what is truly there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from geryon.errors import UsageError
from geryon.slides.synthetic import SyntheticSlide
from geryon.slides.synthetic.measured import lesion_raster
from geryon.space.arrays import Mask
from geryon.space.grid import Grid

LEAST_CELLS = 4
"""Smaller regions are dropped and smaller holes filled."""
CANDIDATES = 100
"""Thresholds that are tried: quantiles of the maps' values."""
FINE = 8
"""Points along a cell's side at which the truth is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One map against its truth."""

    jaccard: float
    """Cells in both over cells in either, of cells with tissue; NaN where nothing is true."""
    hit: bool | None
    """Pointing game (Zhang et al., ECCV 2016), without tolerance: is the highest cell a true one? None where nothing
    is true."""
    true_share: float
    """Of the tissue: how often a blind guess hits."""
    found_share: float
    """Of the tissue, what the map says."""


def score(values: np.ndarray, truth: Mask, threshold: float) -> Agreement:
    """The agreement of a map (float [row, column], NaN without tissue) with its truth (bool, alike).

    The map's `region` above the threshold is compared, so the threshold is of smoothed maps: `best_threshold` of slides
    that are not scored here.
    """
    tissue = np.isfinite(values)
    true, found = truth & tissue, region(values, threshold)
    smooth = smoothed(values)
    share = float(found.sum() / max(tissue.sum(), 1))
    if not true.any():
        return Agreement(jaccard=float("nan"), hit=None, true_share=0.0, found_share=share)
    top = np.unravel_index(np.nanargmax(smooth), smooth.shape)
    return Agreement(
        jaccard=_jaccard(found, true),
        hit=bool(true[top]),
        true_share=float(true.sum() / tissue.sum()),
        found_share=share,
    )


def best_threshold(maps: Sequence[np.ndarray], truths: Sequence[Mask]) -> float:
    """The threshold with the highest mean Jaccard over the slides that have a truth; UsageError where none has."""
    pairs = [(smoothed(m), m, t & np.isfinite(m)) for m, t in zip(maps, truths, strict=True)]
    pairs = [pair for pair in pairs if pair[2].any()]
    if not pairs:
        raise UsageError(what="a threshold can't be chosen: no slide has anything true", mend="give some that have")
    values = np.concatenate([smooth[np.isfinite(smooth)] for smooth, *_ in pairs])
    tried = np.unique(np.quantile(values, np.linspace(0, 1, CANDIDATES + 2)[1:-1]))
    means = [np.mean([_jaccard(region(m, t), true) for _, m, true in pairs]) for t in tried]
    return float(tried[int(np.argmax(means))])


def region(values: np.ndarray, threshold: float) -> Mask:
    """The simple clean-up: the map `smoothed`, cells above the threshold, without regions (touching by sides) and
    holes of fewer than LEAST_CELLS cells."""
    tissue = np.isfinite(values)
    above = np.zeros(values.shape, bool)
    above[tissue] = smoothed(values)[tissue] > threshold
    above = _without_small(above)
    return ~_without_small(~above) & tissue


def smoothed(values: np.ndarray) -> np.ndarray:
    """The mean over 3 x 3 cells, as far as they have tissue; NaN where there is none."""
    tissue = np.isfinite(values)
    sums, counts = (
        cv2.blur(each.astype(np.float64), (3, 3), borderType=cv2.BORDER_CONSTANT)
        for each in (np.where(tissue, values, 0.0), tissue)
    )
    return np.where(tissue, sums / np.maximum(counts, 1e-9), np.nan)


def otsu(values: np.ndarray) -> float:
    """Otsu's threshold (IEEE Trans. SMC 9, 1979) of a smoothed map, for slides whose truth is unknown."""
    smooth = smoothed(values)
    known = smooth[np.isfinite(smooth)]
    low, high = (float(f(known)) for f in (np.min, np.max)) if known.size else (0.0, 0.0)
    if low == high:
        return high
    scaled = np.round((known - low) / (high - low) * 255).astype(np.uint8).reshape(-1, 1)
    at, _ = cv2.threshold(scaled, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return low + (float(at) + 0.5) / 255 * (high - low)


def lesion_cells(slide: SyntheticSlide, grid: Grid) -> Mask:
    """bool [row, column]: cells at least half of which is tumour, as the slide was made."""
    fine = lesion_raster(slide, grid.stride_um / FINE)
    whole = np.zeros((grid.rows * FINE, grid.columns * FINE))
    whole[: fine.shape[0], : fine.shape[1]] = fine[: whole.shape[0], : whole.shape[1]]
    return np.asarray(whole.reshape(grid.rows, FINE, grid.columns, FINE).mean(axis=(1, 3)) >= 0.5)


def _jaccard(found: Mask, true: Mask) -> float:
    return float((found & true).sum() / max((found | true).sum(), 1))


def _without_small(mask: Mask) -> Mask:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    keep = stats[:, cv2.CC_STAT_AREA] >= LEAST_CELLS
    keep[0] = False
    return np.asarray(keep[labels])
