"""What a TIFF states about its tiles, read from its tags alone: asked before any library allocates what it states."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

TILE_WIDTH, TILE_LENGTH = 322, 323
_NUMBERS = {3: "H", 4: "I", 16: "Q"}
"""TIFF types in which a length is written."""
MOST_PAGES = 4096
MOST_TAGS = 4096
"""More belong to no slide: the walk ends, so that a chain of pages without an end can't hold it up."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What the tags say of the pages that are there."""

    tiles: tuple[tuple[int, int], ...]
    """Width and height of the tiles of each tiled page."""
    is_cut_short: bool
    """True when a page is said to lie beyond the end of the file."""


@dataclass(frozen=True, slots=True)
class _Layout:
    order: str
    count: str
    entry: str
    offset: str


def stated(path: Path) -> Stated:
    """The tiles that a TIFF or BigTIFF states; nothing of any other file."""
    tiles: list[tuple[int, int]] = []
    with path.open("rb") as file:
        begun = _begun(file.read(16))
        if begun is None:
            return Stated((), False)
        layout, first = begun
        try:
            for tags in _pages(file, layout, first):
                if tags.keys() >= {TILE_WIDTH, TILE_LENGTH}:
                    tiles.append((tags[TILE_WIDTH], tags[TILE_LENGTH]))
        except EOFError:
            return Stated(tuple(tiles), True)
    return Stated(tuple(tiles), False)


def _begun(head: bytes) -> tuple[_Layout, int] | None:
    """How numbers are written, and where the first page's tags lie."""
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return None
    (version,) = struct.unpack(f"{order}H", head[2:4])
    if version == 42:
        return _Layout(order, "H", "HHI4s", "I"), struct.unpack(f"{order}I", head[4:8])[0]
    if version == 43:
        return _Layout(order, "Q", "HHQ8s", "Q"), struct.unpack(f"{order}Q", head[8:16])[0]
    return None


def _pages(file: BinaryIO, layout: _Layout, at: int) -> Iterator[dict[int, int]]:
    """{tag: value} of the tags with one whole number, page by page; EOFError where the file ends before them."""
    seen: set[int] = set()
    end = file.seek(0, 2)
    while at and at not in seen and len(seen) < MOST_PAGES:
        seen.add(at)
        if at >= end:  # an offset of 64 bits may be more than seek takes
            raise EOFError
        file.seek(at)
        (count,) = _unpacked(file, layout.order + layout.count)
        if count > MOST_TAGS:
            return
        entries = [_unpacked(file, layout.order + layout.entry) for _ in range(count)]
        yield {
            tag: struct.unpack_from(layout.order + _NUMBERS[kind], value)[0]
            for tag, kind, n, value in entries
            if n == 1 and kind in _NUMBERS and struct.calcsize(_NUMBERS[kind]) <= len(value)
        }
        (at,) = _unpacked(file, layout.order + layout.offset)


def _unpacked(file: BinaryIO, layout: str) -> tuple:
    size = struct.calcsize(layout)
    read = file.read(size)
    if len(read) < size:
        raise EOFError
    return struct.unpack(layout, read)
