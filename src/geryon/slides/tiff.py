"""TIFF by tifffile: Aperio, OME-TIFF, WebP and other compressions that OpenSlide refuses, plain and pyramidal files."""

from __future__ import annotations

import logging
import struct
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from geryon.errors import InputError
from geryon.slides import formats, jpeg, tiff_tags
from geryon.slides.reader import levels_of
from geryon.slides.resolution import of_description
from geryon.space.arrays import Image

FAULTS = (
    tifffile.TiffFileError, ValueError, RuntimeError, OSError, TypeError, KeyError, IndexError, AttributeError,
    OverflowError, ZeroDivisionError, NotImplementedError, struct.error,
)  # fmt: skip
"""What tifffile and its codecs raise on a damaged file."""
APERIO_YCBCR = 33003
"""JPEG 2000 of components that stay YCbCr: tifffile does not make colours of them."""
KEEP_BYTES = 80 << 20
"""Decoded tiles kept for the windows beside and below this one."""


@dataclass(slots=True)
class _Kept:
    """Decoded tiles, as many as fit, the latest longest; longer still those on the lower or right edge of a window.

    The next row of windows asks for these again, after far more others than would fit.
    """

    inner: OrderedDict[tuple[int, int, int], np.ndarray] = field(default_factory=OrderedDict)
    edge: OrderedDict[tuple[int, int, int], np.ndarray] = field(default_factory=OrderedDict)
    nbytes: int = 0
    edge_nbytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, key: tuple[int, int, int], *, is_edge: bool) -> np.ndarray | None:
        """The tile, which is on the edge of what is asked now, or is not."""
        with self.lock:
            tile = self._pop(key)
            if tile is not None:
                self._add(key, tile, is_edge)
            return tile

    def put(self, key: tuple[int, int, int], tile: np.ndarray, *, is_edge: bool) -> None:
        """Keep a tile and let go of others where there are too many."""
        with self.lock:
            self._pop(key)
            self._add(key, tile, is_edge)
            while self.nbytes > KEEP_BYTES and len(self.inner) + len(self.edge) > 1:
                crowded = self.edge_nbytes > KEEP_BYTES * 3 // 4 or not self.inner
                self._pop(next(iter(self.edge if crowded else self.inner)))

    def _add(self, key: tuple[int, int, int], tile: np.ndarray, is_edge: bool) -> None:
        (self.edge if is_edge else self.inner)[key] = tile
        self.nbytes += tile.nbytes
        self.edge_nbytes += tile.nbytes if is_edge else 0

    def _pop(self, key: tuple[int, int, int]) -> np.ndarray | None:
        tile, is_edge = self.inner.pop(key, None), False
        if tile is None:
            tile, is_edge = self.edge.pop(key, None), True
        if tile is not None:
            self.nbytes -= tile.nbytes
            self.edge_nbytes -= tile.nbytes if is_edge else 0
        return tile


