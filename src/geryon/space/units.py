"""Micrometres and pixels: the only division by mpp (µm per pixel)."""

from __future__ import annotations

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


def area_px(area_um2: float, mpp_x: float, mpp_y: float) -> float:
    """An area in pixels."""
    return area_um2 / (mpp_x * mpp_y)
