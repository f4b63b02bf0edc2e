"""Whole-slide formats by OpenSlide: Aperio, Hamamatsu, MIRAX, Leica, Philips, Ventana, Trestle, Zeiss, DICOM."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import openslide

from geryon.errors import InputError
from geryon.slides import formats, tiff_tags
from geryon.slides.reader import Level, levels_of
from geryon.slides.resolution import of_description
from geryon.space.arrays import Image

BLOCK_PX = 512
"""Side of the fixed blocks in which levels of an uneven downsample are read."""


class OpenSlideReader:
    """A file open in OpenSlide, cropped to the slide's bounds."""

    thread_safe = True

    def __init__(self, path: Path) -> None:
        self._path, self._closed = path, False
        if formats.is_tiff(path):
            for width, height in tiff_tags.stated(path).tiles:
                formats.check_segment(path, width, height)
        self._slide = _open(path)
        self._lock = threading.Lock()
        facts = self._slide.properties
        self._refuse_plain_tiff_with_ome(facts.get("tiff.ImageDescription", ""))
        self.origin_level0 = int(facts.get("openslide.bounds-x", 0)), int(facts.get("openslide.bounds-y", 0))
        self.levels = _levels(self._slide)
        self._refuse_what_is_too_large()
        self.objective = _number(facts.get("openslide.objective-power"))
        self.mpp = self._scanner_mpp()
        self._downsamples = self._slide.level_downsamples

    def _refuse_plain_tiff_with_ome(self, description: str) -> None:
        if self._slide.properties.get("openslide.vendor") == "generic-tiff" and "<OME" in description:
            self.close()  # OpenSlide sees neither its µm per pixel nor the levels in SubIFDs
            raise InputError(what="an OME-TIFF, which the tiff reader reads better", where=str(self._path))

    def _refuse_what_is_too_large(self) -> None:
        """OpenSlide takes the memory for a tile whole, and GLib ends the process when there is not enough."""
        facts = self._slide.properties
        sides = [
            [_number(facts.get(f"openslide.level[{i}].tile-{n}")) or 0.0 for n in ("width", "height")]
            for i in range(self._slide.level_count)
        ]
        try:
            if formats.is_tiff(self._path):
                formats.check_tiff_claim(self._path, self.levels[0].width, self.levels[0].height)
            for width, height in sides:
                formats.check_segment(self._path, round(width), round(height))
        except InputError:
            self.close()
            raise

    def _scanner_mpp(self) -> tuple[float, float] | None:
        facts = self._slide.properties
        if facts.get("openslide.vendor") == "generic-tiff":
            # OpenSlide takes it from the TIFF resolution, which is meant for printers
            return of_description(facts.get("tiff.ImageDescription", ""))[0]
        x, y = (_number(facts.get(f"openslide.mpp-{axis}")) for axis in "xy")
        return (x, y) if x and y else None

    def read(self, level: int, box: tuple[int, int, int, int]) -> Image:
        if float(self._downsamples[level]).is_integer():
            return self._region(level, box)
        # OpenSlide places tiles of such a level to a fraction of a pixel that depends on where a region begins:
        # always beginning at the same places makes the same pixel come out of any box.
        x0, y0, x1, y1 = box
        at = self.levels[level]
        left, top = x0 // BLOCK_PX * BLOCK_PX, y0 // BLOCK_PX * BLOCK_PX
        out = np.empty((y1 - y0, x1 - x0, 3), np.uint8)
        for y in range(top, y1, BLOCK_PX):
            for x in range(left, x1, BLOCK_PX):
                block = self._region(level, (x, y, min(x + BLOCK_PX, at.width), min(y + BLOCK_PX, at.height)))
                v0, v1, u0, u1 = max(y, y0), min(y + BLOCK_PX, y1), max(x, x0), min(x + BLOCK_PX, x1)
                out[v0 - y0 : v1 - y0, u0 - x0 : u1 - x0] = block[v0 - y : v1 - y, u0 - x : u1 - x]
        return out

    def _region(self, level: int, box: tuple[int, int, int, int]) -> Image:
        x0, y0, x1, y1 = box
        by = self._downsamples[level]
        corner = self.origin_level0[0] + round(x0 * by), self.origin_level0[1] + round(y0 * by)
        slide = self._slide
        try:
            return _on_white(slide.read_region(corner, level, (x1 - x0, y1 - y0)))
        except openslide.OpenSlideError:
            return self._region_afresh(slide, corner, level, box)

    def _region_afresh(
        self, sick: openslide.OpenSlide, corner: tuple[int, int], level: int, box: tuple[int, ...]
    ) -> Image:
        """Once OpenSlide has met an error, the handle fails for ever: another tile's error may have been the cause."""
        fresh = _open(self._path)
        size = box[2] - box[0], box[3] - box[1]
        try:
            pixels = _on_white(fresh.read_region(corner, level, size))
        except openslide.OpenSlideError as error:
            fresh.close()
            self._replace(sick, _open(self._path))
            place = f"{self._path} (level {level}, x {box[0]} to {box[2]}, y {box[1]} to {box[3]})"
            raise InputError(what=f"pixels can't be read: {error}", where=place, mend="copy the file again") from error
        self._replace(sick, fresh)
        return pixels

    def _replace(self, sick: openslide.OpenSlide, fresh: openslide.OpenSlide) -> None:
        with self._lock:
            if self._slide is sick:
                self._slide = fresh  # others may still be inside the sick one: it goes when they let go
            else:
                fresh.close()

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._slide.close()


def open_reader(path: Path) -> OpenSlideReader:
    """The reader of a file that OpenSlide knows; InputError for any other."""
    return OpenSlideReader(path)


def _open(path: Path) -> openslide.OpenSlide:
    try:
        return openslide.OpenSlide(path)
    except openslide.OpenSlideUnsupportedFormatError as error:
        what = "OpenSlide does not know this format, or the file is cut short"
        raise InputError(what=what, where=str(path), mend="is the file whole? Copy it again") from error
    except openslide.OpenSlideError as error:
        raise InputError(what=f"OpenSlide refuses it: {error}", where=str(path), mend="copy the file again") from error


def _levels(slide: openslide.OpenSlide) -> tuple[Level, ...]:
    facts = slide.properties
    if "openslide.bounds-width" not in facts:
        return levels_of(list(slide.level_dimensions))
    width, height = int(facts["openslide.bounds-width"]), int(facts["openslide.bounds-height"])
    return tuple(
        Level(width=max(1, int(width / by)), height=max(1, int(height / by)), downsample_x=by, downsample_y=by)
        for by in slide.level_downsamples
    )


def _on_white(region: object) -> Image:
    pixels = np.asarray(region)
    alpha = pixels[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(pixels[..., :3])
    seen = alpha.astype(np.float32) / 255
    return np.rint(pixels[..., :3] * seen + 255 * (1 - seen)).astype(np.uint8)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
