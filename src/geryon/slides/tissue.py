"""Where a slide holds tissue, at low power: which windows are worth reading."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from geryon.errors import InputError
from geryon.slides import ink
from geryon.slides.masks import Drawn, open_mask, reduced
from geryon.slides.reader import Slide
from geryon.slides.salvage import salvaged
from geryon.space import units
from geryon.space.arrays import Image, Mask
from geryon.space.boxes import Box

MASK_MPP = 8.0
"""Finest look: two to three pixels a nucleus' neighbourhood, 64 times less to read than a window at 1 µm/px."""
MAX_MASK_PX = 16_000_000
"""A larger slide is looked at more coarsely, so that memory does not follow its area."""
HOLE_MM2, SPECK_MM2 = 0.05, 0.002
"""Smaller holes are lumina and fat inside tissue; smaller specks are dust."""
GLASS_PX = 2_000_000
"""Pixels that vote on the colour of the glass."""
UNREADABLE_CELLS = 32
"""Side of the blocks in which a damaged slide is looked at."""
NO_MASK_BELOW_MM2 = 4.0
"""Smaller images were cut out by somebody who looked: nothing of them is dropped unless asked."""
ASPECT_WITHIN = 0.02
"""A mask drawn over a thumbnail has its sides rounded; one that differs more belongs to another slide."""
LEAST_MET = 0.1
"""Share of the user's own mask that must lie on tissue of the built-in one: a loosely drawn region shows much glass."""
THRESHOLD_LIMITS = 0.02, 0.05
"""Colour, in optical density, that Otsu's threshold may choose: above scanner noise, below the palest whole tissue."""
BLUR_UM = 8.0
"""Texture finer than this is noise to the mask."""
BELOW_OTSU = 0.3
"""Share of Otsu's threshold that is used: it lies between dark and pale tissue, and a lost window costs more than one
of glass. Measured on colon_slide at 8 µm/px: Dice 0.954 at a half, 0.965 at this, with pale oedema kept."""
DARK_LUMA = 100
"""A slide whose brightest percent is darker than this was not lit from below: there is no glass to find."""


@dataclass(frozen=True, slots=True)
class TissueMask:
    """True where there is tissue, in square cells of `mpp` µm from the slide's top left."""

    mask: Mask
    mpp: float

    def touches(self, box: Box) -> bool:
        """True when any cell that the box meets holds tissue: whole windows are dropped, never pixels inside one."""
        cells = box.to(box.frame.at(self.mpp)).whole()
        rows, columns = self.mask.shape
        # the last cell of a side reaches to the slide's edge, however little of it was left over by rounding
        y0, x0 = min(max(int(cells.ymin), 0), rows - 1), min(max(int(cells.xmin), 0), columns - 1)
        return bool(self.mask[y0 : max(int(cells.ymax), y0 + 1), x0 : max(int(cells.xmax), x0 + 1)].any())

    @property
    def area_mm2(self) -> float:
        """mm² of the cells with tissue."""
        return float(np.count_nonzero(self.mask)) * units.um(1.0, self.mpp) ** 2 / 1e6


@dataclass(frozen=True, slots=True)
class LowPower:
    """The whole slide at low power; `unreadable` is True where its pixels could not be decoded (white there)."""

    image: Image
    mpp: float
    unreadable: Mask


def low_power(slide: Slide) -> LowPower:
    """The whole slide at `look_mpp`: read once, it serves the tissue mask and the quality raster."""
    mpp = look_mpp(slide)
    rows, columns = (max(1, n) for n in slide.frame.at(mpp).box.shape)
    task = slide.frame.at(mpp)
    seen = salvaged(slide, Box(task, 0, 0, columns, rows), UNREADABLE_CELLS)
    return LowPower(seen.image, mpp, seen.unreadable)


