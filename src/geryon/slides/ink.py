"""Optical density against the slide's own glass, and the colours of felt pens in it."""

from __future__ import annotations

import cv2
import numpy as np

from geryon.space import units
from geryon.space.arrays import Image, Mask

PEN_WIDTH_UM = 120.0
"""No felt pen draws a finer line; small dark or blue spots of tissue are narrower."""
FRINGE_UM = 48.0
"""Ink thins out to the colours of tissue at the edge of a stroke."""


def density(image: Image, glass: np.ndarray) -> np.ndarray:
    """Optical density of each channel against the glass, float32 [y, x, 3], 0 where as bright as glass."""
    table = -np.log10((np.arange(256)[:, None] + 1.0) / (glass[None, :] + 1.0))
    table = np.maximum(table, 0).astype(np.float32)
    return np.stack([table[:, c][image[..., c]] for c in range(3)], axis=2)


def grey_of(image: Image) -> np.ndarray:
    """float32 [y, x]: the mean of the colours. Reducing over an axis of three takes numpy ten times as long."""
    return (image[..., 0].astype(np.float32) + image[..., 1] + image[..., 2]) / np.float32(3)


def pen_of(density: np.ndarray, mpp: float) -> Mask:
    """True on blue, green, black and red ink.

    Haematoxylin and eosin absorb green at least as much as red and blue: ink that absorbs red or blue more is none of
    them. Red ink passes red whole and absorbs blue as much as green; black absorbs all alike and nearly everything.
    """
    red, green, blue = (density[..., c] for c in range(3))
    strong, weak = (each(each(red, green), blue) for each in (np.maximum, np.minimum))
    blue_ink = (red > 1.3 * green) & (red > 0.25)
    green_ink = (blue > 1.15 * green) & (blue > 0.25) & (red > 0.7 * green)
    red_ink = (red < 0.15 * green) & (blue > 0.8 * green) & (green > 0.4)
    black_ink = (weak > 0.7) & (strong - weak < 0.3 * strong)
    seed = blue_ink | green_ink | red_ink | black_ink
    seed = _opened(seed, units.px(PEN_WIDTH_UM, mpp))
    if not seed.any():
        return seed
    return _dilated(seed, units.px(FRINGE_UM, mpp))


def _opened(mask: Mask, width_px: float) -> Mask:
    disc = _disc(width_px / 4)  # a stroke may be thin where the pen was lifted
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, _disc(1))
    return cv2.morphologyEx(closed, cv2.MORPH_OPEN, disc).astype(bool)


def _dilated(mask: Mask, by_px: float) -> Mask:
    return cv2.dilate(mask.astype(np.uint8), _disc(by_px)).astype(bool)


def _disc(radius_px: float) -> np.ndarray:
    side = 2 * max(1, round(radius_px)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
