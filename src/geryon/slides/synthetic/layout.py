"""Which tissue lies where: a plane of patches with wavy borders, cut to the size of the specimen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from geryon.slides.synthetic import noise

TISSUES = ("adipose", "background", "debris", "lymphocytes", "mucus", "muscle", "normal", "stroma", "tumour")
ADIPOSE, BACKGROUND, DEBRIS, LYMPHOCYTES, MUCUS, MUSCLE, NORMAL, STROMA, TUMOUR = range(9)
PATCH_UM = 390.0
SHARES = ((STROMA, 0.12), (MUSCLE, 0.11), (ADIPOSE, 0.06), (LYMPHOCYTES, 0.06), (MUCUS, 0.05), (DEBRIS, 0.04))
"""Of the patches; the rest holds glands."""
WAVES = ((70.0, 190.0), (14.0, 37.0), (4.5, 9.0))
"""How far borders of tissues stray, and over what length, µm."""
HOLES = 0.015
"""Share of patches torn out of the section."""
INVADED = (NORMAL, STROMA, LYMPHOCYTES, MUSCLE)
"""What a lesion grows into; fat, mucus, debris and holes stay."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All that decides where things lie; positions are µm from the slide's top left."""

    width_um: float
    height_um: float
    seed: int
    malignant: float
    tissue_mm2: float | None
    signet: float = 0.0
    lesion_um: tuple[float, float, float] | None = None
    cribriform: float = 0.4


def tissue_at(world: World, x_um: np.ndarray, y_um: np.ndarray) -> np.ndarray:
    """uint8: the class number in TISSUES at each point."""
    x_um, y_um = np.asarray(x_um, np.float64), np.asarray(y_um, np.float64)
    u, v = x_um.copy(), y_um.copy()
    for salt, (size, cell) in enumerate(WAVES):
        u += size * noise.at_points(world.seed, 12 + 2 * salt, x_um, y_um, cell)
        v += size * noise.at_points(world.seed, 13 + 2 * salt, x_um, y_um, cell)
    column, row = noise.nearest_site(world.seed, 5, u, v, PATCH_UM)
    found = patch_class(world, column, row)
    if world.lesion_um is not None:
        found = _with_lesion(found, np.hypot(u - world.lesion_um[0], v - world.lesion_um[1]) < world.lesion_um[2])
    if world.tissue_mm2 is not None:
        found = np.where(_rim(world, x_um, y_um) < 1, found, BACKGROUND)
    return found.astype(np.uint8)


def patch_class(world: World, column: np.ndarray, row: np.ndarray) -> np.ndarray:
    """The class number of each patch: malignant glands keep together, the others are strewn."""
    h = noise.hashed(world.seed, 7, column, row)
    zone = noise.at_points(world.seed, 8, column * 1.0, row * 1.0, 2.3)
    own = 2 * noise.hashed(world.seed, 9, column, row) - 1
    rank = 0.5 + 0.5 * np.sin(np.pi / 2 * np.clip(0.75 * zone + 0.35 * own, -1, 1))
    found = np.where(rank < world.malignant, TUMOUR, NORMAL)
    at = 0.0
    for number, share in (*SHARES, (BACKGROUND, HOLES)):
        found = np.where((h >= at) & (h < at + share), number, found)
        at += share
    return found


def _with_lesion(found: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Malignant glands inside, none outside."""
    found = np.where(found == TUMOUR, NORMAL, found)
    return np.where(inside & np.isin(found, INVADED), TUMOUR, found)


def _rim(world: World, x_um: np.ndarray, y_um: np.ndarray) -> np.ndarray:
    """Below 1 inside the specimen, which is a wavy oval of the asked area in the middle of the slide."""
    dx, dy = x_um - world.width_um / 2, y_um - world.height_um / 2
    wave = 0.12 * noise.at_points(world.seed, 10, x_um, y_um, 1500) + 0.02 * noise.at_points(
        world.seed, 11, x_um, y_um, 120
    )
    return np.hypot(dx / specimen_axes(world)[0], dy / specimen_axes(world)[1]) + wave


def specimen_axes(world: World) -> tuple[float, float]:
    """Half width and half height of the specimen, µm: the slide's own proportions, as far as they are not extreme."""
    assert world.tissue_mm2 is not None
    aspect = min(2.0, max(0.5, world.width_um / world.height_um))
    mean = math.sqrt(world.tissue_mm2 * 1e6 / math.pi)
    return mean * math.sqrt(aspect), mean / math.sqrt(aspect)


def is_glass(world: World, x0_um: float, y0_um: float, x1_um: float, y1_um: float) -> bool:
    """True for a box that surely holds nothing but glass."""
    if world.tissue_mm2 is None:
        return False
    a, b = specimen_axes(world)
    dx = max(x0_um - world.width_um / 2, world.width_um / 2 - x1_um, 0.0)
    dy = max(y0_um - world.height_um / 2, world.height_um / 2 - y1_um, 0.0)
    return math.hypot(dx / a, dy / b) > 1.15


def fibres(
    world: World, x_um: np.ndarray, y_um: np.ndarray, near_gland_um: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """float64 [y, x] twice: µm along and across the fibres, for columns at x_um and rows at y_um.

    They sway over the section and bend round glands; near_gland_um is the distance to the nearest one.
    """
    turn = 2 * math.pi * float(noise.hashed(world.seed, 20, np.int64(0), np.int64(0)))
    c, s = math.cos(turn), math.sin(turn)
    sway = 130 * noise.on_grid(world.seed, 21, 260, x_um, y_um) + 9 * noise.on_grid(world.seed, 22, 38, x_um, y_um)
    sway += 1.7 * noise.on_grid(world.seed, 24, 11, x_um, y_um)
    drift = 80 * noise.on_grid(world.seed, 23, 300, x_um, y_um)
    hug = 0.036 * np.clip(30 - near_gland_um, 0, None) ** 2
    along = x_um[None, :] * c + y_um[:, None] * s + drift
    return along, y_um[:, None] * c - x_um[None, :] * s + sway + hug