def window_mask(
    slide: Slide, *, asked: bool | None = None, given: Path | None = None, seen: LowPower | None = None
) -> TissueMask:
    """The mask that decides which windows are read: the user's own, the built-in one, or all of the slide.

    `asked` None: the built-in one for slides of at least NO_MASK_BELOW_MM2. InputError as `refuse_misplaced`.
    """
    if given is not None:
        refuse_misplaced(given, slide, asked=asked, seen=seen)
        return read_mask(given, slide)
    return tissue_mask(slide, seen) if wants_mask(slide, asked) else everything(slide)


def wants_mask(slide: Slide, asked: bool | None) -> bool:
    """Whether the built-in mask is used: as asked, or by the slide's size."""
    return slide.frame.area_mm2 >= NO_MASK_BELOW_MM2 if asked is None else asked


def tissue_mask(slide: Slide, seen: LowPower | None = None) -> TissueMask:
    """The built-in mask: colour against the slide's own glass, ink left out, holes filled, specks dropped.

    Places that can't be read count as tissue, so that their windows are asked for and their loss is told.
    """
    seen = seen or low_power(slide)
    return TissueMask(tissue_of(seen.image, seen.mpp) | seen.unreadable, seen.mpp)


def everything(slide: Slide) -> TissueMask:
    """The mask that drops nothing."""
    mpp = look_mpp(slide)
    shape = slide.frame.at(mpp).box.shape
    return TissueMask(np.ones((max(1, shape[0]), max(1, shape[1])), bool), mpp)


def look_mpp(slide: Slide) -> float:
    """µm per pixel of the low-power look: MASK_MPP, coarser when that would be too many pixels."""
    pixels = slide.frame.area_mm2 * 1e6 / MASK_MPP**2
    return slide.grid_mpp(MASK_MPP * max(1.0, float(np.sqrt(pixels / MAX_MASK_PX))))


def read_mask(path: Path, slide: Slide) -> TissueMask:
    """The user's own mask: a picture of 0 and 1, or 0 and 255, at any scale, of the whole slide."""
    with mask_of(path, slide) as drawn:
        mpp = max(slide.frame.um.width / drawn.width, look_mpp(slide))
        rows, columns = slide.frame.at(mpp).box.shape
        return TissueMask(reduced(drawn, (max(1, rows), max(1, columns))), mpp)


def refuse_misplaced(path: Path, slide: Slide, *, asked: bool | None = None, seen: LowPower | None = None) -> None:
    """InputError where the user's own mask hardly meets the tissue that the built-in one finds: it is another slide's.

    Not asked where the built-in one would not be used (as in `window_mask`), or finds nothing: so `asked` False is the
    way for tissue too pale for it.
    """
    if not wants_mask(slide, asked):
        return
    drawn, found = read_mask(path, slide).mask, tissue_mask(slide, seen).mask
    if not (drawn.any() and found.any()):
        return
    rows, columns = drawn.shape
    met = (cv2.resize(found.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA) > 0)[drawn].mean()
    if met < LEAST_MET:
        raise InputError(
            what=f"only {met:.0%} of the mask lies on the tissue that is found in {slide.name}",
            where=str(path),
            mend="check whose mask it is; if it is this slide's, say that the built-in mask is not to be asked "
            "(--tissue-mask off)",
        )


@contextmanager
def mask_of(path: Path, slide: Slide) -> Iterator[Drawn]:
    """The user's own mask of the slide, open; InputError where its shape is another slide's."""
    with open_mask(path) as drawn:
        um = slide.frame.um
        aspect = (drawn.width / drawn.height) / (um.width / um.height)
        if abs(aspect - 1) > ASPECT_WITHIN:
            sizes = f"{drawn.width} x {drawn.height}, the slide {slide.size[0]} x {slide.size[1]} px"
            what = f"the mask is {sizes}: not of one shape"
            raise InputError(what=what, where=str(path), mend="draw it over the whole slide")
        yield drawn


def tissue_of(image: Image, mpp: float) -> Mask:
    """True where a low-power image shows tissue."""
    if _is_dark(image):
        return np.ones(image.shape[:2], bool)
    density = ink.density(image, glass_colour(image))
    pen = ink.pen_of(density, mpp)
    signal = cv2.GaussianBlur(colour_of(density), (0, 0), max(0.5, units.px(BLUR_UM, mpp)))
    return tidy((signal > threshold_of(signal[~pen])) & ~pen, mpp)


