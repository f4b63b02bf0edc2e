"""From optical density to the picture a scanner makes: Beer-Lambert, then lens, sensor and JPEG."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from geryon.compiling import compiled
from geryon.slides.synthetic.noise import hashed
from geryon.space.arrays import Image

HAEMATOXYLIN, EOSIN, BLOOD = (0.64, 0.70, 0.31), (0.15, 0.90, 0.41), (0.06, 0.76, 0.65)
"""Optical density in red, green, blue (first two near Ruifrok & Johnston, Anal Quant Cytol Histol 23, 2001)."""
NOISE_SIDE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A laboratory and a scanner."""

    haematoxylin: tuple[float, float, float] = HAEMATOXYLIN
    """Optical density in red, green, blue of one unit of the stain."""
    eosin: tuple[float, float, float] = EOSIN
    haematoxylin_gain: float = 1.0
    eosin_gain: float = 0.75
    haze: float = 0.0
    """Optical density of the tissue that neither stain makes."""
    white: tuple[float, float, float] = (246.0, 245.0, 247.0)
    """What glass gives in red, green, blue."""
    gamma: float = 1.0
    blur_um: float = 0.32
    """Spread (sigma) of the lens."""
    sharpen: float = 0.4
    """How much of the finest detail the scanner adds again; 0: none."""
    noise: float = 1.2
    """Spread of the sensor's noise in grey values."""
    jpeg: int = 88
    """Quality of the scanner's JPEG; 0: none."""


def drawn_look(seed: int) -> Look:
    """A look of its own for each seed."""
    rng = np.random.default_rng([seed, 91])

    def stain(base: tuple[float, ...], spread: tuple[float, float, float]) -> tuple[float, float, float]:
        r, g, b = np.maximum(np.array(base) + rng.normal(0, spread, 3), 0.03)
        norm = float(np.sqrt(r * r + g * g + b * b))
        return float(r / norm), float(g / norm), float(b / norm)

    white = 246 + rng.normal(0, 2.5) + rng.normal(0, 2.0, 3)
    return Look(
        haematoxylin=stain(HAEMATOXYLIN, (0.05, 0.05, 0.05)),
        eosin=stain(EOSIN, (0.05, 0.04, 0.10)),
        haematoxylin_gain=float(rng.lognormal(-0.03, 0.26)),
        eosin_gain=float(rng.lognormal(-0.40, 0.38)),
        haze=float(rng.uniform(0, 0.03)),
        white=tuple(float(w) for w in np.clip(white, 232, 254)),  # type: ignore[arg-type]
        gamma=float(rng.lognormal(0, 0.07)),
        blur_um=float(rng.uniform(0.20, 0.48)),
        sharpen=float(rng.uniform(0, 1.3)),
        noise=float(rng.uniform(0.5, 2.2)),
        jpeg=int(rng.integers(78, 96)),
    )


def developed(h: np.ndarray, e: np.ndarray, blood: np.ndarray, look: Look, mpp: float) -> np.ndarray:
    """float32 [y, x, 3] in 0..255: what the lens sees of these amounts of stain (float32 [y, x])."""
    gains = np.array([[look.haematoxylin_gain], [look.eosin_gain], [1.0]])
    vectors = -np.log(10) * look.gamma * gains * np.array([look.haematoxylin, look.eosin, BLOOD])
    haze = -np.log(10) * look.gamma * look.haze
    light = cv2.exp(_absorbed(h, e, blood, vectors.astype(np.float32), np.float32(haze)))
    light *= np.array(look.white, np.float32)
    seen = cv2.GaussianBlur(light, (0, 0), max(0.35, look.blur_um / mpp))
    if look.sharpen:
        seen += look.sharpen * (seen - cv2.GaussianBlur(seen, (0, 0), max(0.8, 0.5 / mpp)))
    return seen


@compiled
def _absorbed(h, e, blood, vectors, haze):  # type: ignore[no-untyped-def]  # pragma: no cover
    """The exponent of Beer and Lambert's law at each pixel."""
    out = np.empty((h.shape[0], h.shape[1], 3), np.float32)
    for y in range(h.shape[0]):
        for x in range(h.shape[1]):
            dull = haze * min(np.float32(1), max(np.float32(0), 4 * (h[y, x] + e[y, x])))
            for c in range(3):
                out[y, x, c] = h[y, x] * vectors[0, c] + e[y, x] * vectors[1, c] + blood[y, x] * vectors[2, c] + dull
    return out


def scanned(light: np.ndarray, look: Look, seed: int, place: tuple[int, int]) -> Image:
    """What the sensor makes of light float32 [y, x, 3] at that chunk (column, row)."""
    if look.noise:
        light = light + look.noise * _noise(seed, place, light.shape[:2])
    image = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    if not look.jpeg:
        return image
    _, coded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, look.jpeg])
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.ascontiguousarray(decoded[..., ::-1])


def _noise(seed: int, place: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Unit noise, a rolled piece of one sheet: drawing it anew for each chunk would cost as much as the glass."""
    column, row = np.int64(place[0]), np.int64(place[1])
    roll = [int(float(hashed(seed, salt, column, row)) * NOISE_SIDE) for salt in (92, 93)]
    return np.roll(_sheet(seed), roll, axis=(0, 1))[: shape[0], : shape[1]]


@lru_cache(maxsize=2)
def _sheet(seed: int) -> np.ndarray:
    return np.random.default_rng([seed, 94]).standard_normal((NOISE_SIDE, NOISE_SIDE, 3), dtype=np.float32)
