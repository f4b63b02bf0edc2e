"""What lies between glands and under cells: one painter a tissue, blended where tissues meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import cv2
import numpy as np

from geryon.slides.synthetic import noise, vessels
from geryon.slides.synthetic.glands import Gland
from geryon.slides.synthetic.layout import (
    ADIPOSE,
    BACKGROUND,
    DEBRIS,
    LYMPHOCYTES,
    MUCUS,
    MUSCLE,
    NORMAL,
    STROMA,
    TUMOUR,
    World,
    tissue_at,
)  # fmt: skip

Stains = tuple[np.ndarray, np.ndarray]
"""Eosin and haematoxylin, float32 [y, x]."""
COARSE_PX = 4
BORDER_UM = 2.0
"""Over which one tissue passes into another."""
CELL_UM = 62.0
"""Across a fat cell."""


class Plane(Protocol):
    """Where pixels are."""

    @property
    def x_um(self) -> np.ndarray: ...

    @property
    def y_um(self) -> np.ndarray: ...

    @property
    def mpp(self) -> float: ...

    @property
    def glands(self) -> tuple[Gland, ...]: ...

    @property
    def shape(self) -> tuple[int, int]: ...

    def labels(self, polygons: list[np.ndarray]) -> np.ndarray: ...

    def grain(self, world: World, salt: int, cell_um: float) -> np.ndarray: ...


def painted(
    world: World, plane: Plane, near_gland_um: np.ndarray, fibres_um: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Haematoxylin, eosin and blood (float32 [y, x]) of the ground."""
    e, h = np.zeros(plane.shape, np.float32), np.zeros(plane.shape, np.float32)
    along, across = (each.astype(np.float64) for each in fibres_um)
    across += 2.4 * plane.grain(world, 32, 17.0) + 0.7 * plane.grain(world, 33, 5.0)
    for number, share in _shares(world, plane).items():
        if number != BACKGROUND:
            own_e, own_h = PAINTERS[number](world, plane, along, across)
            e += share * own_e
            h += share * own_h
    grit = 1 + 0.16 * plane.grain(world, 41, 1.4) + 0.14 * plane.grain(world, 42, 5.5)
    kept = _cleft(world, plane, near_gland_um) * grit
    h, e = np.maximum(h * kept, 0), np.maximum(e * kept, 0)
    return h, e, vessels.painted(world, plane, h, e)


def _shares(world: World, plane: Plane) -> dict[int, np.ndarray]:
    """How much of each pixel each tissue has, float32 [y, x]; only tissues that are there."""
    x, y = (each.reshape(-1, COARSE_PX).mean(axis=1) for each in (plane.x_um, plane.y_um))
    kinds = tissue_at(world, *np.meshgrid(x, y))
    size = plane.shape[::-1]
    spread = BORDER_UM / (COARSE_PX * plane.mpp)
    soft = {int(n): cv2.GaussianBlur((kinds == n).astype(np.float32), (0, 0), spread) for n in np.unique(kinds)}
    return {number: cv2.resize(share, size, interpolation=cv2.INTER_LINEAR) for number, share in soft.items()}


def _cleft(world: World, plane: Plane, near_gland_um: np.ndarray) -> np.ndarray:
    """float32 [y, x]: 1, less in the gaps that shrinkage left around glands."""
    wide = [g for g in plane.glands if g.cleft_um > 1]
    if not wide:
        return np.ones(plane.shape, np.float32)
    grown = plane.labels([_grown(g.outline, g.cleft_um) for g in wide]) > 0
    soft = cv2.GaussianBlur(grown.astype(np.float32), (0, 0), 0.8 / plane.mpp)
    torn = np.clip(0.85 + 1.1 * plane.grain(world, 31, 13.0) + 0.7 * plane.grain(world, 34, 2.6), 0, 1)
    return 1 - 0.95 * soft * torn * (near_gland_um > 0)


def _grown(outline: np.ndarray, by_um: float) -> np.ndarray:
    """The outline pushed out by a width that varies round it."""
    tangent = np.roll(outline, -2, axis=0) - np.roll(outline, 2, axis=0)
    tangent /= np.maximum(np.hypot(*tangent.T), 1e-9)[:, None]
    turn = np.linspace(0, 2 * np.pi, len(outline), endpoint=False)
    width = by_um * (0.65 + 0.6 * np.sin(turn + by_um) + 0.25 * np.sin(5 * turn + 3 * by_um))
    return outline + np.stack([tangent[:, 1], -tangent[:, 0]], axis=1) * np.clip(width, 0, None)[:, None]


def _strands(world: World, along: np.ndarray, across: np.ndarray, salt: int, size: tuple[float, float]) -> np.ndarray:
    """float32 in 0..1: streaks of that length and width in µm along the fibres."""
    return noise.along(world.seed, salt, along / size[0], across / size[1])


def _stroma(world: World, plane: Plane, along: np.ndarray, across: np.ndarray) -> Stains:
    return _collagen(world, plane, along, across, (0.40, 0.38))


def _desmoplastic(world: World, plane: Plane, along: np.ndarray, across: np.ndarray) -> Stains:
    return _collagen(world, plane, along, across, (0.46, 0.30))


