"""Stain normalisation by colour statistics: the tissue's mean and spread become the target's, axis by axis.

After Reinhard et al., IEEE Computer Graphics and Applications 21(5), 2001: in l-alpha-beta, a rotation of the
logarithms of the cones' responses, in which the axes of natural images hardly depend on one another. Statistics are
those of stained pixels; glass keeps its colour, and in between the change fades in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from geryon.slides.normalise import MOST_GAIN, Normaliser, Unfit, stained
from geryon.slides.stains import LEAST_DENSITY, densities_of_bytes
from geryon.space.arrays import Image

LMS = np.array([[0.3811, 0.5783, 0.0402], [0.1967, 0.7244, 0.0782], [0.0241, 0.1288, 0.8444]])
"""Cone responses of R, G, B."""
LAB = np.diag([1 / 3**0.5, 1 / 6**0.5, 1 / 2**0.5]) @ np.array([[1.0, 1.0, 1.0], [1.0, 1.0, -2.0], [1.0, -1.0, 0.0]])
"""l, alpha, beta of the logarithms of cone responses."""
FADE_FROM = LEAST_DENSITY / 3
"""Mean natural optical density up to which a pixel is glass and stays; from LEAST_DENSITY on it is changed in full."""

MEAN = np.array([8.925, -0.123, 0.019])
"""The target, of l, alpha and beta in natural logarithms of 1..256 (how it was measured: docs/stain.md)."""
SPREAD = np.array([0.225, 0.065, 0.007])


@dataclass(frozen=True, slots=True)
class Recoloured:
    """The change of one slide; `facts` are for run.json."""

    table: np.ndarray
    """float32 [256, 3]: natural optical density against the slide's glass, to tell glass from tissue."""
    matrix: np.ndarray
    """float32 [3, 4]: logarithms of cone responses to the new ones."""
    facts: dict[str, Any]

    def __call__(self, image: Image) -> Image:
        rgb = image.astype(np.float32)
        cones = cv2.log(cv2.transform(rgb + 1.0, LMS.astype(np.float32)))
        changed = cv2.transform(cv2.exp(cv2.transform(cones, self.matrix)), np.linalg.inv(LMS).astype(np.float32)) - 1.0
        density = cv2.transform(cv2.LUT(image, self.table[None]), np.full((1, 3), 1 / 3, np.float32))
        part = ((density - FADE_FROM) / (LEAST_DENSITY - FADE_FROM)).clip(0, 1).reshape(*image.shape[:2], 1)
        return (rgb + part * (changed - rgb) + 0.5).clip(0, 255).astype(np.uint8)


def reinhard(pixels: np.ndarray, glass: np.ndarray) -> Recoloured:
    """The change for a slide with these pixels of tissue (uint8 [n, 3]) and this glass; Unfit where there is none."""
    mean, spread = colours_of(pixels, glass)
    gains = SPREAD / np.maximum(spread, 1e-9)
    if not np.isfinite(gains).all() or gains.max() > MOST_GAIN or gains.min() < 1.0 / MOST_GAIN:
        raise Unfit(f"its colours spread {', '.join(f'{1 / g:.2g}' for g in gains)} times as far as the target's")
    change = np.linalg.inv(LAB) @ np.diag(gains) @ LAB
    offset = np.linalg.inv(LAB) @ (MEAN - gains * mean)
    facts = {"mean": mean.round(4).tolist(), "spread": spread.round(4).tolist(), "glass": glass.round(1).tolist()}
    matrix = np.column_stack([change, offset]).astype(np.float32)
    return Recoloured(table=densities_of_bytes(glass), matrix=matrix, facts=facts)


def colours_of(pixels: np.ndarray, glass: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation, float64 [3] each, of l, alpha and beta of the stained among these pixels."""
    rgb = np.exp(-stained(pixels, glass)) * glass
    colours = np.log((rgb + 1.0) @ LMS.T) @ LAB.T
    return colours.mean(axis=0), colours.std(axis=0)


REINHARD = Normaliser(of=reinhard, target={"mean": MEAN.tolist(), "spread": SPREAD.tolist()})
