"""Synthetic slides by their settings alone: a small .json file whose pixels are painted when they are read."""

from __future__ import annotations

from pathlib import Path

from geryon.slides.reader import Level, levels_of
from geryon.slides.synthetic.slide import SyntheticSlide
from geryon.space.arrays import Image
from geryon.space.boxes import Box


class SyntheticReader:
    """One level, as coarse levels would cost as much as the first: most of the time goes into laying out the cells."""

    objective: float | None = None
    origin_level0 = (0, 0)
    thread_safe = False
    """Two threads that want the same chunk would both paint it."""

    def __init__(self, slide: SyntheticSlide) -> None:
        self._slide = slide

    @property
    def levels(self) -> tuple[Level, ...]:
        return levels_of([(self._slide.width_px, self._slide.height_px)])

    @property
    def mpp(self) -> tuple[float, float]:
        return self._slide.mpp, self._slide.mpp

    def read(self, level: int, box: tuple[int, int, int, int]) -> Image:
        return self._slide.render(Box(self._slide.frame, *box))

    def close(self) -> None:
        """Nothing is open."""


def open_reader(path: Path) -> SyntheticReader:
    """The reader of the slide whose settings lie in `path`; InputError for any other file."""
    return SyntheticReader(SyntheticSlide.from_file(path))