def glass_colour(image: Image) -> np.ndarray:
    """RGB float [3] of the empty glass: the commonest of the bright and smooth colours.

    Pixels of pure white were never scanned, so they vote only when nothing else does. Where no smooth bright area
    exists (an image cut out of tissue), the brightest pixels stand for it.
    """
    step = max(1, int(np.sqrt(image.shape[0] * image.shape[1] / GLASS_PX)))
    image = image[::step, ::step]  # a colour needs no more
    grey = ink.grey_of(image)
    bright = grey > 0.75 * np.percentile(grey, 99)
    rough = cv2.blur(np.abs(cv2.Laplacian(grey, cv2.CV_32F)), (5, 5)) > 6
    red, green, blue = (image[..., c] for c in range(3))
    brightest, darkest = (each(each(red, green), blue) for each in (np.maximum, np.minimum))
    pale = brightest - darkest < 60
    never_scanned = darkest >= 254
    smooth = image[bright & ~rough & pale & ~never_scanned]
    if len(smooth) < 0.005 * grey.size:
        if np.count_nonzero(never_scanned) >= 0.005 * grey.size:
            return np.full(3, 255.0)
        return np.maximum(np.percentile(image.reshape(-1, 3), 99, axis=0), 200.0)
    cells = (smooth >> 3).astype(np.int32)
    votes = np.bincount(cells[:, 0] << 10 | cells[:, 1] << 5 | cells[:, 2], minlength=1 << 15).reshape(32, 32, 32)
    # tissue is as common as glass in some slides, but never as bright
    weight = np.arange(32)[:, None, None] * np.arange(32)[None, :, None] * np.arange(32)[None, None, :]
    peak = np.array(np.unravel_index(np.argmax(votes * weight.astype(np.float64)), votes.shape)) * 8 + 4
    near = smooth[(np.abs(smooth.astype(np.int32) - peak) <= 10).all(axis=1)]
    return np.median(near, axis=0).astype(np.float64)


def colour_of(density: np.ndarray) -> np.ndarray:
    """How much stain there is, float32 [y, x]: absorption of green over that of the least absorbed colour.

    Haematoxylin and eosin both absorb green most; dust, shadows and uneven light absorb all colours alike.
    """
    chroma = density[..., 1] - np.minimum(density[..., 0], density[..., 2])
    return np.maximum(chroma, 0) + 0.25 * density[..., 1]


def threshold_of(signal: np.ndarray) -> float:
    """Otsu's threshold (IEEE Trans. SMC 9, 1979) of the signal below 0.5, held within THRESHOLD_LIMITS."""
    low, high = THRESHOLD_LIMITS
    if not signal.size:
        return low
    scaled = np.clip(signal * (255 / 0.5), 0, 255).astype(np.uint8).reshape(-1, 1)
    otsu, _ = cv2.threshold(scaled, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    return float(np.clip(BELOW_OTSU * otsu * 0.5 / 255, low, high))


def tidy(mask: Mask, mpp: float) -> Mask:
    """Without the holes and specks that are too small to matter."""
    cell_mm2 = mpp * mpp / 1e6
    ringed = np.pad(mask, 1)  # by glass: what reaches the edge is no hole
    mask = ~_without_small(~ringed, HOLE_MM2 / cell_mm2, and_first=True)[1:-1, 1:-1]
    return _without_small(mask, SPECK_MM2 / cell_mm2)


def _without_small(mask: Mask, least_px: float, *, and_first: bool = False) -> Mask:
    """The parts of at least so many pixels, and, when asked, the one at the first pixel whatever its size."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    keep = stats[:, cv2.CC_STAT_AREA] >= least_px
    keep[labels[0, 0]] |= and_first
    keep[0] = False
    return keep[labels]


def _is_dark(image: Image) -> bool:
    return bool(np.percentile(image[::4, ::4].max(axis=2), 99) < DARK_LUMA)
