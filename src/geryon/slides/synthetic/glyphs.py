"""Banks of digits: drawn here from pen strokes, or read from files of the form of MNIST."""

from __future__ import annotations

import gzip
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from geryon.errors import InputError

SIDE_PX = 28
RIM_PX = 2
FINE = 3
"""Digits are drawn so much larger, then made smaller by means."""
FONTS = (
    *(cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_PLAIN, cv2.FONT_HERSHEY_DUPLEX),
    *(cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX),
)
A_CLASS = 200
"""Digits of each class in a bank that is drawn here."""


@dataclass(frozen=True, slots=True, eq=False)
class Glyphs:
    """n digits."""

    images: np.ndarray
    """uint8 [n, side, side], white on black"""
    labels: np.ndarray
    """uint8 [n]"""

    def drawn(self, digits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """int64 like `digits`: numbers of glyphs of those classes."""
        out = np.empty(digits.shape, np.int64)
        for digit in np.unique(digits):
            of = np.flatnonzero(self.labels == digit)
            out[digits == digit] = of[rng.integers(len(of), size=int((digits == digit).sum()))]
        return out

    def shrunk(self, side_px: int) -> Glyphs:
        """Digits of that side: means over areas, without the empty rim; brighter, as thin strokes fade."""
        inner = self.images[:, RIM_PX:-RIM_PX, RIM_PX:-RIM_PX]
        small = [cv2.resize(each, (side_px, side_px), interpolation=cv2.INTER_AREA) for each in inner]
        return Glyphs(np.minimum(np.array(small).astype(np.uint16) * 5 // 4, 255).astype(np.uint8), self.labels)

    def thinned(self) -> Glyphs:
        """Digits of 10 px as the original has them: values above 63 are 255, and every third pixel stays."""
        return Glyphs(np.where(self.images > 63, np.uint8(255), self.images)[:, ::3, ::3], self.labels)


@lru_cache(maxsize=4)
def drawn_glyphs(seed: int, a_class: int = A_CLASS) -> Glyphs:
    """A bank of ten times `a_class` digits: fonts, widths of the pen, slants, sizes and bends differ."""
    rng = np.random.default_rng([seed, 66])
    labels = np.tile(np.arange(10, dtype=np.uint8), a_class)
    return Glyphs(np.array([_glyph(int(digit), rng) for digit in labels]), labels)


def _glyph(digit: int, rng: np.random.Generator) -> np.ndarray:
    """uint8 [28, 28]."""
    side = SIDE_PX * FINE
    canvas = np.zeros((side, side), np.uint8)
    font, pen = FONTS[int(rng.integers(len(FONTS)))], int(rng.integers(4, 9))
    (wide, tall), _ = cv2.getTextSize(str(digit), font, 1.0, 1)
    scale = 0.70 * side / tall
    at = round((side - wide * scale) / 2), round((side + tall * scale) / 2)
    cv2.putText(canvas, str(digit), at, font, scale, 255, pen, cv2.LINE_AA)
    turn, slant = np.deg2rad(rng.uniform(-12, 12)), rng.uniform(-0.25, 0.25)
    size = rng.uniform(0.85, 1.15, 2)
    linear = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ [[1, slant], [0, 1]] / size
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    bend = cv2.resize(rng.normal(0, 1.8, (4, 4, 2)), (side, side), interpolation=cv2.INTER_CUBIC)
    moved = np.stack([x, y], axis=2) @ linear.T + bend + rng.uniform(-3, 3, 2) + (side - 1) / 2
    bent = cv2.remap(canvas, moved.astype(np.float32), None, cv2.INTER_LINEAR)  # type: ignore[call-overload]
    return np.asarray(cv2.resize(bent, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA))


def read_glyphs(path: Path) -> Glyphs:
    """The digits of an idx file of images, such as train-images-idx3-ubyte(.gz), with the labels beside it.

    InputError where the two are no such pair. The form is told at MNIST's page (LeCun, Cortes, Burges).
    """
    labels_path = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    if labels_path == path:
        mend = "give train-images-idx3-ubyte; its labels lie beside it"
        raise InputError(what="is no idx file of images by its name", where=str(path), mend=mend)
    images, labels = _idx(path), _idx(labels_path)
    if (
        images.shape[1:] != (SIDE_PX, SIDE_PX)
        or labels.shape != images.shape[:1]
        or set(labels.tolist()) != set(range(10))
    ):
        what = f"holds images {images.shape} and labels {labels.shape}, not digits of {SIDE_PX} px with their classes"
        raise InputError(what=what, where=str(path), mend="give the files as they are published")
    return Glyphs(images, labels)


def _idx(path: Path) -> np.ndarray:
    """uint8 of any number of axes."""
    try:
        held = path.read_bytes()
        held = gzip.decompress(held) if held[:2] == b"\x1f\x8b" else held
        zero, kind, axes = struct.unpack_from(">HBB", held)
        shape = struct.unpack_from(f">{axes}I", held, 4)
        if (zero, kind) != (0, 8):
            raise ValueError(f"its first bytes are {held[:4].hex(' ')}")
        return np.frombuffer(held, np.uint8, int(np.prod(shape)), 4 + 4 * axes).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise InputError(what=f"is no idx file: {error}", where=str(path), mend="give it as it is published") from error
