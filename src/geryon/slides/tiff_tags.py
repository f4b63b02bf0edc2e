"""What a TIFF states about its tiles, read from its tags alone: asked before any library allocates what it states."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

KIND, WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, DESCRIPTION, SAMPLES, PLANES, SOFTWARE = (
    *(254, 256, 257, 258, 259, 262, 270, 277, 284, 305),
)
TILE_WIDTH, TILE_LENGTH, TILE_BYTES, XMP = 322, 323, 325, 700
FIRST_PRIVATE, NO_VENDORS = 32768, (32997, 33432, 34675)
"""Tags from here on belong to vendors, but for a depth, a copyright and a colour profile."""
VENDORS = (b"Philips", b"MedScan")
"""Software whose tiles overlap, or are left out, by rules of its own: OpenSlide knows them."""
_NUMBERS = {1: "B", 2: "B", 3: "H", 4: "I", 16: "Q"}
"""TIFF types in which a length, a list of lengths or a text is written."""
_ABSENT = 0, 0, b""
_TEXTS = (1, 2)
MOST_OF_A_TEXT = 2**20
"""Bytes; what is looked for stands at the beginning."""
MOST_SAMPLES = 16
MOST_TILES = 2**22
"""Of 256 px they make 500,000 x 500,000 px."""
MOST_PAGES = 4096
MOST_TAGS = 4096
"""More belong to no slide: the walk ends, so that a chain of pages without an end can't hold it up."""
JPEG, JPEG_2000_RGB = 7, 33005
RGB, YCBCR = 2, 6


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


@dataclass(frozen=True, slots=True)
class _Page:
    """The tags of one page; values are read when they are asked for."""

    file: BinaryIO
    layout: _Layout
    tags: dict[int, tuple[int, int, bytes]]
    """(type, how many, the value or where it lies) of each."""

    def text(self, tag: int) -> bytes:
        """The first MOST_OF_A_TEXT bytes of a tag that holds text, b"" where there is none; EOFError as `numbers`."""
        kind, n, _ = self.tags.get(tag, _ABSENT)
        return self._read(tag, min(n, MOST_OF_A_TEXT)) if kind in _TEXTS else b""

    def numbers(self, tag: int, most: int = MOST_SAMPLES) -> tuple[int, ...]:
        """The numbers of a tag, () where there is none or more than `most`; EOFError where they lie beyond the end.

        A damaged tag may claim billions, and a slide is large enough to hold them.
        """
        kind, n, _ = self.tags.get(tag, _ABSENT)
        if kind not in _NUMBERS or n > most:
            return ()
        return struct.unpack(f"{self.layout.order}{n}{_NUMBERS[kind]}", self._read(tag, n))

    def _read(self, tag: int, n: int) -> bytes:
        """The first n of what the tag holds."""
        kind, claimed, value = self.tags[tag]
        each = struct.calcsize(_NUMBERS[kind])
        if claimed * each > len(value):
            at = struct.unpack(self.layout.order + self.layout.offset, value)[0]
            if at + claimed * each > self.file.seek(0, 2):
                raise EOFError
            self.file.seek(at)
            return self.file.read(n * each)
        return value[: n * each]

    def one(self, tag: int, default: int = 0) -> int:
        """The number of a tag that has one and holds it itself."""
        kind, n, value = self.tags.get(tag, _ABSENT)
        is_here = n == 1 and kind in _NUMBERS and struct.calcsize(_NUMBERS[kind]) <= len(value)
        return self.numbers(tag)[0] if is_here else default

    @property
    def most_tiles(self) -> int:
        """As many as cover the page, of a tiled one; of planes that lie apart there are more."""
        across, down = -(-self.one(WIDTH) // self.one(TILE_WIDTH)), -(-self.one(LENGTH) // self.one(TILE_LENGTH))
        return min(across * down, MOST_TILES)

    @property
    def is_tiled(self) -> bool:
        return self.one(TILE_WIDTH) > 0 and self.one(TILE_LENGTH) > 0


def stated(path: Path) -> Stated:
    """The tiles that a TIFF or BigTIFF states; nothing of any other file."""
    tiles: list[tuple[int, int]] = []
    with path.open("rb") as file:
        try:
            for page in _pages(file):
                if page.is_tiled:
                    tiles.append((page.one(TILE_WIDTH), page.one(TILE_LENGTH)))
        except EOFError:
            return Stated(tuple(tiles), True)
    return Stated(tuple(tiles), False)


def is_aperio(path: Path) -> bool:
    """True for a tiled TIFF that Aperio's library, or one after its pattern, wrote: its first page says so."""
    try:
        with path.open("rb") as file:
            first = next(_pages(file), None)
            return first is not None and first.is_tiled and first.text(DESCRIPTION).startswith(b"Aperio")
    except EOFError:
        return False


def is_plain(path: Path) -> bool:
    """True where the levels are the tiled pages, in 8-bit RGB, JPEG or JPEG 2000 without YCbCr, every tile there.

    So Aperio's files are, and pyramids of no vendor. Of tiles that were left out OpenSlide makes those of coarser
    levels anew, and which of two pages of one size is in focus the file does not tell.
    """
    try:
        with path.open("rb") as file:
            pages = list(_pages(file))
            levels = [page for page in pages if page.is_tiled]
            sizes = [(page.one(WIDTH), page.one(LENGTH)) for page in levels]
            is_known = is_aperio(path) or _is_of_no_vendor(pages)
            return is_known and len(set(sizes)) == len(sizes) and all(map(_is_plain, levels))
    except EOFError:
        return False


def _is_of_no_vendor(pages: list[_Page]) -> bool:
    """True for tiled pages that say of themselves only that each is a smaller copy of the first."""
    if not pages or not all(page.is_tiled for page in pages) or not all(page.one(KIND) & 1 for page in pages[1:]):
        return False
    tags = {tag for page in pages for tag in page.tags if tag >= FIRST_PRIVATE or tag == XMP}
    told, software = pages[0].text(DESCRIPTION), pages[0].text(SOFTWARE)
    is_xml = b"<" in told and b"www.vips.ecs.soton.ac.uk" not in told
    return tags <= set(NO_VENDORS) and not is_xml and not software.startswith(VENDORS)


def _is_plain(page: _Page) -> bool:
    coding = page.one(COMPRESSION), page.one(PHOTOMETRIC)
    return (
        coding in ((JPEG, RGB), (JPEG, YCBCR), (JPEG_2000_RGB, RGB))
        and page.numbers(BITS) == (8, 8, 8)
        and page.one(SAMPLES) == 3
        and page.one(PLANES, default=1) == 1
        and 0 not in (page.numbers(TILE_BYTES, page.most_tiles) or (0,))
    )


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


def _pages(file: BinaryIO) -> Iterator[_Page]:
    """Page by page; EOFError where the file ends before its tags."""
    begun = _begun(file.read(16))
    if begun is None:
        return
    layout, at = begun
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
        after = file.tell()
        yield _Page(file, layout, {tag: (kind, n, value) for tag, kind, n, value in entries})
        file.seek(after)
        (at,) = _unpacked(file, layout.order + layout.offset)


def _unpacked(file: BinaryIO, layout: str) -> tuple:
    size = struct.calcsize(layout)
    read = file.read(size)
    if len(read) < size:
        raise EOFError
    return struct.unpack(layout, read)
