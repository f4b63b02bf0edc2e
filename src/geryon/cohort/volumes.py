"""Volumes of a cohort: what made them, whether two are the same slide, and which of them stay in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from geryon.cohort.document import EncoderUsed
from geryon.errors import InputError
from geryon.space.arrays import Mask
from geryon.space.turns import TURNS, turned
from geryon.store.bags.reading import SUFFIXES, Bag, read_bag
from geryon.store.features import NORMALISED, About, Volume, open_volume


class Cells(Protocol):
    """A slide's codes, as store.features.Volume has them."""

    @property
    def path(self) -> Path: ...

    @property
    def tissue(self) -> Mask: ...

    @property
    def code(self) -> int: ...

    def crop(self, top: int, left: int, rows: int, columns: int, turn: int = 0) -> np.ndarray: ...

    def crop_tissue(self, top: int, left: int, rows: int, columns: int, turn: int = 0) -> Mask: ...

    def strips(self, turn: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]: ...


def open_cells(path: Path) -> Volume | Bag:
    """The volume in features.zarr or a folder of results, or the bag in an .h5; InputError says what is there."""
    return read_bag(path) if path.suffix.lower() in SUFFIXES else open_volume(path)


def encoder_of(cells: Volume | Bag) -> EncoderUsed:
    """What made the codes."""
    said = cells.about if isinstance(cells, Volume) else cells
    return EncoderUsed(
        name=said.encoder,
        sha256=said.encoder_sha256,
        code=cells.code,
        mpp=float(said.mpp),
        patch_um=float(said.patch_um),
        stride_um=float(said.stride_um),
        patches=_done(cells.about) if isinstance(cells, Volume) else "",
    )


def precision_of(cells: Volume | Bag) -> str:
    """What the codes were computed in; "" where that is not said."""
    return cells.about.precision if isinstance(cells, Volume) else ""


def _done(about: About) -> str:
    """What was done to patches before they were encoded, or to their codes; of all eight turns the first is plain."""
    ways = {"mean of turns": about.turns == "mean", "legacy": about.is_legacy}
    ways |= {"stain normalised": NORMALISED in about.question}
    return ", ".join(way for way, so in ways.items() if so) or "plain"


def has_turns(cells: Volume | Bag) -> bool:
    """True where codes of all eight turned patches are held."""
    return isinstance(cells, Volume) and cells.about.turns == "eight"


def identity(cells: Volume | Bag) -> str:
    """A digest of where tissue is and of three codes: equal for the same slide given twice, whatever its name."""
    digest = hashlib.sha256(repr(cells.tissue.shape).encode() + np.packbits(cells.tissue).tobytes())
    places = np.argwhere(cells.tissue)
    for place in (0, len(places) // 2, len(places) - 1) if len(places) else ():
        row, column = places[place]
        digest.update(cells.crop(int(row), int(column), 1, 1).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Held:
    """A volume in memory."""

    path: Path
    tissue: Mask
    codes: np.ndarray
    """[turn, row, column, code], one turn or eight, 0 where there is no tissue."""
    pieces: tuple[int, ...]
    """Cells of each strip that it was read in: sums over strips are the same to the last bit."""

    @property
    def code(self) -> int:
        return int(self.codes.shape[3])

    def crop(self, top: int, left: int, rows: int, columns: int, turn: int = 0) -> np.ndarray:
        """As Volume.crop."""
        codes = self.codes[turn if len(self.codes) == TURNS else 0]
        return turned(_cut(codes, (top, left, rows, columns)).astype(np.float32), turn)

    def crop_tissue(self, top: int, left: int, rows: int, columns: int, turn: int = 0) -> Mask:
        """As Volume.crop_tissue."""
        return turned(_cut(self.tissue, (top, left, rows, columns)), turn)

    def strips(self, turn: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """As Volume.strips."""
        codes, places, start = self.codes[turn if len(self.codes) == TURNS else 0], np.argwhere(self.tissue), 0
        for n in self.pieces:
            some = places[start : start + n]
            yield codes[some[:, 0], some[:, 1]].astype(np.float32), some
            start += n


class Shelf:
    """The volumes of a cohort in order; those that fit the budget stay in memory after their first use.

    Smaller ones come first, so that most are held. The others are read crop by crop whenever they are asked for; what
    is read is the same either way.
    """

    def __init__(self, volumes: Sequence[Volume | Bag], budget_bytes: int) -> None:
        self._volumes = list(volumes)
        self._held: dict[int, Held] = {}
        self._fit: set[int] = set()
        for i in sorted(range(len(volumes)), key=lambda i: (bytes_of(volumes[i]), i)):
            budget_bytes -= bytes_of(volumes[i])
            if budget_bytes < 0:
                break
            self._fit.add(i)

    def __getitem__(self, i: int) -> Cells:
        if i in self._fit and i not in self._held:
            self._held[i] = _held(self._volumes[i])
        return self._held.get(i, self._volumes[i])

    def __len__(self) -> int:
        return len(self._volumes)


def bytes_of(cells: Volume | Bag) -> int:
    """What a volume takes in memory."""
    turns = TURNS if has_turns(cells) else 1
    return turns * cells.tissue.size * cells.code * _type_of(cells).itemsize + cells.tissue.size


def checked(codes: np.ndarray, path: Path) -> np.ndarray:
    """The codes; InputError where one is not finite."""
    if not np.isfinite(codes).all():
        raise InputError(what="holds codes that are not finite", where=str(path), mend="make the features again")
    return codes


def _type_of(cells: Volume | Bag) -> np.dtype:
    """Of what is kept in memory: no number may change by being kept."""
    return np.dtype("float16" if isinstance(cells, Volume) and cells.dtype == "float16" else "float32")


def _held(cells: Volume | Bag) -> Held:
    rows, columns = cells.tissue.shape
    turns = range(TURNS if has_turns(cells) else 1)
    codes = np.zeros((len(turns), rows, columns, cells.code), _type_of(cells))
    pieces: list[int] = []
    for turn in turns:
        for found, places in cells.strips(turn):
            codes[turn, places[:, 0], places[:, 1]] = found
            pieces += [len(places)] if turn == 0 else []
    return Held(path=cells.path, tissue=cells.tissue, codes=codes, pieces=tuple(pieces))


def _cut(array: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """The part [rows, columns, ...] from top, left on, 0 where it lies outside."""
    top, left, rows, columns = box
    out = np.zeros((rows, columns, *array.shape[2:]), array.dtype)
    y0, x0 = max(top, 0), max(left, 0)
    y1, x1 = min(top + rows, array.shape[0]), min(left + columns, array.shape[1])
    if y0 < y1 and x0 < x1:
        out[y0 - top : y1 - top, x0 - left : x1 - left] = array[y0:y1, x0:x1]
    return out
