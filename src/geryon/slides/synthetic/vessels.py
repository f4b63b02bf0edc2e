"""Small vessels: pale, with a thin wall and red cells; objects of no task."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from geryon.slides.synthetic import noise
from geryon.slides.synthetic.layout import MUSCLE, NORMAL, STROMA, TUMOUR, World, tissue_at
from geryon.slides.synthetic.polygons import ovals

PITCH_UM = 105.0
REACH_UM = 32.0
RED_UM = 3.1
"""Radius of a red cell as it lies in a section."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vessel:
    """Outlines in µm, float64 [n, 2]."""

    outline: np.ndarray
    red: np.ndarray
    """float64 [cell, corner, 2]"""


def vessels_of(world: World, x0_um: float, y0_um: float, x1_um: float, y1_um: float) -> list[Vessel]:
    """The vessels that may reach into the box."""
    columns = range(int((x0_um - REACH_UM) // PITCH_UM), int((x1_um + REACH_UM) // PITCH_UM) + 1)
    rows = range(int((y0_um - REACH_UM) // PITCH_UM), int((y1_um + REACH_UM) // PITCH_UM) + 1)
    found = (_vessel(world, row, column) for row in rows for column in columns)
    return [vessel for vessel in found if vessel is not None]


@lru_cache(maxsize=8192)
def _vessel(world: World, row: int, column: int) -> Vessel | None:
    at = np.array([[column, row]]) + np.array(
        [[float(noise.hashed(world.seed, salt, np.int64(column), np.int64(row))) for salt in (81, 82)]]
    )
    at = at * PITCH_UM
    if int(tissue_at(world, at[:, 0], at[:, 1])[0]) not in (MUSCLE, NORMAL, STROMA, TUMOUR):
        return None
    rng = np.random.default_rng([world.seed, 83, row + 8, column + 8])
    if rng.random() < 0.35:
        return None
    a = min(26.0, 4.5 * rng.lognormal(0.35, 0.55))
    b = max(3.2, a * rng.uniform(0.3, 0.75))
    angle = rng.uniform(0, np.pi, 1)
    wall = ovals(
        at,
        np.array([[a, b]]),
        angle,
        rng.uniform(0, 0.12, (1, 2)),
        rng.uniform(0, 6, (1, 2)),
        bend=rng.uniform(-0.4, 0.4, 1),
    )
    n = int(rng.uniform(0.1, 0.9) * a * b / RED_UM**2)
    r, t = np.sqrt(rng.random(n)) * 0.72, rng.uniform(0, 2 * np.pi, n)
    u, v, c, s = a * r * np.cos(t), b * r * np.sin(t), np.cos(angle), np.sin(angle)
    xy = at + np.stack([u * c - v * s, u * s + v * c], axis=1)
    axes = np.stack([np.full(n, RED_UM), RED_UM * rng.uniform(0.6, 1, n)], axis=1)
    red = ovals(
        xy, axes, rng.uniform(0, np.pi, n), rng.uniform(0, 0.08, (n, 2)), rng.uniform(0, 6, (n, 2)), bend=np.zeros(n)
    )
    return Vessel(outline=wall[0], red=red)


def painted(world: World, plane: Any, h: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Blood (float32 [y, x]); h and e lose what the vessels take and gain their walls."""
    found = vessels_of(world, plane.x_um[0], plane.y_um[0], plane.x_um[-1], plane.y_um[-1])
    outlines = [vessel.outline for vessel in found]
    middle = [o.mean(axis=0) for o in outlines]
    wall = plane.labels(outlines) > 0
    if not wall.any():
        return np.zeros(plane.shape, np.float32)
    inner = (
        plane.labels(
            [
                m + (o - m) * np.maximum(0.3, 1 - 1.5 / np.hypot(*(o - m).T))[:, None]
                for o, m in zip(outlines, middle, strict=True)
            ]
        )
        > 0
    )
    np.copyto(e, 0.33, where=wall)
    np.copyto(h, 0.16, where=wall)
    np.copyto(e, 0.02, where=inner)
    np.copyto(h, 0.01, where=inner)
    red = plane.labels([cell for vessel in found for cell in vessel.red])
    tint = 0.30 + 0.12 * np.sin(red * 2.4)
    return np.where(red > 0, tint, 0).astype(np.float32)
