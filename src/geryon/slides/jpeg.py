"""Is the JPEG of a tile whole? Decoders put grey or noise where one is damaged, and imagecodecs tells nobody.

The bits are walked without making pixels: a code that is in no table, bits that end before the last block, and bytes
that are left over after it are the faults that libjpeg warns of, and OpenSlide refuses tiles for them. Source: ITU-T
T.81 (1992), B.1 and B.2 for markers, C.2 and F.2.2 for Huffman codes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from geryon.compiling import compiled

SOI, EOI, SOS, DHT, DRI, RST = 0xD8, 0xD9, 0xDA, 0xC4, 0xDD, 0xD0
SEQUENTIAL = (0xC0, 0xC1)
"""Frames whose blocks come one after another, each whole, in Huffman codes; scanners write no others."""
BLOCK = 64
LEAP_BITS = 12
"""Several codes are looked up at once. The table of 12 bits stays near the processor; one of 16 is no faster."""
PAD_BYTES = 272
"""No block is longer, with what is looked at beyond it: 64 codes of at most 16 bits, each with at most 15 more."""

WHOLE, NO_END, RESTARTS, CODES = range(4)
FAULTS = {
    WHOLE: "",
    NO_END: "the JPEG has no end, or other data lies inside it",
    RESTARTS: "parts of the JPEG are missing",
    CODES: "the JPEG is damaged: its codes do not add up to its pixels",
}


@dataclass(slots=True)
class _Stated:
    """What the segments before the pixels say."""

    tables: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    """By class and number as they are written, 0x00 to 0x13: (16 numbers of codes of each length, symbols)."""
    size: tuple[int, int] = (0, 0)
    sampling: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By component: how many of its blocks lie side by side, and below one another, in a unit."""
    restart_every: int = 0
    is_sequential: bool = False
    parts: tuple[tuple[int, int], ...] = ()
    """Of each component of the scan: its name, and the numbers of its two tables in four bits each."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the bits of a scan are to be walked."""

    units: int
    every: int
    """Units between restarts."""
    order: np.ndarray
    """int64 [block of a unit, (table of its first coefficient, table of the others)]."""
    steps: np.ndarray
    """int16 [table, next 16 bits]: bits to go on | coefficients to go on << 8; 0 where no code begins so."""
    leaps: np.ndarray
    """int32 [table, next LEAP_BITS bits]: the same of as many codes as lie in them whole, and 1 << 16 where the last
    one ends the block; 0 where none does."""


def fault(coded: bytes, tables: bytes | None = None) -> str:
    """Why the JPEG `coded` can't be trusted, or "".

    `tables` is what a TIFF keeps of it for all tiles. Only sequential Huffman JPEGs of one scan are walked; all others
    are "".
    """
    begins = min(len(coded), max((end for _, _, end in _segments(coded)), default=len(coded)))
    plan = _plan(tables or b"", coded[:begins])
    if plan is None or isinstance(plan, str):
        return plan or ""
    data = np.frombuffer(coded, np.uint8)
    return FAULTS[_walk(data, begins, plan.units, plan.every, plan.order, plan.steps, plan.leaps)]


@lru_cache(maxsize=16)
def _plan(tables: bytes, head: bytes) -> _Plan | str | None:
    """The plan for a scan after this, which tiles of a file share; why there is none; None for kinds not walked."""
    said = _Stated()
    for stream in (tables, head):
        for marker, body, _ in _segments(stream):
            _take(said, marker, body)
    is_one_scan = len(said.parts) == len(said.sampling) and {name for name, _ in said.parts} == set(said.sampling)
    if not said.is_sequential or not is_one_scan or not all(min(both) for both in said.sampling.values()):
        return None
    blocks = [
        (which >> 4, 16 | which & 15)  # classes 0 and 1 of tables: first coefficients of blocks, and all others
        for name, which in said.parts
        for _ in range(1 if len(said.parts) == 1 else said.sampling[name][0] * said.sampling[name][1])
    ]
    numbers = sorted({number for block in blocks for number in block})
    if not set(numbers) <= said.tables.keys():
        return "the JPEG lacks its Huffman tables"
    order = np.array([[numbers.index(number) for number in block] for block in blocks], np.int64)
    units = _units(said)
    steps = [_steps(*said.tables[number], is_first=number < 16) for number in numbers]
    return _Plan(units, said.restart_every or max(units, 1), order, np.stack(steps), np.stack([*map(_leaps, steps)]))


def _segments(stream: bytes) -> Iterator[tuple[int, bytes, int]]:
    """(marker, its bytes, where they end) up to the first scan."""
    at = 0
    while at + 4 <= len(stream) and stream[at] == 0xFF:
        marker = stream[at + 1]
        if marker in (SOI, EOI, 0xFF):
            at += 1 if marker == 0xFF else 2
            continue
        end = at + 2 + int.from_bytes(stream[at + 2 : at + 4], "big")
        yield marker, stream[at + 4 : end], end
        if marker == SOS:
            return
        at = end


