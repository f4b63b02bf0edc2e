"""Images strewn with small digits: the label is the digit that fills a tilted rectangle, amid any others.

The law is that of the synthetic set of Tellez et al., TPAMI 2019 (arXiv 1811.02840), whose published generator gives
the label away by the other rectangle's digit. `legacy` keeps that law; without it the digit is drawn evenly.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from geryon.errors import UsageError
from geryon.slides.synthetic.glyphs import Glyphs

CLASSES = 10
STEP_PX = 9
"""Grid of places, and the patch that the encoders of the paper take."""
LEGACY_PX = 10
"""Side of the original's digits: every third pixel of 28."""
SHARE = 0.002
"""Digits a pixel."""
SIDES = (0.01, 0.4998)
"""Least and greatest long side of a rectangle, of the image's side; short sides are half."""
TILTED, UPRIGHT = 127, 255
"""Values in the mask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """What one image shall show; sides are the long ones, in px."""

    number: int
    label: int
    """Digit of the tilted rectangle."""
    distractor: int
    """Digit of the upright one."""
    tilted_px: int
    upright_px: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """Where the n digits of an image lie."""

    mask: np.ndarray
    """uint8 [y, x]: TILTED, UPRIGHT or 0"""
    corner: np.ndarray
    """int64 [n, 2]: x, y of each digit's top left, px; some reach out of the image"""
    digits: np.ndarray
    """int64 [n]"""
    in_tilted: int
    """Digits whose middle lies in the tilted rectangle: what tells the label."""
    in_upright: int


def draw(number: int, *, seed: int, size_px: int, legacy: bool = False) -> Draw:
    """The draw of an image, by its number and the seed alone; each ten in a row have all labels, unless legacy."""
    if size_px < 20 * STEP_PX:
        raise UsageError(
            what=f"an image of {size_px} px has no room for rectangles", mend=f"give {20 * STEP_PX} or more"
        )
    rng = np.random.default_rng([seed, 63, number])
    tens = np.random.default_rng([seed, 64, number // CLASSES]).permutation(CLASSES)
    label = int(rng.integers(CLASSES)) if legacy else int(tens[number % CLASSES])
    others = distractors(label, legacy=legacy)
    low, high = (round(share * size_px) for share in SIDES)
    tilted, upright = rng.integers(low, high + 1, 2)
    return Draw(
        number=number,
        label=label,
        distractor=others[int(rng.integers(len(others)))],
        tilted_px=int(tilted),
        upright_px=int(upright),
    )


def distractors(label: int, *, legacy: bool) -> tuple[int, ...]:
    """The digits, all as probable, that the upright rectangle may have beside that label."""
    return tuple((label + k) % CLASSES for k in range(1, CLASSES - 1 if legacy else CLASSES))


def layout(what: Draw, *, seed: int, size_px: int, legacy: bool = False) -> Layout:
    """Rectangles and digits of a draw; nothing is painted."""
    rng = np.random.default_rng([seed, 65, what.number])
    mask = _mask(what, size_px, rng)
    across = size_px // STEP_PX
    places = rng.choice(across * across, int(size_px * size_px * SHARE), replace=False)
    corner = np.stack([places % across, places // across], axis=1) * STEP_PX + rng.integers(-5, 5, (len(places), 2))
    middle = np.clip(corner + (LEGACY_PX if legacy else STEP_PX) // 2, 0, size_px - 1)
    at = mask[middle[:, 1], middle[:, 0]]
    other = rng.integers(CLASSES, size=len(at))
    return Layout(
        mask=mask,
        corner=corner,
        digits=np.where(at == TILTED, what.label, np.where(at == UPRIGHT, what.distractor, other)),
        in_tilted=int(np.count_nonzero(at == TILTED)),
        in_upright=int(np.count_nonzero(at == UPRIGHT)),
    )


def bank(glyphs: Glyphs, *, legacy: bool = False) -> Glyphs:
    """Digits of the size that the images have."""
    return glyphs.thinned() if legacy else glyphs.shrunk(STEP_PX)


def painted(where: Layout, digits: Glyphs, rng: np.random.Generator, *, legacy: bool = False) -> np.ndarray:
    """uint8 [y, x]: the image, with digits of that `bank`."""
    side = digits.images.shape[1]
    rim = 2 * side  # room for what leaves the image
    image = np.pad(np.zeros_like(where.mask), rim)
    pictures = digits.images[digits.drawn(where.digits, rng)]
    for (x, y), picture in zip((where.corner + rim).tolist(), pictures, strict=True):
        under = image[y : y + side, x : x + side]
        under[:] = picture if legacy else np.maximum(under, picture)  # the original's black boxes erase neighbours
    return image[rim:-rim, rim:-rim].copy()


def _mask(what: Draw, size_px: int, rng: np.random.Generator) -> np.ndarray:
    """Tilted in the left half, upright over it in the right half, then all turned and mirrored."""
    mask = np.zeros((size_px, size_px), np.uint8)
    turn = np.deg2rad(rng.choice([45.0, 135.0]))
    along = what.tilted_px / 2 * np.array([np.cos(turn), np.sin(turn)])
    across = what.tilted_px / 4 * np.array([-np.sin(turn), np.cos(turn)])
    corners = np.stack([along + across, along - across, -along - across, across - along])
    corners -= corners.min(axis=0)
    wide, tall = corners.max(axis=0)
    x, y = rng.uniform(0, min(size_px / 2, size_px - wide)), rng.uniform(0, size_px - tall)
    cv2.fillConvexPoly(mask, np.round(corners + [x, y]).astype(np.int32), TILTED)
    wide, tall = rng.permutation([what.upright_px, what.upright_px / 2])
    x, y = rng.uniform(size_px / 2, max(size_px / 2, size_px - wide)), rng.uniform(0, size_px - tall)
    cv2.rectangle(mask, (round(x), round(y)), (round(x + wide) - 1, round(y + tall) - 1), UPRIGHT, -1)
    mask = np.rot90(mask, int(rng.integers(4)))
    mirror = int(rng.integers(3))
    return np.ascontiguousarray(mask if mirror == 0 else np.flip(mask, mirror - 1))
