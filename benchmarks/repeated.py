"""A slide of any size from one synthetic square: what a benchmark of large slides reads, without rendering them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import tifffile

from geryon.slides.reader import Level, Slide, levels_of, slide_of
from geryon.slides.synthetic import SyntheticSlide
from geryon.space.boxes import Box

REPEAT_PX = 1024
TILE_PX = 512
GLASS = 245
PX_A_MM = 2000
"""At 0.5 µm/px."""


@dataclass(frozen=True)
class Repeated:
    """A reader of one square, repeated over a specimen in the middle of glass."""

    square: np.ndarray
    """uint8 [side, side, 3]"""
    side_px: int
    tissue_px: int
    mpp: tuple[float, float] = (0.5, 0.5)
    objective: None = None
    origin_level0: tuple[int, int] = (0, 0)
    thread_safe: bool = True

    @cached_property
    def levels(self) -> tuple[Level, ...]:
        return levels_of([(self.side_px, self.side_px)])

    def read(self, level: int, box: tuple[int, int, int, int]) -> np.ndarray:
        x, y = np.arange(box[0], box[2]), np.arange(box[1], box[3])
        low = (self.side_px - self.tissue_px) // 2
        out = self.square[np.ix_(y % len(self.square), x % len(self.square))]
        inside = [(v >= low) & (v < low + self.tissue_px) for v in (y, x)]
        if not (inside[0].all() and inside[1].all()):
            out[~(inside[0][:, None] & inside[1][None, :])] = GLASS
        return out

    def close(self) -> None:
        pass


def square(seed: int = 11) -> np.ndarray:
    """uint8 [REPEAT_PX, REPEAT_PX, 3] of synthetic tissue with glands."""
    made = SyntheticSlide(width_um=4000, height_um=4000, seed=seed)
    return made.render(Box(made.frame, 3072, 3072, 3072 + REPEAT_PX, 3072 + REPEAT_PX))


def repeated_slide(tissue_mm2: float, *, side_px: int = 0) -> Slide:
    """A square specimen of so much tissue at 0.5 µm/px on a square slide of that side; by default it fills it."""
    tissue_px = round(tissue_mm2**0.5 * PX_A_MM)
    reader = Repeated(square(), max(side_px, tissue_px), tissue_px)
    return slide_of(reader, name=f"repeated-{tissue_mm2:g}", path=None, mpp=None, reader="repeated")


def written(path: Path, side_mm: float) -> Path:
    """Such a slide as a pyramidal TIFF of JPEG tiles, the specimen over half of its width and height."""
    side_px, fine = round(side_mm * PX_A_MM), square()
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        for by in (1, 4, 16):
            # What repeats at full resolution repeats at a coarser one.
            small = cv2.resize(fine, (REPEAT_PX // by, REPEAT_PX // by), interpolation=cv2.INTER_AREA)
            reader = Repeated(small, -(-side_px // by), side_px // 2 // by)
            file.write(
                _tiles(reader),
                shape=(reader.side_px, reader.side_px, 3),
                dtype=np.uint8,
                tile=(TILE_PX, TILE_PX),
                photometric="rgb",
                compression="jpeg",
                metadata=None,
                subfiletype=int(by > 1),
                maxworkers=1,
            )
    return path


def _tiles(reader: Repeated) -> Iterator[np.ndarray]:
    """Whole tiles of a level, row by row, glass beyond the slide."""
    for y in range(0, reader.side_px, TILE_PX):
        for x in range(0, reader.side_px, TILE_PX):
            yield reader.read(0, (x, y, x + TILE_PX, y + TILE_PX))