def _take(said: _Stated, marker: int, body: bytes) -> None:
    if marker == DHT:
        at = 0
        while at + 17 <= len(body):
            end = at + 17 + sum(body[at + 1 : at + 17])
            said.tables[body[at]] = body[at + 1 : at + 17], body[at + 17 : end]
            at = end
    elif marker == DRI and len(body) >= 2:
        said.restart_every = int.from_bytes(body[:2], "big")
    elif marker in SEQUENTIAL and len(body) >= 6 and len(body) >= 6 + 3 * body[5]:
        said.is_sequential = body[0] == 8
        said.size = int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")
        parts = [body[6 + 3 * i : 9 + 3 * i] for i in range(body[5])]
        said.sampling = {part[0]: (part[1] >> 4, part[1] & 15) for part in parts}
    elif marker == SOS and body and len(body) >= 1 + 2 * body[0]:
        said.parts = tuple((body[1 + 2 * i], body[2 + 2 * i]) for i in range(body[0]))


def _units(said: _Stated) -> int:
    """How many units of blocks the scan holds."""
    across, down = (max(s[i] for s in said.sampling.values()) for i in (0, 1)) if len(said.sampling) > 1 else (1, 1)
    return -(-said.size[0] // (8 * across)) * -(-said.size[1] // (8 * down))


@lru_cache(maxsize=64)
def _steps(counts: bytes, symbols: bytes, *, is_first: bool) -> np.ndarray:
    """One table of a plan's steps: codes are given out by length in the order of their symbols (T.81 C.2)."""
    steps = np.zeros(1 << 16, np.int16)
    code = place = 0
    for length in range(1, 17):
        for symbol in symbols[place : place + counts[length - 1]]:
            skip, size = symbol >> 4, symbol & 15
            onward = 1 if is_first else BLOCK if size == 0 and skip != 15 else skip + 1
            if not (is_first and skip):  # no difference of first coefficients has more than 15 bits
                steps[code << (16 - length) : (code + 1) << (16 - length)] = length + size | onward << 8
            code += 1
        place += counts[length - 1]
        code <<= 1
    return steps


@compiled
def _leaps(steps):  # type: ignore[no-untyped-def]
    """One table of a plan's leaps from the same one of its steps."""
    leaps = np.zeros(1 << LEAP_BITS, np.int32)
    for seen in range(1 << LEAP_BITS):
        bits, onward, ends = 0, 0, 0
        while not ends:
            step = int(steps[(seen << (16 - LEAP_BITS + bits)) & 0xFFFF])
            if step == 0 or bits + (step & 0xFF) > LEAP_BITS:
                break
            bits += step & 0xFF
            if step >> 8 == BLOCK:
                ends = 1
            else:
                onward += step >> 8
        if onward < BLOCK:
            leaps[seen] = bits | onward << 8 | ends << 16
    return leaps


@compiled
def _walk(data, at, units, every, order, steps, leaps):  # type: ignore[no-untyped-def]
    """Which of FAULTS the scan from `at` on has; `data` is uint8, the rest is that of a _Plan."""
    bits = np.empty(len(data) - at + PAD_BYTES, np.uint8)
    done = 0
    for interval in range(max(1, -(-units // every))):
        n = 0
        while at < len(data):
            if data[at] == 0xFF:  # a byte 0 follows each 255 that is no marker
                if at + 1 == len(data) or data[at + 1] != 0:
                    break
                at += 1
                bits[n] = 0xFF
            else:
                bits[n] = data[at]
            n += 1
            at += 1
        while at + 1 < len(data) and data[at + 1] == 0xFF:
            at += 1
        bits[n : n + PAD_BYTES] = 0
        left = _left(bits, n, min(every, units - done), order, steps, leaps)
        if left < 0 or left > 7:
            return CODES
        done += min(every, units - done)
        if at + 1 >= len(data):
            return NO_END
        if done < units and data[at + 1] != RST + interval % 8:
            return RESTARTS
        at += 2
    return WHOLE if data[at - 1] == EOI else NO_END


@compiled
def _left(bits, n, units, order, steps, leaps):  # type: ignore[no-untyped-def]
    """Bits left over of `n` bytes after so many units; -1 when they end before, or at a code that is in no table."""
    held, here, byte = np.uint64(0), 0, 0  # the next bits, leftmost first; how many; which byte comes after them
    for _ in range(units):
        for block in range(len(order)):
            k = 0
            table = order[block, 0]
            while k < BLOCK:
                while here <= 32:
                    four = (np.uint64(bits[byte]) << np.uint64(24)) | (np.uint64(bits[byte + 1]) << np.uint64(16))
                    four |= (np.uint64(bits[byte + 2]) << np.uint64(8)) | np.uint64(bits[byte + 3])
                    held |= four << np.uint64(32 - here)
                    here += 32
                    byte += 4
                step = int(leaps[table, held >> np.uint64(64 - LEAP_BITS)])
                onward = k + (step >> 8 & 0xFF)
                ends = step >> 16
                if step == 0 or k == 0 or onward + ends > BLOCK:
                    step = int(steps[table, held >> np.uint64(48)])
                    if step == 0:
                        return -1
                    onward, ends = k + (step >> 8), 0
                held <<= np.uint64(step & 0xFF)
                here -= step & 0xFF
                k = BLOCK if ends else onward
                table = order[block, 1]
            if 8 * byte - here > 8 * n:
                return -1
    return 8 * n - (8 * byte - here)
