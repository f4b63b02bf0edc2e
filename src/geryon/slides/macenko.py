"""Stain normalisation by stain vectors: the slide's own haematoxylin and eosin become the target's.

After Macenko et al., ISBI 2009: optical densities of tissue lie in the plane of two stains, whose vectors are the
robust extremes of the angle in it; each stain's strength is a high percentile of its amounts. What the two stains can't
mix is carried over along the plane's normal, where the paper drops it: pigment, ink and blood stay apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from geryon.slides.normalise import MOST_GAIN, Normaliser, Unfit, stained
from geryon.slides.stains import densities_of_bytes
from geryon.space.arrays import Image

EXTREME_PERCENT = 1.0
"""Alpha of the paper."""
STRENGTH_PERCENT = 99.0
LEAST_ANGLE_DEGREES, MOST_ANGLE_DEGREES = 10.0, 60.0
"""Between the two vectors: below it they can't be told apart, above it one of them is no stain of H&E."""
LEAST_COLOUR_DEGREES = 8.0
"""Of each vector from grey, whose three densities are alike."""
VECTORS = np.array([[0.617, 0.718, 0.323], [0.295, 0.849, 0.438]])
"""The target: natural optical density of haematoxylin and eosin in R, G, B (how it was measured: docs/stain.md)."""
STRENGTHS = np.array([1.061, 0.526])
GLASS = np.array([240.0, 234.0, 242.0])


@dataclass(frozen=True, slots=True)
class Stains:
    """How a slide is stained."""

    vectors: np.ndarray
    """float64 [2, 3]: unit vectors of natural optical density in R, G, B, of haematoxylin and eosin."""
    strengths: np.ndarray
    """float64 [2]: high percentile of each stain's amount."""
    glass: np.ndarray
    """float64 [3]: R, G, B without any stain."""


@dataclass(frozen=True, slots=True)
class Restained:
    """The change of one slide; `facts` are for run.json."""

    table: np.ndarray
    """float32 [256, 3]: natural optical density of a byte in each channel, against the slide's glass."""
    matrix: np.ndarray
    """float32 [3, 4]: density to the log of the new intensity."""
    facts: dict[str, Any]

    def __call__(self, image: Image) -> Image:
        density = cv2.LUT(image, self.table[None])
        light = cv2.exp(cv2.transform(density, self.matrix))
        return (light + 0.5).clip(0, 255).astype(np.uint8)


def macenko(pixels: np.ndarray, glass: np.ndarray) -> Restained:
    """The change for a slide with these pixels of tissue (uint8 [n, 3]) and this glass; Unfit where there is none."""
    found = stains_of(pixels, glass)
    gains = STRENGTHS / found.strengths
    if not np.isfinite(gains).all() or gains.max() > MOST_GAIN or gains.min() < 1.0 / MOST_GAIN:
        raise Unfit(f"its stains are {1 / gains[0]:.2g} and {1 / gains[1]:.2g} times as strong as the target's")
    change = _frame(VECTORS) @ np.diag([*gains, 1.0]) @ np.linalg.inv(_frame(found.vectors))
    facts = {
        "haematoxylin": found.vectors[0].round(4).tolist(),
        "eosin": found.vectors[1].round(4).tolist(),
        "strengths": found.strengths.round(4).tolist(),
        "glass": found.glass.round(1).tolist(),
    }
    matrix = np.column_stack([-change, np.log(GLASS)]).astype(np.float32)
    return Restained(table=densities_of_bytes(found.glass), matrix=matrix, facts=facts)


def stains_of(pixels: np.ndarray, glass: np.ndarray) -> Stains:
    """The two stains of pixels of tissue (uint8 [n, 3]); Unfit says why there are none."""
    density = stained(pixels, glass)
    _, axes = np.linalg.eigh(np.cov(density.T))
    plane = axes[:, [2, 1]] * np.where(axes[:, [2, 1]].sum(axis=0) < 0, -1.0, 1.0)
    flat = density @ plane
    angles = np.arctan2(flat[:, 1], flat[:, 0])
    ends = np.percentile(angles, [EXTREME_PERCENT, 100.0 - EXTREME_PERCENT])
    vectors = np.stack([plane @ [np.cos(a), np.sin(a)] for a in ends])
    vectors = np.maximum(vectors, 0.0)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors[np.argsort(-vectors[:, 0])]  # haematoxylin absorbs more red
    _check(vectors)
    amounts = density @ np.linalg.pinv(vectors)
    return Stains(vectors, np.percentile(amounts, STRENGTH_PERCENT, axis=0), glass)


def _check(vectors: np.ndarray) -> None:
    grey = np.ones(3) / np.sqrt(3.0)
    between = _degrees(vectors[0], vectors[1])
    colour = min(_degrees(vector, grey) for vector in vectors)
    if not np.isfinite(vectors).all() or not LEAST_ANGLE_DEGREES <= between <= MOST_ANGLE_DEGREES:
        raise Unfit(f"haematoxylin and eosin can't be told apart: {between:.0f} degrees lie between the extremes")
    if colour < LEAST_COLOUR_DEGREES:
        raise Unfit(f"it is nearly grey: a stain lies {colour:.0f} degrees from it")


def _degrees(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.rad2deg(np.arccos(np.clip(a @ b, -1.0, 1.0))))


def _frame(vectors: np.ndarray) -> np.ndarray:
    """float64 [3, 3]: columns are the two stains and the normal of their plane."""
    normal = np.cross(vectors[0], vectors[1])
    return np.column_stack([*vectors, normal / np.linalg.norm(normal)])


MACENKO = Normaliser(
    of=macenko, target={"vectors": VECTORS.tolist(), "strengths": STRENGTHS.tolist(), "glass": GLASS.tolist()}
)