class TiffReader:
    """A TIFF open in tifffile; tiles are decoded one by one. Those left out of the file are `left_out`, or white."""

    thread_safe = True
    origin_level0 = (0, 0)

    def __init__(self, path: Path, *, left_out: int | None = None) -> None:
        self._path = path
        self._left_out = left_out
        self._kept = _Kept()
        with _quiet():
            self._file = _open(path)
        try:
            with _quiet():
                self._pages = self._choose()
        except FAULTS as error:
            self.close()
            raise InputError(what=f"damaged TIFF: {error}", where=str(path), mend="copy the file again") from error
        except InputError:
            self.close()
            raise
        self.levels = levels_of([(p[0].keyframe.imagewidth, p[0].keyframe.imagelength) for p in self._pages])
        self.mpp, self.objective = self._scanner()

    def _choose(self) -> list[list[Any]]:
        """The pages of each level, finest first: one, or one a colour."""
        levels = self._levels_of_pages() or self._levels_of_series()
        for pages in levels:
            for page in pages:
                self._check(page)
        return sorted(levels, key=lambda pages: pages[0].keyframe.imagewidth, reverse=True)

    def _levels_of_pages(self) -> list[list[Any]]:
        """The tiled pages: Aperio's label, macro and thumbnail lie in strips.

        Source: Aperio, Digital Slides and Third-Party Data Interchange, page 14.
        """
        if not tiff_tags.is_aperio(self._path) and not tiff_tags.is_plain(self._path):
            return []
        return [[page] for page in self._file.pages if _is_level(page.keyframe)]

    def _levels_of_series(self) -> list[list[Any]]:
        fit = [s for s in self._file.series if _is_picture(s)]
        if not fit and tiff_tags.stated(self._path).is_cut_short:
            what = "the file is cut short: what it says of its pictures lies beyond its end"
            raise InputError(what=what, where=str(self._path), mend="copy the file again")
        if not fit:
            raise InputError(what=_why_no_picture(self._file), where=str(self._path), mend="save it as 8-bit RGB")
        largest = max(fit, key=lambda s: s.keyframe.imagewidth * s.keyframe.imagelength)
        return [[page for page in level.pages if page is not None] for level in largest.levels]

    def _check(self, page: Any) -> None:
        frame = page.keyframe
        claim = f"{frame.imagewidth} x {frame.imagelength} px"
        across, down = _grid(frame)
        planes = frame.samplesperpixel if frame.planarconfig == 2 else 1
        formats.check_tiff_claim(self._path, frame.imagewidth, frame.imagelength)
        if len(page.dataoffsets) < across * down * planes:
            what = f"claims {claim} but lists {len(page.dataoffsets)} of {across * down * planes} tiles: damaged"
            raise InputError(what=what, where=str(self._path), mend="copy the file again")
        formats.check_segment(self._path, *_segment_size(frame))

    def _scanner(self) -> tuple[tuple[float, float] | None, float | None]:
        text = self._file.ome_metadata or getattr(self._file.pages.first, "description", "") or ""
        return of_description(text)

    def read(self, level: int, box: tuple[int, int, int, int]) -> Image:
        return _to_rgb(self.values(level, box))

    def values(self, level: int, box: tuple[int, int, int, int]) -> np.ndarray:
        """The stored values of the box, uint8 or uint16 [y, x, channel], 0 for black."""
        x0, y0, x1, y1 = box
        pages = self._pages[level]
        frame = pages[0].keyframe
        planes = frame.samplesperpixel if frame.planarconfig == 2 else 1
        channels = len(pages) if len(pages) > 1 else frame.samplesperpixel
        out = np.empty((y1 - y0, x1 - x0, channels), frame.dtype)
        for i in range(len(pages)):
            for plane in range(planes):
                each = slice(i * planes + plane, i * planes + plane + 1) if len(pages) * planes > 1 else slice(None)
                self._paste(out[..., each], level, i, plane, box)
        return np.iinfo(out.dtype).max - out if frame.photometric == 0 else out

    def _paste(self, out: np.ndarray, level: int, page: int, plane: int, box: tuple[int, int, int, int]) -> None:
        x0, y0, x1, y1 = box
        frame = self._pages[level][page].keyframe
        width, height = _segment_size(frame)
        across, down = _grid(frame)
        for row in range(y0 // height, (y1 - 1) // height + 1):
            for column in range(x0 // width, (x1 - 1) // width + 1):
                top, left = row * height, column * width
                # windows overlap, so the next row may ask for a tile that ends a little before this one does too
                below = y1 < frame.imagelength and y1 < top + height + height // 2
                beside = x1 < frame.imagewidth and x1 < left + width + width // 2
                tile = self._tile(level, page, (plane * down + row) * across + column, below or beside)
                v0, v1, u0, u1 = max(top, y0), min(top + height, y1), max(left, x0), min(left + width, x1)
                out[v0 - y0 : v1 - y0, u0 - x0 : u1 - x0] = tile[v0 - top : v1 - top, u0 - left : u1 - left]

    def _tile(self, level: int, page: int, index: int, is_edge: bool) -> np.ndarray:
        key = (level, page, index)
        tile = self._kept.get(key, is_edge=is_edge)
        if tile is None:
            try:
                tile = self._decode(self._pages[level][page], index)
            except FAULTS as error:
                raise self._unreadable(level, page, index, str(error)) from error
            self._kept.put(key, tile, is_edge=is_edge)
        return tile

    def _decode(self, page: Any, index: int) -> np.ndarray:
        frame = page.keyframe
        width, height = _segment_size(frame)
        offset, nbytes = page.dataoffsets[index], page.databytecounts[index]
        if not nbytes:  # a tile that was left out is glass
            samples = 1 if frame.planarconfig == 2 else frame.samplesperpixel
            fill = np.iinfo(frame.dtype).max if self._left_out is None else self._left_out
            return np.full((height, width, samples), fill, frame.dtype)
        handle = self._file.filehandle
        with handle.lock:
            handle.seek(offset)
            coded = handle.read(nbytes)
        if len(coded) < nbytes:
            raise ValueError("it lies beyond the end of the file")
        extra: dict[str, Any] = {}
        if frame.compression in (6, 7, 34892, 33007):
            extra = {"jpegtables": page.jpegtables, "jpegheader": frame.jpegheader}
        if frame.compression == 7 and frame.jpegheader is None:
            fault = jpeg.fault(coded, page.jpegtables)
            if fault:
                raise ValueError(fault)
        tile, _, _ = frame.decode(coded, index, _fullsize=frame.is_tiled, **extra)
        return tile[0]

    def _unreadable(self, level: int, page: int, index: int, reason: str) -> InputError:
        frame = self._pages[level][page].keyframe
        (width, height), (across, down) = _segment_size(frame), _grid(frame)
        x, y = index % across * width, index // across % down * height
        place = f"{self._path} (level {level}, x {x} to {x + width}, y {y} to {y + height})"
        return InputError(what=f"pixels can't be read: {reason}", where=place, mend="copy the file again")

    def close(self) -> None:
        self._file.close()


def open_reader(path: Path) -> TiffReader:
    """The reader of a TIFF that holds an RGB or grey picture; InputError for any other."""
    return TiffReader(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the lines that tifffile logs of faults which we tell as errors."""

    def nothing(record: logging.LogRecord) -> bool:
        return False

    log = logging.getLogger("tifffile")
    log.addFilter(nothing)
    try:
        yield
    finally:
        log.removeFilter(nothing)


def _open(path: Path) -> tifffile.TiffFile:
    try:
        file = tifffile.TiffFile(path)
        file.filehandle.set_lock(True)
        return file
    except FAULTS as error:
        what = f"not a TIFF that can be read: {error}"
        raise InputError(what=what, where=str(path), mend="is the file whole? Copy it again") from error


def _is_picture(series: Any) -> bool:
    sizes = dict(zip(series.axes, series.shape, strict=True))
    samples = series.keyframe.samplesperpixel
    others = [n for axis, n in sizes.items() if axis not in "YXS" and n > 1]
    colours = sum(page is not None for page in series.pages)
    return (
        {"Y", "X"} <= set(sizes)
        and series.dtype in (np.dtype(np.uint8), np.dtype(np.uint16))
        and series.keyframe.photometric in (0, 1, 2, 6)
        and series.keyframe.compression != APERIO_YCBCR
        and ((not others and samples in (1, 3, 4)) or (others == [3] and samples == 1 and colours == 3))
    )


def _is_level(frame: Any) -> bool:
    is_rgb = frame.dtype == np.uint8 and frame.samplesperpixel == 3 and frame.photometric in (2, 6)
    return bool(frame.is_tiled and is_rgb and frame.compression != APERIO_YCBCR)


def _why_no_picture(file: tifffile.TiffFile) -> str:
    if not len(file.series):
        return "the TIFF holds no picture"
    first = file.series[0]
    return (
        f"the TIFF holds no RGB or grey picture of 8 or 16 bits (axes {first.axes}, shape {first.shape}, {first.dtype})"
    )


def _segment_size(frame: Any) -> tuple[int, int]:
    if frame.is_tiled:
        return frame.tilewidth, frame.tilelength
    return frame.imagewidth, min(frame.rowsperstrip or frame.imagelength, frame.imagelength)


def _grid(frame: Any) -> tuple[int, int]:
    width, height = _segment_size(frame)
    return -(-frame.imagewidth // width), -(-frame.imagelength // height)


def _to_rgb(pixels: np.ndarray) -> Image:
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    if pixels.shape[2] == 4:
        seen = pixels[..., 3:].astype(np.float32) / 255
        pixels = np.rint(pixels[..., :3] * seen + 255 * (1 - seen)).astype(np.uint8)
    return pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)
