"""Micrometres and pixels: the only division by mpp (µm per pixel)."""

from __future__ import annotations

import re

MPP_MIN, MPP_MAX = 0.05, 20.0
"""No scanner or microscope camera for tissue lies outside; a value outside is a fault of the file."""


def is_plausible(mpp: float) -> bool:
    """True for a µm per pixel that a slide can have.

    >>> is_plausible(0.25), is_plausible(352.8)
    (True, False)
    """
    return MPP_MIN <= mpp <= MPP_MAX


def px(length_um: float, mpp: float) -> float:
    """A length in pixels of `mpp` µm."""
    return length_um / mpp


def um(length_px: float, mpp: float) -> float:
    """A length in µm of that many pixels."""
    return length_px * mpp


def mpp_of_objective(power: float) -> float:
    """The usual µm per pixel of a scan at this objective power: an estimate (20x -> 0.5)."""
    return 10.0 / power


def objective_of_mpp(mpp: float) -> float:
    """The objective power that a scan of this µm per pixel is called after, a whole number from 1 on (0.499 -> 20)."""
    power = 10.0 / mpp
    return float(round(power)) if power >= 1 else power


def area_px(area_um2: float, mpp_x: float, mpp_y: float) -> float:
    """An area in pixels."""
    return area_um2 / (mpp_x * mpp_y)


def length_um(text: str, mpp: float) -> float:
    """The µm in "64um", "64 µm" or "128px", pixels of `mpp` µm; ValueError for anything else.

    >>> length_um("64um", 0.5), length_um("128px", 0.5)
    (64.0, 64.0)
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(um|µm|μm|px)\s*", text)
    if not found or not float(found[1]) > 0:
        raise ValueError(f"{text!r} is no length such as 64um or 128px")
    return um(float(found[1]), mpp) if found[2] == "px" else float(found[1])
