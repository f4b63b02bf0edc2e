"""A slide of any size as a small file: a pyramid of JPEG tiles whose offsets all point to the same few tiles."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

TILE_PX = 256
BY = (1, 4, 16)
QUALITY = 90
_LONG8, _SHORT = 16, 3


@dataclass(frozen=True, slots=True)
class _Tiles:
    """The tiles of a level: where each lies in the file, and how long it is."""

    offsets: np.ndarray
    lengths: np.ndarray


def virtual_slide(path: Path, square: np.ndarray, side_px: int) -> Path:
    """A slide of side_px x side_px that repeats a square (uint8 [side, side, 3], a multiple of TILE_PX).

    100,000 px are a file of 3 MB, and each of its tiles is decoded as that of any slide would be.
    """
    with path.open("wb") as file:
        file.write(struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0))
        levels = []
        for by in BY:
            small = cv2.resize(square, None, fx=1 / by, fy=1 / by, interpolation=cv2.INTER_AREA)
            repeat = -(-TILE_PX // small.shape[0])  # what repeats at full resolution repeats at a coarser one
            small = np.tile(small, (repeat, repeat, 1))
            blobs = [_jpeg(small[y : y + TILE_PX, x : x + TILE_PX]) for y, x in _corners(small.shape[0])]
            places = []
            for blob in blobs:
                places.append((file.tell(), len(blob)))
                file.write(blob)
            levels.append((-(-side_px // by), _repeated(places, small.shape[0] // TILE_PX, -(-side_px // by))))
        before = 8
        for number, (side, tiles) in enumerate(levels):
            before = _write_page(file, side, tiles, is_reduced=number > 0, before=before)
    return path


def _corners(side: int) -> list[tuple[int, int]]:
    return [(y, x) for y in range(0, side, TILE_PX) for x in range(0, side, TILE_PX)]


def _jpeg(tile: np.ndarray) -> bytes:
    done, coded = cv2.imencode(".jpg", tile[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    assert done
    return bytes(coded.tobytes())


def _repeated(places: Sequence[tuple[int, int]], period: int, side: int) -> _Tiles:
    at = np.arange(-(-side // TILE_PX)) % period
    which = (at[:, None] * period + at[None, :]).ravel()
    offsets, lengths = np.array(places, np.uint64).T
    return _Tiles(offsets[which], lengths[which])


def _write_page(file, side: int, tiles: _Tiles, *, is_reduced: bool, before: int) -> int:  # type: ignore[no-untyped-def]
    """One directory at the end of the file, linked from `before`; return where the next one is to be linked."""
    arrays = {}
    for tag, values in ((324, tiles.offsets), (325, tiles.lengths)):
        arrays[tag] = (file.tell(), len(values))
        file.write(values.astype("<u8").tobytes())
    shorts = {258: (8, 8, 8), 259: (7,), 262: (6,), 277: (3,), 284: (1,), 322: (TILE_PX,), 323: (TILE_PX,), 530: (2, 2)}
    entries = {
        tag: struct.pack("<HHQ8s", tag, _SHORT, len(v), struct.pack(f"<{len(v)}H", *v)) for tag, v in shorts.items()
    }
    longs = {254: int(is_reduced), 256: side, 257: side}
    entries |= {tag: struct.pack("<HHQQ", tag, _LONG8, 1, value) for tag, value in longs.items()}
    entries |= {tag: struct.pack("<HHQQ", tag, _LONG8, n, start) for tag, (start, n) in arrays.items()}
    start = file.tell()
    file.seek(before)
    file.write(struct.pack("<Q", start))
    file.seek(start)
    file.write(struct.pack("<Q", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)))
    after = int(file.tell())
    file.write(struct.pack("<Q", 0))
    return after
