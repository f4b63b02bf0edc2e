"""What spoils a slide for a network: blur, folds and ink, as a raster and as shares of the tissue."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from geryon.errors import InputError
from geryon.slides import ink
from geryon.slides.reader import Slide
from geryon.slides.tissue import LowPower, TissueMask, glass_colour, low_power
from geryon.space import units
from geryon.space.arrays import Image, Mask, Raster
from geryon.space.boxes import Box

NAMES = "glass", "tissue", "blur", "fold", "pen"
GLASS, TISSUE, BLUR, FOLD, PEN = range(5)

FOCUS_MPP = 1.0
"""Edges of nuclei are judged here: finer shows noise of the camera, coarser hides a defocus of 2 µm."""
COARSEST_FOR_FOCUS = 1.5
"""A slide scanned coarser than this does not resolve the edges of nuclei even when sharp."""
BLOCK_UM, PATCH_UM = 256.0, 128.0
"""Focus is judged in a patch in the middle of each block."""
MAX_PATCHES = 400
"""Patches read of one slide; of a larger one every second, third ... block is judged, and speaks for its neighbours."""
SHARP_ABOVE = 0.04
"""Share of fine detail (variance of the Laplacian over that of the grey levels, at 1 µm/px). colon_slide: 0.13 is the
lowest percent of sharp patches, 0.032 the highest tenth after a Gaussian blur of 2 µm (sigma)."""
FLAT_VARIANCE = 40.0
"""Patches of less contrast (mucus, fat) say nothing about focus."""
FOLD_DENSITY, FOLD_OVER_MEDIAN = 0.5, 2.0
"""A fold is two layers or more: at least twice the optical density of the tissue's median, and denser than any single
layer. The densest hundredth of colon_slide, which has no folds, begins at 0.46. Folds of pale tissue go unseen."""
FOLD_WIDTH_UM = 48.0
"""Narrower dark places are glands and lymph follicles' edges."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quality:
    """Per cell 0 glass, 1 tissue, 2 blur, 3 fold, 4 pen; `shares` of all that is not glass."""

    raster: Raster
    mpp: float
    shares: dict[str, float]


def quality(slide: Slide, tissue: TissueMask, seen: LowPower | None = None) -> Quality:
    """The quality raster of a slide, on the grid of its low-power look.

    `tissue` may be on any grid; ink counts wherever it lies, since what is under it can't be known.
    """
    seen = seen or low_power(slide)
    mask = _on_grid(tissue.mask, seen.image.shape[:2])
    density = ink.density(seen.image, glass_colour(seen.image))
    pen = ink.pen_of(density, seen.mpp)
    raster = np.where(mask, TISSUE, GLASS).astype(np.uint8)
    raster[blur_of(slide, mask & ~pen, seen.mpp)] = BLUR
    raster[fold_of(density, mask & ~pen, seen.mpp)] = FOLD
    raster[pen] = PEN
    counts = np.bincount(raster.ravel(), minlength=len(NAMES))
    whole = max(1, int(counts[1:].sum()))
    return Quality(
        raster=raster,
        mpp=seen.mpp,
        shares={name: float(n / whole) for name, n in zip(NAMES[1:], counts[1:], strict=True)},
    )


def fold_of(density: np.ndarray, tissue: Mask, mpp: float) -> Mask:
    """True on dark, saturated, thick places of the tissue."""
    if not tissue.any():
        return tissue.copy()
    # red and green: what both stains absorb; smoothed over single nuclei
    depth = cv2.GaussianBlur(density[..., :2].mean(axis=2), (0, 0), max(0.5, units.px(FOLD_WIDTH_UM / 4, mpp)))
    least = max(FOLD_DENSITY, FOLD_OVER_MEDIAN * float(np.median(depth[tissue])))
    side = 2 * max(1, round(units.px(FOLD_WIDTH_UM / 2, mpp))) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    dark = ((depth > least) & tissue).astype(np.uint8)
    return cv2.morphologyEx(dark, cv2.MORPH_OPEN, disc).astype(bool)


def blur_of(slide: Slide, tissue: Mask, mpp: float) -> Mask:
    """True on the blocks of tissue that are out of focus; judged in samples, each block by its nearest sample."""
    blurred = np.zeros_like(tissue)
    if max(slide.mpp) > COARSEST_FOR_FOCUS:
        return blurred
    side = max(1, round(units.px(BLOCK_UM, mpp)))
    blocks = _tissue_blocks(tissue, side)
    step = -(-len(blocks) // MAX_PATCHES) if len(blocks) else 1
    judged, sharp = [], []
    for row, column in blocks[::step]:
        detail = detail_of(_patch(slide, (column + 0.5) * side, (row + 0.5) * side, mpp))
        if detail is not None:
            judged.append((row, column))
            sharp.append(detail >= SHARP_ABOVE)
    if not judged or all(sharp):
        return blurred
    places, is_sharp = np.array(judged), np.array(sharp)
    for row, column in blocks:
        nearest = np.argmin(((places - (row, column)) ** 2).sum(axis=1))
        blurred[row * side : (row + 1) * side, column * side : (column + 1) * side] = not is_sharp[nearest]
    return blurred & tissue


def detail_of(patch: Image | None) -> float | None:
    """Variance of the Laplacian over that of the grey levels; None when there is too little contrast to say.

    The variance of the Laplacian as a measure of focus: Pech-Pacheco et al., ICPR 2000; the division makes it
    independent of how strongly the slide is stained.
    """
    if patch is None:
        return None
    grey = cv2.GaussianBlur(ink.grey_of(patch), (0, 0), 0.7)
    contrast = float(grey.var())
    if contrast < FLAT_VARIANCE:
        return None
    return float(cv2.Laplacian(grey, cv2.CV_32F).var()) / contrast


def _tissue_blocks(tissue: Mask, side: int) -> np.ndarray:
    """[n, 2] row and column of the blocks that are at least half tissue."""
    rows, columns = -(-tissue.shape[0] // side), -(-tissue.shape[1] // side)
    padded = np.zeros((rows * side, columns * side), bool)
    padded[: tissue.shape[0], : tissue.shape[1]] = tissue
    share = padded.reshape(rows, side, columns, side).mean(axis=(1, 3))
    return np.argwhere(share >= 0.5)


def _patch(slide: Slide, x_look: float, y_look: float, mpp: float) -> Image | None:
    fine = slide.grid_mpp(FOCUS_MPP) if max(slide.mpp) <= FOCUS_MPP else max(slide.mpp)
    frame = slide.frame.at(fine)
    side = round(units.px(PATCH_UM, fine))
    left = round(units.px(units.um(x_look, mpp), fine) - side / 2)
    top = round(units.px(units.um(y_look, mpp), fine) - side / 2)
    try:
        return slide.read(Box(frame, left, top, left + side, top + side), fine)
    except InputError:
        return None  # a damaged place is told when its window is read


def _on_grid(mask: Mask, shape: tuple[int, int]) -> Mask:
    if mask.shape == shape:
        return mask
    return cv2.resize(mask.astype(np.uint8), (shape[1], shape[0]), interpolation=cv2.INTER_NEAREST).astype(bool)
