"""How much of each stain a pixel shows: colour deconvolution."""

from __future__ import annotations

import cv2
import numpy as np

from geryon.space.arrays import Image

STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])
"""Optical density in R, G, B of haematoxylin, eosin, DAB (Ruifrok & Johnston, Anal Quant Cytol Histol 23, 2001)."""
UNIT_STAINS = (STAINS / np.linalg.norm(STAINS, axis=1, keepdims=True)).T
"""Columns are stains: density = UNIT_STAINS @ amounts."""
AMOUNTS = np.linalg.inv(UNIT_STAINS)
"""Rows are stains: amounts = AMOUNTS @ density."""
_DENSITY = -np.log10(np.maximum(np.arange(256, dtype=np.float64), 1.0) / 255.0).astype(np.float32)


def stain_densities(image: Image) -> np.ndarray:
    """float32 [y, x, 2]: optical density of haematoxylin and of eosin along their unit vectors.

    Decadic, against white (255); DAB takes up what is neither. Below 0 where a colour is none that the three can mix.
    """
    return cv2.transform(cv2.LUT(image, _DENSITY), AMOUNTS[:2].astype(np.float32))


LEAST_DENSITY = 0.15
"""Mean natural optical density of the channels below which a pixel is glass (beta of Macenko et al., ISBI 2009)."""
MOST_RED, LEAST_CHROMA = 1.15, 0.1
"""Haematoxylin and eosin absorb green most: blue ink absorbs more red, pigment and burnt edges all colours alike."""


def densities_of_bytes(glass: np.ndarray) -> np.ndarray:
    """float32 [256, 3]: natural optical density of each byte in each channel; below 0 where brighter than glass."""
    return -np.log(np.maximum(np.arange(256.0)[:, None], 0.5) / glass[None]).astype(np.float32)


def is_stained(density: np.ndarray) -> np.ndarray:
    """bool [n]: which natural optical densities [n, 3] haematoxylin and eosin can make, glass and ink left out."""
    red, green, blue = density.T
    least = np.minimum(red, blue)
    can_be: np.ndarray = (red <= MOST_RED * green) & (blue <= green) & (green - least >= LEAST_CHROMA * green)
    return can_be & (density.mean(axis=1) >= LEAST_DENSITY)
