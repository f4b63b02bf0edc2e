"""Colours, sharpness and noise as other scanners and laboratories would give them; what deforms is in warp.py.

Everything that is linear is gathered first: stain strength, brightness and white balance are one affine map
of optical density, contrast, saturation and hue one affine map of intensity. A crop then costs one table,
two 3 x 4 products and one exponential, whatever is switched on.
"""

from __future__ import annotations

import cv2
import numpy as np

from geryon.slides.stains import AMOUNTS, UNIT_STAINS
from geryon.train.augment_settings import AugmentSettings

_DENSITY = -np.log((np.arange(256, dtype=np.float32) + 1.0) / 256.0)
"""Natural optical density of a byte; 0 at white."""
_LUMA = np.array([0.299, 0.587, 0.114])
_NOISE_LENGTH = 1 << 20
_NOISE = np.random.default_rng(20240229).standard_normal(_NOISE_LENGTH, dtype=np.float32)
"""A bank of normal deviates: a crop takes a stretch of it, which costs a tenth of drawing its own."""


def augment(image: np.ndarray, rng: np.random.Generator, settings: AugmentSettings) -> np.ndarray:
    """A new RGB uint8 image [y, x, 3] of the same shape."""
    if settings.strength <= 0:
        return image
    s = settings
    image = _coarser(image, 1.0 + s.strength * s.coarser * rng.random()) if rng.random() < s.coarser_chance else image
    image = _blur(image, s.strength * s.blur_px * rng.random()) if rng.random() < s.blur_chance else image
    image = _colour(image, rng, s) if rng.random() < s.colour_chance else image
    image = _noise(image, s.strength * s.noise * rng.random(), rng) if rng.random() < s.noise_chance else image
    if rng.random() < s.jpeg_chance:
        image = _jpeg(image, max(10, round(95 - s.strength * s.jpeg * rng.random())))
    return image


def _colour(image: np.ndarray, rng: np.random.Generator, s: AugmentSettings) -> np.ndarray:
    low, high = s.stain_between
    is_stained = low <= sum(cv2.mean(image)[:3]) / (3 * 255.0) <= high
    density = cv2.transform(cv2.LUT(image, _DENSITY), _density_map(rng, s, 1.0 if is_stained else 0.0))
    light = cv2.exp(density)
    out = cv2.transform(light, _intensity_map(cv2.mean(light)[:3], rng, s)).clip(0, 255).astype(np.uint8)
    return _hsv(out, *(s.strength * s.hsv * rng.uniform(-1, 1, 2))) if s.hsv else out


def _density_map(rng: np.random.Generator, s: AugmentSettings, stained: float) -> np.ndarray:
    """3 x 4: density of the image to log of the new intensity; `stained` 0 leaves the stains as they are."""
    amount = 1.0 + stained * s.strength * s.stain * rng.uniform(-1, 1, 3)
    shift = stained * s.strength * s.stain_shift * rng.uniform(-1, 1, 3)
    brightness = np.log(max(0.05, 1.0 + s.strength * s.brightness * rng.uniform(-1, 1)))
    light = brightness + s.strength * s.white_balance * rng.uniform(-1, 1, 3)
    matrix = UNIT_STAINS @ np.diag(np.maximum(amount, 0.0)) @ AMOUNTS
    offset = np.log(256.0) - UNIT_STAINS @ shift + light
    return np.column_stack([-matrix, offset])


def _intensity_map(mean: tuple[float, ...], rng: np.random.Generator, s: AugmentSettings) -> np.ndarray:
    """3 x 4: contrast about the mean, then saturation and hue about the grey axis."""
    contrast = max(0.0, 1.0 + s.strength * s.contrast * rng.uniform(-1, 1))
    saturation = max(0.0, 1.0 + s.strength * s.saturation * rng.uniform(-1, 1))
    grey = np.tile(_LUMA, (3, 1))
    turn = _turn_about_grey(np.deg2rad(s.strength * s.hue_degrees * rng.uniform(-1, 1)))
    colour = turn @ (grey + saturation * (np.eye(3) - grey))
    middle = float(np.dot(_LUMA, mean))
    return np.column_stack([contrast * colour, np.full(3, (1.0 - contrast) * middle - 0.5)])


def _turn_about_grey(angle: float) -> np.ndarray:
    """Rotation about (1, 1, 1) (Rodrigues)."""
    axis = np.ones(3) / np.sqrt(3.0)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)


def _hsv(image: np.ndarray, hue_turns: float, saturation: float) -> np.ndarray:
    hsv = cv2.cvtColor(image.astype(np.float32) / 255.0, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + 360.0 * hue_turns) % 360.0
    hsv[..., 1] = (hsv[..., 1] + saturation).clip(0, 1)
    return (255.0 * cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) + 0.5).astype(np.uint8)


def _blur(image: np.ndarray, sigma_px: float) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), sigma_px) if sigma_px > 0.2 else image


def _noise(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    if image.size >= _NOISE_LENGTH:
        bank = rng.standard_normal(image.size, dtype=np.float32)
    else:
        start = int(rng.integers(_NOISE_LENGTH - image.size))
        bank = _NOISE[start : start + image.size]
    return (image + (deviation * bank.reshape(image.shape) + 0.5)).clip(0, 255).astype(np.uint8)


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    whole, coded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert whole, "a uint8 image can always be coded"
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert decoded is not None, "what was just coded can be decoded"
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def _coarser(image: np.ndarray, factor: float) -> np.ndarray:
    height, width = image.shape[:2]
    small = (max(1, round(width / factor)), max(1, round(height / factor)))
    return cv2.resize(
        cv2.resize(image, small, interpolation=cv2.INTER_AREA), (width, height), interpolation=cv2.INTER_LINEAR
    )
