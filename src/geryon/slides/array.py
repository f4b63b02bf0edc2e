"""Plain pictures (PNG, JPEG, any array): whole in memory, so of bounded size."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from geryon.errors import InputError
from geryon.slides.reader import Level, Slide, levels_of, slide_of
from geryon.space.arrays import Image

MAX_PX = 1 << 30
"""About a gigapixel (3 GB of RGB): larger pictures belong into a tiled format. OpenCV holds the same limit."""
MAX_PX_A_BYTE = 1100
"""Deflate shrinks at most 1032 to 1 and JPEG less: a file that claims more is cut short or lies."""
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class ArrayReader:
    """A picture in memory: one level, nothing known about its resolution."""

    image: Image

    @property
    def levels(self) -> tuple[Level, ...]:
        return levels_of([(self.image.shape[1], self.image.shape[0])])

    @property
    def mpp(self) -> tuple[float, float] | None:
        return None  # pHYs, JFIF and EXIF density are for printers

    @property
    def objective(self) -> float | None:
        return None

    @property
    def origin_level0(self) -> tuple[int, int]:
        return 0, 0

    @property
    def thread_safe(self) -> bool:
        return True

    def read(self, level: int, box: tuple[int, int, int, int]) -> Image:
        x0, y0, x1, y1 = box
        return self.image[y0:y1, x0:x1].copy()

    def close(self) -> None:
        """Nothing is open."""


def open_reader(path: Path) -> ArrayReader:
    """The reader of a PNG or JPEG; InputError for any other, and for one too large for memory."""
    return ArrayReader(read_picture(path))


def slide_of_image(image: Image, *, mpp: float, name: str = "image") -> Slide:
    """A slide that shows an array: what a story needs to run on pixels at hand."""
    return slide_of(ArrayReader(np.ascontiguousarray(image)), name=name, path=None, mpp=mpp, reader="image")


def read_picture(path: Path) -> Image:
    """The pixels of a PNG or JPEG as stored (an EXIF turn is left alone: scanners write none)."""
    return cv2.cvtColor(_decoded(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION), cv2.COLOR_BGR2RGB)


def read_values(path: Path) -> np.ndarray:
    """The stored values of a picture, uint8 or uint16 [y, x] or [y, x, channel]: for masks."""
    return _decoded(path, cv2.IMREAD_UNCHANGED)


def _decoded(path: Path, how: int) -> np.ndarray:
    try:
        coded = np.fromfile(path, np.uint8)
    except OSError as error:
        what = f"it can't be read: {error.strerror or error}"
        raise InputError(what=what, where=str(path), mend="check the path") from error
    size = claimed_size(coded[: 1 << 20].tobytes())
    if size is not None:
        _check_claim(path, size, len(coded))
        _check_end(path, coded)
    try:
        pixels = cv2.imdecode(coded, how) if len(coded) else None
    except cv2.error as error:
        raise InputError(
            what=f"it can't be decoded: {error.err}", where=str(path), mend="copy the file again"
        ) from error
    if pixels is None or 0 in pixels.shape:
        raise InputError(what="the picture can't be decoded", where=str(path), mend="copy the file again")
    return pixels


def claimed_size(head: bytes) -> tuple[int, int] | None:
    """Width and height that the header of a PNG or JPEG states, before anything is decoded; None for other formats."""
    if head.startswith(PNG) and len(head) >= 24:
        width, height = struct.unpack(">II", head[16:24])
        return width, height
    return _jpeg_size(head) if head.startswith(b"\xff\xd8") else None


def _jpeg_size(head: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(head):
        if head[at] != 0xFF:
            return None
        marker = head[at + 1]
        if marker == 0xFF or marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 1 if marker == 0xFF else 2
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", head[at + 5 : at + 9])
            return width, height
        else:
            at += 2 + struct.unpack(">H", head[at + 2 : at + 4])[0]
    return None


def _check_claim(path: Path, size: tuple[int, int], file_bytes: int) -> None:
    width, height = size
    if not width or not height:
        raise InputError(what=f"a picture of {width} x {height} px", where=str(path), mend="copy the file again")
    if width * height > MAX_PX:
        what = f"{width} x {height} px is too large for a plain picture, which is held in memory whole"
        mend = "write it as a tiled pyramid (vips tiffsave IN OUT --tile --pyramid --bigtiff)"
        raise InputError(what=what, where=str(path), mend=mend)
    if width * height > MAX_PX_A_BYTE * 8 * file_bytes:  # a PNG may have 1 bit a pixel
        what = f"claims {width} x {height} px in {file_bytes} bytes: cut short or damaged"
        raise InputError(what=what, where=str(path), mend="copy the file again")


def _check_end(path: Path, coded: np.ndarray) -> None:
    """Decoders fill what is missing of a picture with grey and say nothing."""
    tail = coded[-(1 << 16) :].tobytes()
    if (b"IEND" if coded[0] == 0x89 else b"\xff\xd9") not in tail:
        raise InputError(what="the file is cut short: its end is missing", where=str(path), mend="copy the file again")
