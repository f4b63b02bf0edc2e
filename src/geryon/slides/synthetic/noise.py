"""Noise that depends on the place alone: hashed lattices in µm, interpolated smoothly."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numba import njit

TEXTURE = 1024
_M1, _M2, _M3 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def hashed(seed: int, salt: int, column: np.ndarray | np.integer, row: np.ndarray | np.integer) -> np.ndarray:
    """float64 in 0..1 for each lattice point, uniform (the finaliser of splitmix64)."""
    columns, rows = np.broadcast_arrays(np.asarray(column, np.int64), np.asarray(row, np.int64))
    return _hash_all(_start(seed, salt), columns.ravel(), rows.ravel()).reshape(columns.shape)


def at_points(seed: int, salt: int, x_um: np.ndarray, y_um: np.ndarray, cell_um: float) -> np.ndarray:
    """float64 in -1..1 at each point: value noise whose grain is `cell_um`."""
    x, y = np.asarray(x_um, np.float64), np.asarray(y_um, np.float64)
    return _noise_all(_start(seed, salt), x.ravel() / cell_um, y.ravel() / cell_um).reshape(x.shape)


def nearest_site(
    seed: int, salt: int, x_um: np.ndarray, y_um: np.ndarray, cell_um: float
) -> tuple[np.ndarray, np.ndarray]:
    """int64 twice: column and row of the jittered lattice site that each point is nearest to."""
    x, y = np.asarray(x_um, np.float64), np.asarray(y_um, np.float64)
    starts = _start(seed, salt), _start(seed, salt + 1)
    column, row = _nearest_all(*starts, x.ravel() / cell_um, y.ravel() / cell_um)
    return column.reshape(x.shape), row.reshape(x.shape)


def _start(seed: int, salt: int) -> np.uint64:
    return np.uint64((seed * 1_000_003 + salt * 7919 + 1) & 0xFFFFFFFFFFFFFFFF)


@njit(cache=True)
def _mixed(z):  # type: ignore[no-untyped-def]  # pragma: no cover
    z = (z ^ (z >> np.uint64(30))) * _M2
    z = (z ^ (z >> np.uint64(27))) * _M3
    return z ^ (z >> np.uint64(31))


@njit(cache=True)
def _hash(start, column, row):  # type: ignore[no-untyped-def]  # pragma: no cover
    z = _mixed(start + np.uint64(column) * _M1) + np.uint64(row) * _M3
    return np.float64(_mixed(z) >> np.uint64(11)) / 9007199254740992.0


@njit(cache=True)
def _hash_all(start, column, row):  # type: ignore[no-untyped-def]  # pragma: no cover
    out = np.empty(len(column))
    for k in range(len(column)):
        out[k] = _hash(start, column[k], row[k])
    return out


@njit(cache=True)
def _noise_all(start, u, v):  # type: ignore[no-untyped-def]  # pragma: no cover
    out = np.empty(len(u))
    for k in range(len(u)):
        i, j = np.int64(np.floor(u[k])), np.int64(np.floor(v[k]))
        s, t = u[k] - i, v[k] - j
        s = s * s * s * (s * (s * 6 - 15) + 10)
        t = t * t * t * (t * (t * 6 - 15) + 10)
        h00, h10 = _hash(start, i, j), _hash(start, i + 1, j)
        h01, h11 = _hash(start, i, j + 1), _hash(start, i + 1, j + 1)
        top, bottom = h00 + (h10 - h00) * s, h01 + (h11 - h01) * s
        out[k] = 2 * (top + (bottom - top) * t) - 1
    return out


@njit(cache=True)
def _nearest_all(start_x, start_y, u, v):  # type: ignore[no-untyped-def]  # pragma: no cover
    column, row = np.empty(len(u), np.int64), np.empty(len(u), np.int64)
    for k in range(len(u)):
        i, j = np.int64(np.floor(u[k])), np.int64(np.floor(v[k]))
        best = 1e18
        for q in range(j - 1, j + 2):
            for p in range(i - 1, i + 2):
                dx = p + 0.15 + 0.7 * _hash(start_x, p, q) - u[k]
                dy = q + 0.15 + 0.7 * _hash(start_y, p, q) - v[k]
                if dx * dx + dy * dy < best:
                    best = dx * dx + dy * dy
                    column[k], row[k] = p, q
    return column, row


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
