"""Open a slide of any format, and read any box of it at any resolution."""

from __future__ import annotations

import re
import threading
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from geryon import plugins
from geryon.errors import InputError
from geryon.slides import formats, resolution
from geryon.slides.resampling import WHOLE_STEP, Span, resample
from geryon.space import units
from geryon.space.arrays import Image
from geryon.space.boxes import Box, Frame

READERS = {
    "openslide": "geryon.slides.openslide_:open_reader",
    "tiff": "geryon.slides.tiff:open_reader",
    "zarr": "geryon.slides.zarr_:open_reader",
    "dicom": "geryon.slides.dicom:open_reader",
    "image": "geryon.slides.array:open_reader",
    "synthetic": "geryon.slides.synthetic.reader:open_reader",
}
"""One format a file: open_reader(path) -> Reader, or InputError. Entry points of the group geryon.readers add to it."""

FINE_ENOUGH = 1.01
"""A level this much coarser than asked still counts as fine enough."""
GRID_WITHIN = 0.10
"""How far a grid's resolution may be from the one asked."""
SOURCE_PX_AT_ONCE = 32_000_000
"""Source pixels in memory during one read: a coarse look at a slide without a pyramid goes block by block."""
MIN_SIDE_PX = 8
"""Nothing can be found in less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One resolution in the file: its size, and how many level0 pixels one of its pixels spans."""

    width: int
    height: int
    downsample_x: float
    downsample_y: float


