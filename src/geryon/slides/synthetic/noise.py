"""Noise that depends on the place alone: hashed lattices in µm, interpolated smoothly."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from geryon.compiling import compiled

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


@compiled
def _mixed(z):  # type: ignore[no-untyped-def]  # pragma: no cover
    z = (z ^ (z >> np.uint64(30))) * _M2
    z = (z ^ (z >> np.uint64(27))) * _M3
    return z ^ (z >> np.uint64(31))


@compiled
def _hash(start, column, row):  # type: ignore[no-untyped-def]  # pragma: no cover
    z = _mixed(start + np.uint64(column) * _M1) + np.uint64(row) * _M3
    return np.float64(_mixed(z) >> np.uint64(11)) / 9007199254740992.0


@compiled
def _hash_all(start, column, row):  # type: ignore[no-untyped-def]  # pragma: no cover
    out = np.empty(len(column))
    for k in range(len(column)):
        out[k] = _hash(start, column[k], row[k])
    return out


@compiled
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


@compiled
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
    x_first, columns, across = _weights(x_um / cell_um)
    y_first, rows, down = _weights(y_um / cell_um)
    column = x_first + np.arange(columns[-1] + 4)
    row = y_first + np.arange(rows[-1] + 4)
    lattice = (1.4 * (2 * hashed(seed, salt, column[None, :], row[:, None]) - 1)).astype(np.float32)
    return _spline(lattice, columns, across, rows, down)


def _weights(at: np.ndarray) -> tuple[int, np.ndarray, np.ndarray]:
    """First lattice number; of each point the first of its four lattice points, and their cubic B-spline weights."""
    cell = np.floor(at).astype(np.int64)
    t = at - cell
    parts = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    return int(cell[0]) - 1, cell - cell[0], (np.array(parts) / 6).astype(np.float32)


@compiled
def _spline(lattice, columns, across, rows, down):  # type: ignore[no-untyped-def]  # pragma: no cover
    smooth = np.empty((lattice.shape[0], len(columns)), np.float32)
    for j in range(lattice.shape[0]):
        for x in range(len(columns)):
            i = columns[x]
            smooth[j, x] = (
                across[0, x] * lattice[j, i]
                + across[1, x] * lattice[j, i + 1]
                + across[2, x] * lattice[j, i + 2]
                + across[3, x] * lattice[j, i + 3]
            )
    out = np.empty((len(rows), len(columns)), np.float32)
    for y in range(len(rows)):
        a, b, c, d = smooth[rows[y]], smooth[rows[y] + 1], smooth[rows[y] + 2], smooth[rows[y] + 3]
        p, q, r, s = down[0, y], down[1, y], down[2, y], down[3, y]
        for x in range(len(columns)):
            out[y, x] = p * a[x] + q * b[x] + r * c[x] + s * d[x]
    return out


def speckle(seed: int, salt: int, cell_um: float, x_um: np.ndarray, y_um: np.ndarray) -> np.ndarray:
    """float32 [y, x] in 0..1: the wrapped texture, a grain `cell_um`, where columns lie at x_um and rows at y_um."""
    return _speckle(texture(seed, salt), x_um / cell_um, y_um / cell_um)


@compiled
def _speckle(sheet, u, v):  # type: ignore[no-untyped-def]  # pragma: no cover
    left = np.floor(u).astype(np.int64)
    right, share = (left + 1) % TEXTURE, (u - left).astype(np.float32)
    left = left % TEXTURE
    out = np.empty((len(v), len(u)), np.float32)
    for y in range(len(v)):
        row = np.int64(np.floor(v[y]))
        t = np.float32(v[y] - row)
        top, bottom = sheet[row % TEXTURE], sheet[(row + 1) % TEXTURE]
        for x in range(len(u)):
            a = top[left[x]] + (top[right[x]] - top[left[x]]) * share[x]
            b = bottom[left[x]] + (bottom[right[x]] - bottom[left[x]]) * share[x]
            out[y, x] = a + (b - a) * t
    return out


def two_nearest(seed: int, salt: int, u: np.ndarray, v: np.ndarray, jitter: float) -> tuple[np.ndarray, np.ndarray]:
    """float32 [y, x] twice: distance to the nearest and the next site of a jittered lattice of pitch 1."""
    i, j = int(np.floor(u.min())) - 2, int(np.floor(v.min())) - 2
    column, row = np.meshgrid(np.arange(i, int(np.floor(u.max())) + 3), np.arange(j, int(np.floor(v.max())) + 3))
    sites = [each + 0.5 + jitter * (hashed(seed, salt + k, column, row) - 0.5) for k, each in enumerate((column, row))]
    return _two_nearest(u, v, sites[0], sites[1], i, j)


@compiled
def _two_nearest(u, v, site_x, site_y, i, j):  # type: ignore[no-untyped-def]  # pragma: no cover
    first, second = np.empty(u.shape, np.float32), np.empty(u.shape, np.float32)
    for y in range(u.shape[0]):
        for x in range(u.shape[1]):
            p, q = np.int64(np.floor(u[y, x])) - i, np.int64(np.floor(v[y, x])) - j
            one = two = 1e18
            for b in range(q - 2, q + 3):
                for a in range(p - 2, p + 3):
                    d = (site_x[b, a] - u[y, x]) ** 2 + (site_y[b, a] - v[y, x]) ** 2
                    if d < one:
                        one, two = d, one
                    elif d < two:
                        two = d
            first[y, x], second[y, x] = np.sqrt(one), np.sqrt(two)
    return first, second


@lru_cache(maxsize=24)
def texture(seed: int, salt: int) -> np.ndarray:
    """float32 [TEXTURE, TEXTURE] in 0..1, to be wrapped round: uniform noise, one grain a cell."""
    return np.random.default_rng([seed, salt, 77]).random((TEXTURE, TEXTURE), dtype=np.float32)


def along(seed: int, salt: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """float32 in 0..1: the wrapped texture where u and v (in cells) say; drawn out if they are scaled unlike."""
    return cv2.remap(texture(seed, salt), _wrapped(u), _wrapped(v), cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


@compiled
def _wrapped(at):  # type: ignore[no-untyped-def]  # pragma: no cover
    out = np.empty(at.shape, np.float32)
    for i in range(at.shape[0]):
        for j in range(at.shape[1]):
            out[i, j] = at[i, j] - TEXTURE * np.floor(at[i, j] / TEXTURE)
    return out
