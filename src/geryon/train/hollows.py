"""Lumina by rule, where glands are drawn and lumina are not: a teacher, never a truth to score by.

Glass seen through a gland is as bright and as free of colour as the brightest place of the image. What is nearly
so, wide and large enough that no goblet cell is, counts as lumen; what is darker than any mucin is none. The
pale rest (goblet cells, secretion, folds) is left unknown.
"""

from __future__ import annotations

import cv2
import numpy as np

from geryon.space import units
from geryon.tasks import decoding
from geryon.tasks.task import Labelled

SMOOTH_UM = 1.5
BRIGHTEST_PERCENT = 0.5
"""The part of the image that is taken for glass; it has to be at least GLASS of 255 bright."""
GLASS = 140.0
CLEAR = 0.90
"""Of glass: at least so bright is clear, and at most COLOURED between its largest and smallest channel."""
COLOURED = 0.10
DARK = 0.72
"""Of glass: darker is epithelium, not mucin."""
NARROW_UM = 4.0
"""Radius of the disc that fits into a lumen; goblet cells have about 5."""
SMALLEST_UM2 = 500.0


def hollows(image: np.ndarray, glands: np.ndarray, mpp: float) -> Labelled:
    """Lumina in the glands (bool [y, x]) of an RGB image [y, x, 3], and where nothing can be told."""
    smooth = cv2.GaussianBlur(image, (0, 0), units.px(SMOOTH_UM, mpp)).astype(np.float32)
    light = smooth.mean(axis=2)
    glass = smooth[light >= np.percentile(light, 100.0 - BRIGHTEST_PERCENT)].mean(axis=0)
    relative = smooth / np.maximum(glass, 1.0)
    bright, colour = relative.mean(axis=2), relative.max(axis=2) - relative.min(axis=2)
    clear = (bright >= CLEAR) & (colour <= COLOURED) & glands & bool(glass.mean() >= GLASS)
    radius = max(1, round(units.px(NARROW_UM, mpp)))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    labels, n = decoding.components(cv2.morphologyEx(clear.astype(np.uint8), cv2.MORPH_OPEN, disc) > 0)
    large = np.bincount(labels.ravel(), minlength=n + 1) >= units.area_px(SMALLEST_UM2, mpp, mpp)
    large[0] = False
    lumina = clear & (cv2.dilate(large[labels].astype(np.uint8), disc) > 0)
    pale = glands & (bright >= DARK)
    return Labelled(objects=decoding.components(lumina)[0].astype(np.int32), known=~pale | lumina)