def _collagen(world: World, plane: Plane, along: np.ndarray, across: np.ndarray, dose: tuple[float, float]) -> Stains:
    bundles, thread = _strands(world, along, across, 51, (48, 6.0)), _strands(world, along, across, 52, (24, 2.1))
    hair = _strands(world, along, across, 53, (12, 0.9))
    loose = plane.grain(world, 54, 60.0) + 0.6 * plane.grain(world, 55, 14.0) + 0.35 * plane.grain(world, 50, 4.0)
    gap = np.clip(4 * (0.36 + 0.22 * loose - 0.45 * bundles - 0.55 * thread), 0, 1)
    e = (dose[0] * (0.45 + 0.55 * bundles) + dose[1] * (0.6 * thread + 0.5 * hair - 0.4)) * (1 - 0.85 * gap)
    return np.maximum(e, 0.015), np.maximum(0.05 + 0.07 * thread + 0.03 * hair, 0) * (1 - 0.8 * gap)


def _lamina(world: World, plane: Plane, along: np.ndarray, across: np.ndarray) -> Stains:
    thread, hair = _strands(world, along, across, 56, (11, 2.6)), _strands(world, along, across, 53, (7, 1.1))
    blot = 0.6 * plane.grain(world, 57, 6.0) + 0.5 * plane.grain(world, 58, 22.0) + 0.35 * plane.grain(world, 59, 2.4)
    hole = np.clip(2.6 * (blot - 0.7 * thread + 0.20), 0, 1)
    e = (0.15 + 0.22 * thread + 0.15 * hair) * (1 - 0.88 * hole)
    return e, (0.06 + 0.10 * thread) * (1 - 0.85 * hole)


def _muscle(world: World, plane: Plane, along: np.ndarray, across: np.ndarray) -> Stains:
    cell, fine = _strands(world, along, across, 46, (75, 4.2)), _strands(world, along, across, 47, (30, 1.2))
    ragged = 0.10 * plane.grain(world, 49, 9) + 0.05 * plane.grain(world, 40, 3)
    cleft = np.clip(9 * (0.10 - _strands(world, along, across, 48, (150, 8.0)) + ragged), 0, 1)
    e = (0.46 + 0.30 * (cell - 0.5) + 0.34 * (fine - 0.5)) * (1 - 0.85 * cleft)
    return e, (0.13 + 0.10 * (cell - 0.5)) * (1 - 0.7 * cleft)


def _mucus(world: World, plane: Plane, along: np.ndarray, across: np.ndarray) -> Stains:
    sheet = np.abs(2 * _strands(world, along, across, 43, (130, 26)) - 1)
    thread = _strands(world, along, across, 44, (60, 2.0))
    hair = np.clip(3 * _strands(world, along, across, 48, (30, 0.8)) - 1.8, 0, 1)
    line = np.clip(1 - 7 * sheet, 0, 1)
    h = 0.045 + 0.05 * plane.grain(world, 45, 33) * 0.6 + 0.03 * thread + 0.07 * hair + 0.11 * line * (0.4 + thread)
    return 0.012 + 0.02 * thread, np.maximum(h, 0.005)


def _debris(world: World, plane: Plane, along: np.ndarray, across: np.ndarray) -> Stains:
    n1, n2, n3 = plane.grain(world, 35, 2.2), plane.grain(world, 36, 6.5), plane.grain(world, 37, 28)
    crack = np.clip(7 * (np.abs(n2 + 0.5 * n3) * -1 + 0.06), 0, 1)
    e = (0.46 + 0.22 * n1 + 0.10 * n2 + 0.10 * n3) * (1 - 0.7 * crack)
    dust = np.clip(5 * (n1 + 0.45 * n2 - 0.95), 0, 1)
    return np.maximum(e, 0.02), np.maximum(0.05 + 0.03 * n2 + 0.8 * dust, 0)


def _follicle(world: World, plane: Plane, along: np.ndarray, across: np.ndarray) -> Stains:
    haze = np.clip(0.5 + 0.9 * plane.grain(world, 38, 4.0) + 0.4 * plane.grain(world, 39, 15), 0, 1.4)
    return 0.02 + 0.17 * haze, 0.01 + 0.13 * haze


def _fat(world: World, plane: Plane, along: np.ndarray, across: np.ndarray) -> Stains:
    """Walls of fat cells: where two of the nearest jittered sites are about as far."""
    every = 2  # distances are smooth: half the pixels will do
    x_um, y_um = plane.x_um[::every], plane.y_um[::every]
    u = x_um[None, :] + 3.0 * plane.grain(world, 26, 30.0)[::every, ::every]
    v = y_um[:, None] + 3.0 * plane.grain(world, 27, 30.0)[::every, ::every]
    first, second = noise.two_nearest(world.seed, 28, u / CELL_UM, v / CELL_UM, 0.8)
    between = cv2.resize(CELL_UM * (second - first), plane.shape[::-1], interpolation=cv2.INTER_LINEAR)
    wide = 1.9 + 1.1 * plane.grain(world, 30, 40.0)
    wall = np.exp(-np.square(between / np.maximum(wide, 0.6)))
    return 0.34 * wall + 0.006, 0.10 * wall


PAINTERS: dict[int, Callable[[World, Plane, np.ndarray, np.ndarray], Stains]] = {
    ADIPOSE: _fat,
    DEBRIS: _debris,
    LYMPHOCYTES: _follicle,
    MUCUS: _mucus,
    MUSCLE: _muscle,
    NORMAL: _lamina,
    STROMA: _stroma,
    TUMOUR: _desmoplastic,
}
