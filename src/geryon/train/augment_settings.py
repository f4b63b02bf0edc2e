"""How crops are changed before a network sees them, as a recipe says it: values alone, which any machine reads."""

from __future__ import annotations

from dataclasses import dataclass

STRICT = {"extra": "forbid", "use_attribute_docstrings": True}
"""For settings that a recipe may hold: unknown keys are faults, and the schema says what each field means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentSettings:
    """How far colours may go; ranges are evenly drawn, chances are per crop."""

    __pydantic_config__ = STRICT

    strength: float = 1.0
    """Multiplies every range below; 0 switches all off."""
    zoom: float = 0.15
    """Size times 1 ± this, image and targets alike: slides are read up to 10 % beside the resolution that is asked."""
    stretch: float = 0.0
    """The size along x and along y times 1 ± this, each by itself."""
    turn_degrees: float = 0.0
    """Turn by up to this, beside the quarter turns that every crop gets."""
    shear_degrees: float = 0.0
    bend: float = 0.0
    """Elastic deformation: alpha of Simard et al. (ICDAR 2003), ± 20 %, smoothed by 9 to 11 pixels."""
    warp_chance: float = 0.5
    """Crops that get any of the five above."""
    stain: float = 0.2
    """Each stain's amount times 1 ± this ("HED-strong" of Tellez et al., Med Image Anal 58, 2019)."""
    stain_shift: float = 0.05
    """Each stain's amount plus or minus this, in natural optical density."""
    stain_between: tuple[float, float] = (0.0, 1.0)
    """Stains change only where the crop's mean intensity lies within, of white 1: neither glass nor ink."""
    brightness: float = 0.15
    """Intensity times 1 ± this."""
    white_balance: float = 0.06
    """Each channel's intensity times exp(± this)."""
    contrast: float = 0.25
    """Distance from the crop's mean times 1 ± this."""
    saturation: float = 0.3
    """Distance from grey times 1 ± this."""
    hue_degrees: float = 12.0
    """Turn about the grey axis."""
    hsv: float = 0.0
    """Hue (of a whole turn) and saturation (of 1) plus or minus this, each by itself, in hue, saturation, value."""
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
