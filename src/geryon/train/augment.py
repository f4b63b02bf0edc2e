"""Colours, sharpness and noise as other scanners and laboratories would give them; the place of nothing changes.

Everything that is linear is gathered first: stain strength, brightness and white balance are one affine map
of optical density, contrast, saturation and hue one affine map of intensity. A crop then costs one table,
two 3 x 4 products and one exponential, whatever is switched on.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from geryon.slides.stains import AMOUNTS, UNIT_STAINS

STRICT = {"extra": "forbid", "use_attribute_docstrings": True}
"""For settings that a recipe may hold: unknown keys are faults, and the schema says what each field means."""
_DENSITY = -np.log((np.arange(256, dtype=np.float32) + 1.0) / 256.0)
"""Natural optical density of a byte; 0 at white."""
_LUMA = np.array([0.299, 0.587, 0.114])
_NOISE_LENGTH = 1 << 20
_NOISE = np.random.default_rng(20240229).standard_normal(_NOISE_LENGTH, dtype=np.float32)
"""A bank of normal deviates: a crop takes a stretch of it, which costs a tenth of drawing its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentSettings:
    """How far colours may go; ranges are evenly drawn, chances are per crop."""

    __pydantic_config__ = STRICT

    strength: float = 1.0
    """Multiplies every range below; 0 switches all off."""
    stain: float = 0.2
    """Each stain's amount times 1 ± this ("HED-strong" of Tellez et al., Med Image Anal 58, 2019)."""
    stain_shift: float = 0.05
    """Each stain's amount plus or minus this, in natural optical density."""
    brightness: float = 0.15
    """Intensity times exp(± this)."""
    white_balance: float = 0.06
    """Each channel's intensity times exp(± this)."""
    contrast: float = 0.25
    """Distance from the crop's mean times 1 ± this."""
    saturation: float = 0.3
    """Distance from grey times 1 ± this."""
    hue_degrees: float = 12.0
    """Turn about the grey axis."""
    colour_chance: float = 0.9
    """Crops that get any of the above."""
    blur_px: float = 1.2
    """Largest Gaussian deviation at 0.5 µm per pixel."""
    blur_chance: float = 0.2
    noise: float = 8.0
    """Largest deviation of additive noise, of 255."""
    noise_chance: float = 0.3
    jpeg: float = 50.0
    """Quality goes down to 95 minus this: archives were often compressed harder than the training images."""
    jpeg_chance: float = 0.25
    coarser: float = 0.8
    """Resolution is lost by a factor of up to 1 + this (scanned at 20x, then enlarged)."""
    coarser_chance: float = 0.15


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
    density = cv2.transform(cv2.LUT(image, _DENSITY), _density_map(rng, s))
    light = cv2.exp(density)
    return cv2.transform(light, _intensity_map(cv2.mean(light)[:3], rng, s)).clip(0, 255).astype(np.uint8)


def _density_map(rng: np.random.Generator, s: AugmentSettings) -> np.ndarray:
    """3 x 4: density of the image to log of the new intensity."""
    amount = 1.0 + s.strength * s.stain * rng.uniform(-1, 1, 3)
    shift = s.strength * s.stain_shift * rng.uniform(-1, 1, 3)
    light = s.strength * (s.brightness * rng.uniform(-1, 1) + s.white_balance * rng.uniform(-1, 1, 3))
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
