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