class Reader(Protocol):
    """One open file of one format."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """Finest first; level 0 has a downsample of 1."""

    @property
    def mpp(self) -> tuple[float, float] | None:
        """µm per pixel of level 0 in x and y from the scanner's own metadata, as written; None when it is silent."""

    @property
    def objective(self) -> float | None:
        """Objective power, when the file tells."""

    @property
    def origin_level0(self) -> tuple[int, int]:
        """x, y of the slide inside the canvas that the format's own viewers use."""

    @property
    def thread_safe(self) -> bool:
        """True when several threads may call read at the same time."""

    def read(self, level: int, box: tuple[int, int, int, int]) -> Image:
        """The pixels x0, y0, x1, y1 of that level, all inside it; InputError when they can't be decoded."""

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slide(AbstractContextManager["Slide"]):
    """An open slide: its size and resolution, and the pixels of any box.

    Safe to share between threads; pickles by path and opens again on the other side.
    """

    name: str
    """The file's stem, safe as the name of a folder."""
    path: Path | None
    frame: Frame
    mpp_source: str
    levels: tuple[Level, ...]
    warnings: tuple[str, ...]
    reader: str
    """Name in READERS."""
    objective: float | None
    origin_level0: tuple[int, int]
    _reader: Reader = field(repr=False)
    _given_mpp: float | None = field(repr=False, default=None)
    _one_at_a_time: AbstractContextManager[object] = field(repr=False)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of level 0 in pixels."""
        return self.levels[0].width, self.levels[0].height

    @property
    def mpp(self) -> tuple[float, float]:
        """µm per pixel of level 0 in x and y."""
        return self.frame.mpp_x, self.frame.mpp_y

    def read(self, box: Box, mpp: float) -> Image:
        """The pixels of the box in square pixels of `mpp` µm, white outside the slide.

        Pixel [0, 0] begins at the box's corner; every pixel is the mean over its area of the best level. The shape is
        the box's size in µm over mpp, rounded.
        """
        level = self._level_for(mpp)
        at = self.levels[level]
        place = box.to(self.frame)
        x = _span(place.xmin, place.xmax, at.downsample_x, self.frame.mpp_x, mpp)
        y = _span(place.ymin, place.ymax, at.downsample_y, self.frame.mpp_y, mpp)
        if not x.count or not y.count:
            return np.full((y.count, x.count, 3), 255, np.uint8)
        return self._read_spans(level, x, y)

    def grid_mpp(self, mpp: float) -> float:
        """The resolution near `mpp` that is a whole-number downsample of a level, else `mpp` itself.

        Reads at it, in boxes on its own grid, need no interpolation, so they are faster and lose nothing.
        """
        near: list[float] = []
        for level in self.levels:
            own = self.frame.mpp_x * level.downsample_x
            k = max(1, round(mpp / own))
            near += [own * n for n in (k - 1, k, k + 1) if n >= 1]
        whole = [m for m in near if abs(m / mpp - 1) <= GRID_WITHIN and self._is_whole(m)]
        return min(whole, key=lambda m: abs(m - mpp), default=mpp)

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        self._reader.close()

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[object, ...]:
        if self.path is None:
            raise TypeError(f"slide {self.name} has no file, so it can't go to another process")
        return _again, (self.path, self._given_mpp, self.reader)

    def _level_for(self, mpp: float) -> int:
        """The coarsest level that is at least as fine as `mpp`."""
        if not mpp > 0:
            raise ValueError(f"mpp must be above 0, not {mpp}")
        fine = [i for i, (x, y) in enumerate(self._level_mpps()) if max(x, y) <= mpp * FINE_ENOUGH]
        return max(fine, key=lambda i: self.levels[i].downsample_x, default=0)

    def _level_mpps(self) -> list[tuple[float, float]]:
        return [(self.frame.mpp_x * at.downsample_x, self.frame.mpp_y * at.downsample_y) for at in self.levels]

    def _is_whole(self, mpp: float) -> bool:
        steps = [mpp / own for own in self._level_mpps()[self._level_for(mpp)]]
        return all(abs(s - max(1, round(s))) < WHOLE_STEP for s in steps)

    def _read_spans(self, level: int, x: Span, y: Span) -> Image:
        if (x.last - x.first) * (y.last - y.first) <= SOURCE_PX_AT_ONCE or max(x.count, y.count) == 1:
            return resample(self._read_level(level, x, y), x, y)
        out = np.empty((y.count, x.count, 3), np.uint8)
        if y.count >= x.count:
            half = y.count // 2
            out[:half] = self._read_spans(level, x, y.part(0, half))
            out[half:] = self._read_spans(level, x, y.part(half, y.count))
        else:
            half = x.count // 2
            out[:, :half] = self._read_spans(level, x.part(0, half), y)
            out[:, half:] = self._read_spans(level, x.part(half, x.count), y)
        return out

    def _read_level(self, level: int, x: Span, y: Span) -> Image:
        at = self.levels[level]
        x0, y0, x1, y1 = max(x.first, 0), max(y.first, 0), min(x.last, at.width), min(y.last, at.height)
        if x0 >= x1 or y0 >= y1:
            return np.full((y.last - y.first, x.last - x.first, 3), 255, np.uint8)
        with self._one_at_a_time:
            pixels = self._reader.read(level, (x0, y0, x1, y1))
        if (x0, y0, x1, y1) == (x.first, y.first, x.last, y.last):
            return pixels
        out = np.full((y.last - y.first, x.last - x.first, 3), 255, np.uint8)
        out[y0 - y.first : y1 - y.first, x0 - x.first : x1 - x.first] = pixels
        return out


def open_slide(path: str | Path, *, mpp: float | None = None, reader: str | None = None) -> Slide:
    """The slide at `path`, ready to read; InputError says why when it can't be.

    `mpp` beats what the file says; `reader` names one of READERS in place of the choice by content.
    """
    path = Path(path)
    refusals: list[tuple[str, InputError]] = []
    for name in (reader,) if reader else formats.candidates(path, extra=_foreign()):
        try:
            opened: Reader = plugins.find(READERS, "geryon.readers", name)(path)
        except InputError as error:
            refusals.append((name, error))
            continue
        try:
            return slide_of(opened, name=formats.stem(path), path=path, mpp=mpp, reader=name)
        except BaseException:
            opened.close()
            raise
    raise _refused(path, refusals)


def slide_of(reader_: Reader, *, name: str, path: Path | None, mpp: float | None, reader: str) -> Slide:
    """The slide that an open reader shows."""
    first = reader_.levels[0]
    where = str(path or name)
    size = f"{first.width} x {first.height} px"
    if min(first.width, first.height) < MIN_SIDE_PX:
        mend = "give the slide itself, not a strip, label or icon"
        raise InputError(what=f"only {size}: too small to hold tissue", where=where, mend=mend)
    found = resolution.resolve(given=mpp, scanner=reader_.mpp, objective=reader_.objective, where=where, size=size)
    return Slide(
        name=name,
        path=path,
        frame=Frame(name="level0", mpp_x=found.mpp_x, mpp_y=found.mpp_y, width=first.width, height=first.height),
        mpp_source=found.source,
        levels=reader_.levels,
        warnings=found.warnings,
        reader=reader,
        objective=reader_.objective,
        origin_level0=reader_.origin_level0,
        _reader=reader_,
        _given_mpp=mpp,
        _one_at_a_time=nullcontext() if reader_.thread_safe else threading.Lock(),
    )


def levels_of(sizes: list[tuple[int, int]]) -> tuple[Level, ...]:
    """Levels of those widths and heights, finest first.

    Scanners cut the last part of a pixel off: 4443 px at a downsample of 2 are 2221 px, and reading a ratio of 2.0005
    out of that would put the far end of a slide pixels away from where it is.
    """
    (width, height), *_ = sizes = sorted(sizes, reverse=True)
    return tuple(_level(width, height, w, h) for w, h in sizes)


def _level(width: int, height: int, w: int, h: int) -> Level:
    k = round(max(width / w, height / h) if min(w, h) < 2 else (width / w + height / h) / 2)
    if abs(width / k - w) < 1 and abs(height / k - h) < 1:
        return Level(width=w, height=h, downsample_x=float(k), downsample_y=float(k))
    return Level(width=w, height=h, downsample_x=width / w, downsample_y=height / h)


def _span(low: float, high: float, downsample: float, own_mpp: float, mpp: float) -> Span:
    count = round(units.px(units.um(high - low, own_mpp), mpp))
    return Span(low / downsample, mpp / (own_mpp * downsample), max(count, 0))


def _foreign() -> tuple[str, ...]:
    return tuple(n for n in plugins.names(READERS, "geryon.readers") if n not in READERS)


def _refused(path: Path, refusals: list[tuple[str, InputError]]) -> InputError:
    if len(refusals) == 1:
        return refusals[0][1]
    reasons = "; ".join(f"{name}: {error.what}" for name, error in refusals)
    mend = next((error.mend for _, error in reversed(refusals) if error.mend), "is the file whole? Copy it again")
    return InputError(what=re.sub(r"\s+", " ", f"no reader can open it ({reasons})"), where=str(path), mend=mend)


def _again(path: Path, mpp: float | None, reader: str) -> Slide:
    return open_slide(path, mpp=mpp, reader=reader)
