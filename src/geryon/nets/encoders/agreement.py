"""Whether an engine's codes are those of torch in float32: asked before it is used."""

from __future__ import annotations

import cv2
import numpy as np

from geryon.slides.synthetic.stain import EOSIN, HAEMATOXYLIN

LEAST_COSINE = 0.999
"""Of codes to those in float32, mean over the patches: what bfloat16 and eight bits must reach."""
MOST_OFF = 1e-4
"""Of the largest number of a code: by how much float32 in another order of sums may differ."""
PATCHES = 12
GLASS = 245.0


def agrees(codes: np.ndarray, exact: np.ndarray, precision: str) -> bool:
    """True where codes (float32 [n, code]) are near enough for that precision."""
    if codes.shape != exact.shape or not np.isfinite(codes).all():
        return False
    if precision == "float32":
        return float(np.abs(codes - exact).max()) <= MOST_OFF * max(1.0, float(np.abs(exact).max()))
    return float(cosine(codes, exact).mean()) >= LEAST_COSINE


def cosine(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """float64 [n] between the codes of each row; 1 where both are zero."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    both_zero = ~a.any(axis=1) & ~b.any(axis=1)
    return np.where(both_zero, 1.0, (a * b).sum(axis=1) / np.maximum(lengths, 1e-30))


def stained(n: int, side: int) -> np.ndarray:
    """Patches in the colours of H&E, uint8 [n, side, side, 3]: clouds of all sizes, from nearly flat to harsh."""
    rng = np.random.default_rng(0)
    out = np.empty((n, side, side, 3), np.uint8)
    for i in range(n):
        strength = 0.1 + 1.4 * i / max(1, n - 1)
        density = sum(
            strength * stain * np.maximum(0, _clouds(rng, side) + rng.uniform(0, 0.8))[..., None]
            for stain in (np.array(HAEMATOXYLIN), np.array(EOSIN))
        )
        out[i] = np.clip(GLASS * np.exp(-density) + rng.normal(0, 1.5, (side, side, 3)), 0, 255)
    return out


def _clouds(rng: np.random.Generator, side: int) -> np.ndarray:
    total = np.zeros((side, side))
    for cell in (2, 5, 12, 40):
        cells = max(2, -(-side // cell))
        total += 0.35 * cv2.resize(rng.normal(size=(cells, cells)), (side, side), interpolation=cv2.INTER_CUBIC)
    return total
