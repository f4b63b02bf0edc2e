"""Noise that depends on the place alone: hashed lattices in µm, interpolated smoothly."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

TEXTURE = 1024
_M1, _M2, _M3 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def hashed(seed: int, salt: int, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    """float64 in 0..1 for each lattice point, uniform (the finaliser of splitmix64)."""
    start = np.uint64((seed * 1_000_003 + salt * 7919 + 1) & 0xFFFFFFFFFFFFFFFF)
    with np.errstate(over="ignore"):
        z = start + np.asarray(column, np.int64).astype(np.uint64) * _M1
        z = _mixed(z) + np.asarray(row, np.int64).astype(np.uint64) * _M3
        return (_mixed(z) >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _mixed(z: np.ndarray) -> np.ndarray:
    z = (z ^ (z >> np.uint64(30))) * _M2
    z = (z ^ (z >> np.uint64(27))) * _M3
    return z ^ (z >> np.uint64(31))


def at_points(seed: int, salt: int, x_um: np.ndarray, y_um: np.ndarray, cell_um: float) -> np.ndarray:
    """float64 in -1..1 at each point: value noise whose grain is `cell_um`."""
    u, v = np.asarray(x_um) / cell_um, np.asarray(y_um) / cell_um
    i, j = np.floor(u), np.floor(v)
    fu, fv = _eased(u - i), _eased(v - j)
    i, j = i.astype(np.int64), j.astype(np.int64)
    h00, h10 = hashed(seed, salt, i, j), hashed(seed, salt, i + 1, j)
    h01, h11 = hashed(seed, salt, i, j + 1), hashed(seed, salt, i + 1, j + 1)
    top, bottom = h00 + (h10 - h00) * fu, h01 + (h11 - h01) * fu
    return 2 * (top + (bottom - top) * fv) - 1


def _eased(t: np.ndarray) -> np.ndarray:
    return t * t * t * (t * (t * 6 - 15) + 10)


def on_grid(seed: int, salt: int, cell_um: float, x_um: np.ndarray, y_um: np.ndarray) -> np.ndarray:
    """float32 [y, x] in about -1..1: noise of grain `cell_um` where columns lie at x_um and rows at y_um."""
    x_first, across = _weights(x_um / cell_um)
    y_first, down = _weights(y_um / cell_um)
    column = x_first + np.arange(across.shape[1])
    row = y_first + np.arange(down.shape[1])
    lattice = (2 * hashed(seed, salt, column[None, :], row[:, None]) - 1).astype(np.float32)
    return 1.4 * (down @ lattice @ across.T)


def _weights(at: np.ndarray) -> tuple[int, np.ndarray]:
    """First lattice number, and the cubic B-spline weights float32 [n, lattice]."""
    cell = np.floor(at).astype(np.int64)
    t = at - cell
    first = int(cell[0]) - 1
    weights = np.zeros((len(at), int(cell[-1]) - first + 3), np.float32)
    rows = np.arange(len(at))
    parts = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    for k, part in enumerate(parts):
        weights[rows, cell - first - 1 + k] = part / 6
    return first, weights


@lru_cache(maxsize=8)
def texture(seed: int, salt: int) -> np.ndarray:
    """float32 [TEXTURE, TEXTURE] in 0..1, to be wrapped round: uniform noise, one grain a cell."""
    return np.random.default_rng([seed, salt, 77]).random((TEXTURE, TEXTURE), dtype=np.float32)


def along(seed: int, salt: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """float32 in 0..1: the wrapped texture where u and v (in cells) say; drawn out if they are scaled unlike."""
    maps = [np.mod(each, TEXTURE).astype(np.float32) for each in (u, v)]
    return cv2.remap(texture(seed, salt), maps[0], maps[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
