"""Size, turn and bending of a crop: image and targets are taken from the same, deformed place of their sample.

Maps of one channel are amounts (inside, rim, depth) and are interpolated; maps of several channels are classes, where
a mixture of two would be a third, so the nearest pixel speaks. Zoom and turn keep a normalised distance as it is, for
the largest distance in an object changes with all others; the drawn width of a rim goes with the zoom, as its gland
does. Weights are the nearest pixel's: what is unknown stays so.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from geryon.train.augment_settings import AugmentSettings

BEND_CELL_PX = 4
"""Bending is drawn on cells of this side: finer than its smoothness, sixteen times less to draw."""
BEND_SMOOTH_PX = 9.0, 11.0
"""Deviations of the Gaussian that smooths it."""
BEND_WITHIN = 0.2
"""Its strength is the setting times 1 ± this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warp:
    """Where each place of a crop comes from, in pixels of the network's input."""

    matrix: np.ndarray
    """float64 [2, 2]: from an offset (x, y) to the crop's centre to the one in the sample."""
    bend: np.ndarray | None = None
    """float32 [y, x, 2]: what is added to x, y, on cells of BEND_CELL_PX."""

    def reach(self, crop_px: int) -> np.ndarray:
        """float64 [2]: how far in x and y the crop looks from its centre, bending apart."""
        half: np.ndarray = np.abs(self.matrix).sum(axis=1) * crop_px / 2.0
        return half


def draw_warp(seed: int, settings: AugmentSettings, crop_px: int) -> Warp | None:
    """The deformation of the crop with that seed; None where it has none."""
    s, rng = settings, np.random.default_rng([seed, 1])
    ranges = (s.zoom, s.stretch, s.turn_degrees, s.shear_degrees, s.bend)
    if s.strength <= 0 or not any(ranges) or rng.random() >= s.warp_chance:
        return None
    zoom = (1.0 + s.strength * s.zoom * rng.uniform(-1, 1)) * (1.0 + s.strength * s.stretch * rng.uniform(-1, 1, 2))
    turn, shear = np.deg2rad(s.strength * np.array([s.turn_degrees, s.shear_degrees]) * rng.uniform(-1, 1, 2))
    enlarged = _turned(turn) @ np.array([[1.0, np.tan(shear)], [0.0, 1.0]]) @ np.diag(np.maximum(zoom, 0.2))
    bend = _bend(rng, s.strength * s.bend, crop_px) if s.bend else None
    return Warp(matrix=np.linalg.inv(enlarged), bend=bend)


def _turned(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _bend(rng: np.random.Generator, strength: float, crop_px: int) -> np.ndarray:
    """Even noise, smoothed, times the strength (Simard et al., ICDAR 2003)."""
    cells = -(-crop_px // BEND_CELL_PX)
    alpha = strength * (1.0 + BEND_WITHIN * rng.uniform(-1, 1))
    sigma = rng.uniform(*BEND_SMOOTH_PX) / BEND_CELL_PX
    noise = rng.uniform(-1, 1, (cells, cells, 2)).astype(np.float32)
    # smoothing fewer, larger cells takes less off the noise: by the side of a cell
    return alpha / BEND_CELL_PX * cv2.GaussianBlur(noise, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)


def centre_of(origin_px: tuple[int, int], size_px: tuple[int, int], warp: Warp, crop_px: int) -> np.ndarray:
    """float64 [2]: x, y of the middle of a crop with that origin (x, y), moved so that all it sees is in the sample.

    Where the sample (width, height) is too small for that, all of the sample is in what is seen.
    """
    reach, size = warp.reach(crop_px), np.array(size_px, np.float64)
    low, high = np.minimum(reach, size - reach), np.maximum(reach, size - reach)
    middle: np.ndarray = np.clip(np.array(origin_px) + crop_px / 2.0, low, high)
    return middle


def warped(
    array: np.ndarray, *, centre: np.ndarray, warp: Warp, grid: tuple[int, int], fill: int, smooth: bool
) -> np.ndarray:
    """The crop [y, x, ...] of a sample's uint8 array; `grid` is the crop's side and the stride of the array, in pixels.

    Outside of the sample it is `fill`; `smooth` interpolates, else the nearest pixel is taken.
    """
    crop_px, stride = grid
    side = crop_px // stride
    at = ((np.arange(side, dtype=np.float32) + 0.5) * stride - crop_px / 2.0).astype(np.float32)
    (xx, xy), (yx, yy) = warp.matrix.astype(np.float32)
    x = centre[0].astype(np.float32) + xx * at[None, :] + xy * at[:, None]
    y = centre[1].astype(np.float32) + yx * at[None, :] + yy * at[:, None]
    if warp.bend is not None:
        bend = cv2.resize(warp.bend, (side, side), interpolation=cv2.INTER_LINEAR)
        x, y = x + bend[..., 0], y + bend[..., 1]
    how = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    source = np.ascontiguousarray(array)
    taken = cv2.remap(
        source, x / stride - 0.5, y / stride - 0.5, how, borderMode=cv2.BORDER_CONSTANT, borderValue=(fill,) * 4
    )
    return taken.reshape(side, side, *array.shape[2:])
