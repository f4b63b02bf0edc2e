"""features.zarr: a compressed slide, one code a cell, as a folder that appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec

from geryon.atomic import whole_folder
from geryon.errors import InputError
from geryon.space.arrays import Mask
from geryon.space.boxes import Box, Frame
from geryon.space.grid import Grid
from geryon.space.turns import TURNS, turned

NAME = "features.zarr"
KEY = "geryon"
"""The attribute of the group that holds the document; it is written after all arrays."""
FORMAT = 1
"""Raised when older readers could misread a file."""
CHUNK_BYTES = 1 << 20
"""A chunk of codes holds about so much: a crop reads few of them, and little that it does not want."""
NORMALISED = "stain normalisation"
"""In the question of volumes whose slide's stain was normalised first."""
DTYPES = ("float16", "int8")
INT8_MAX = 127
_FAULTS = (ValueError, RuntimeError, OSError, KeyError, TypeError, AttributeError, zarr.errors.BaseZarrError)


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a volume says of itself."""

    slide: str
    width_level0: int
    height_level0: int
    mpp_level0: tuple[float, float]
    """x, y: µm per pixel of the slide's full resolution."""
    mpp_source: str = ""
    """Where that came from: "given", "scanner" or "objective (estimate)"."""
    mpp: float
    """µm per pixel of what the encoder saw."""
    patch_um: float
    stride_um: float
    encoder: str
    encoder_sha256: str
    precision: str = ""
    """Of the encoder's numbers, such as "float32" or "int8"; "" in volumes of before it was kept."""
    version: str
    """Geryon's."""
    turns: str = "one"
    """"one" code a cell, the "mean" of those of the eight turned patches, or all "eight"."""
    is_legacy: bool = False
    """Whether patches were made as the published code makes them, and its rule chose the tissue cells."""
    question: Mapping[str, str] = field(default_factory=dict)
    """Digests of what the codes depend on; the same question is resumed, another one refused."""
    warnings: tuple[str, ...] = ()

    @property
    def grid(self) -> Grid:
        """Where the cells lie."""
        x, y = self.mpp_level0
        level0 = Frame(name="level0", mpp_x=x, mpp_y=y, width=self.width_level0, height=self.height_level0)
        return Grid(level0=level0, patch_um=self.patch_um, stride_um=self.stride_um)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The cells from row `top` and column `left` on; codes where there is no tissue say nothing."""

    features: np.ndarray
    """float [row, column, code]."""
    tissue: Mask
    """[row, column]"""
    turned: np.ndarray | None = None
    """float [7, row, column, code] where the volume has eight turns: the code of turned(patch, k), k = 1..7."""
    top: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """A compressed slide on disk: masks in memory, codes read chunk by chunk as they are asked for."""

    about: About
    path: Path
    tissue: Mask
    """[row, column]: True where a code stands."""
    edge: Mask
    """[row, column]: True where the patch reaches past the slide, and was white there."""
    code: int
    """Length of a code."""
    dtype: str
    """How codes are stored: one of DTYPES."""
    _group: Any = field(repr=False)

    @property
    def rows(self) -> int:
        return self.tissue.shape[0]

    @property
    def columns(self) -> int:
        return self.tissue.shape[1]

    def box_level0(self, row: int, column: int) -> Box:
        """The patch of a cell, in pixels of the slide's full resolution."""
        return self.about.grid.box_level0(row, column)

    def crop(self, top: int, left: int, rows: int, columns: int, turn: int = 0) -> np.ndarray:
        """float32 [row, column, code] of the cells from row `top` and column `left` on, which may lie outside.

        0 outside the slide and where there is no tissue. With `turn` k it is that place of the turned slide: cells
        turned(.., k), [column, row, code] for odd quarters, and codes of the turned patches where the volume holds
        them (about.turns "eight"); elsewhere the same codes.
        """
        y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + rows, self.rows), min(left + columns, self.columns)
        out = np.zeros((rows, columns, self.code), np.float32)
        if y0 < y1 and x0 < x1:
            out[y0 - top : y1 - top, x0 - left : x1 - left] = self._codes(slice(y0, y1), slice(x0, x1), turn)
        return turned(out, turn)

    def crop_tissue(self, top: int, left: int, rows: int, columns: int, turn: int = 0) -> Mask:
        """bool [row, column]: the tissue mask of the same place, False outside, turned likewise."""
        y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + rows, self.rows), min(left + columns, self.columns)
        out = np.zeros((rows, columns), bool)
        if y0 < y1 and x0 < x1:
            out[y0 - top : y1 - top, x0 - left : x1 - left] = self.tissue[y0:y1, x0:x1]
        return turned(out, turn)

    def bag(self, turn: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """(float32 [n, code], int64 [n, 2] row and column) of the cells with tissue, row by row."""
        codes = [codes for codes, _ in self.strips(turn)]
        return np.concatenate(codes), np.argwhere(self.tissue)

    def strips(self, turn: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The bag in pieces of some rows each, so that memory holds one: at least one, which may be empty."""
        step = self._group["features"].chunks[0]
        for top in range(0, self.rows, step):
            rows = slice(top, min(top + step, self.rows))
            cells = np.argwhere(self.tissue[rows]) + (top, 0)
            if len(cells):
                yield self._codes(rows, slice(None), turn)[self.tissue[rows]], cells
            else:
                yield np.zeros((0, self.code), np.float32), cells

    def _codes(self, rows: slice, columns: slice, turn: int) -> np.ndarray:
        at: tuple[Any, ...] = (rows, columns)
        name, scale = "features", "scale"
        if turn and self.about.turns == "eight":
            name, scale, at = "turned", "turned_scale", (turn - 1, *at)
        try:
            codes = np.asarray(self._group[name][at]).astype(np.float32)
            if self.dtype == "int8":
                codes *= np.asarray(self._group[scale][at])[..., None]
        except _FAULTS as error:
            raise _damaged(self.path, f"codes can't be read: {error}") from error
        return codes


def open_volume(path: str | Path) -> Volume:
    """The volume in a features.zarr, or in the folder of a slide's results; InputError says what is there instead."""
    path = Path(path)
    path = path if path.suffix == ".zarr" else path / NAME
    if not path.is_dir():
        mend = "give OUT/<slide> or OUT/<slide>/features.zarr of geryon compress"
        raise InputError(what="there is no such volume", where=str(path), mend=mend)
    try:
        group: Any = zarr.open_group(path, mode="r", zarr_format=3)
        document = group.attrs.asdict().get(KEY)
    except _FAULTS as error:
        raise _damaged(path, f"is no volume of features: {error}") from error
    about = _about(document, path)
    try:
        tissue, edge = (np.asarray(group[name][:]) for name in ("tissue", "edge"))
        *_, code = group["features"].shape
        dtype = str(group["features"].dtype)
        shapes = _shapes(about, code, dtype)
        other = [name for name, shape in shapes.items() if group[name].shape != shape]
        if other or dtype not in DTYPES:
            raise ValueError(f"{', '.join(other) or dtype} is not of the shape or kind that the slide's size asks for")
    except _FAULTS as error:
        raise _damaged(path, f"is damaged: {error}") from error
    return Volume(about=about, path=path, tissue=tissue, edge=edge, code=code, dtype=dtype, _group=group)


def write_volume(path: Path, about: About, pieces: Iterable[Piece], *, code: int, dtype: str = "float16") -> Volume:
    """Write the volume that the pieces make; cells in none have no tissue. Memory holds a piece and a chunk.

    The folder appears whole or not at all; one that is there already is a FileExistsError. Pieces that begin at
    multiples of `side_of_chunk`, and are as long or end with the slide, are written fastest.
    """
    tissue = np.zeros((about.grid.rows, about.grid.columns), bool)
    with whole_folder(path) as temporary:
        group: Any = zarr.open_group(temporary, mode="w", zarr_format=3)
        _create(group, _shapes(about, code, dtype), dtype)
        for piece in pieces:
            rows, columns = piece.tissue.shape
            at = np.s_[piece.top : piece.top + rows, piece.left : piece.left + columns]
            if tissue[at].shape != piece.tissue.shape:
                raise ValueError(f"{rows} x {columns} cells at {piece.top}, {piece.left} reach past the slide's")
            tissue[at] = piece.tissue
            _place(group, piece, at, dtype)
        group["tissue"][:], group["edge"][:] = tissue, about.grid.edge()
        group.attrs[KEY] = {"format": FORMAT, **asdict(about)}
    return open_volume(path)


def side_of_chunk(code: int, dtype: str = "float16") -> int:
    """Cells along a side of a chunk: a power of two, about CHUNK_BYTES in all.

    >>> side_of_chunk(128), side_of_chunk(1536)
    (64, 16)
    """
    side = 64
    while side > 8 and side * side * code * np.dtype(dtype).itemsize > CHUNK_BYTES:
        side //= 2
    return side


def _shapes(about: About, code: int, dtype: str) -> dict[str, tuple[int, ...]]:
    """Array -> its shape."""
    cells, turns = (about.grid.rows, about.grid.columns), TURNS - 1
    shapes: dict[str, tuple[int, ...]] = {"tissue": cells, "edge": cells, "features": (*cells, code)}
    scales: dict[str, tuple[int, ...]] = {"scale": cells}
    if about.turns == "eight":
        shapes["turned"] = (turns, *cells, code)
        scales["turned_scale"] = (turns, *cells)
    return shapes | scales if dtype == "int8" else shapes


def _create(group: Any, shapes: Mapping[str, tuple[int, ...]], dtype: str) -> None:
    side = side_of_chunk(shapes["features"][-1], dtype)
    kinds = {"tissue": "bool", "edge": "bool", "scale": "float32", "turned_scale": "float32"}
    coded = (BloscCodec(cname="zstd", clevel=3, shuffle="shuffle"),)
    for name, shape in shapes.items():
        axes = (*(["turn"] if "turned" in name else []), "row", "column", *([] if name in kinds else ["code"]))
        most = {"turn": 1, "row": side, "column": side}
        whole = name in ("tissue", "edge")
        chunks = tuple(n if whole else min(n, most.get(axis, n)) for axis, n in zip(axes, shape, strict=True))
        group.create_array(
            name,
            shape=shape,
            chunks=chunks,
            dtype=kinds.get(name, dtype),
            fill_value=0,
            compressors=coded,
            dimension_names=axes,
        )


def _place(group: Any, piece: Piece, at: tuple[slice, slice], dtype: str) -> None:
    if not piece.tissue.any():  # what was never written reads as 0
        return
    for name, codes in (("features", piece.features), ("turned", piece.turned)):
        if codes is None:
            continue
        codes = np.where(piece.tissue[..., None], codes, 0.0)
        where: Any = at if name == "features" else (slice(None), *at)
        if dtype == "int8":
            group[name][where], group["scale" if name == "features" else "turned_scale"][where] = quantise(codes)
        else:
            group[name][where] = codes.astype(dtype)


def quantise(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int8 [..., code], float32 [...]) whose product is nearest to the codes: a step is the largest value over 127."""
    scale = (np.abs(codes).max(axis=-1, initial=0.0) / INT8_MAX).astype(np.float32)
    steps = codes / np.where(scale > 0, scale, 1.0)[..., None]
    return np.rint(steps).clip(-INT8_MAX, INT8_MAX).astype(np.int8), scale


def _about(document: Any, path: Path) -> About:
    if not isinstance(document, dict) or not isinstance(document.get("format"), int):
        raise _damaged(path, "is no whole volume of geryon's: its description is missing")
    if document["format"] > FORMAT:
        what = f"was written by a newer geryon ({document.get('version')})"
        raise InputError(what=what, where=str(path), mend="update geryon")
    known = {f.name for f in fields(About)}
    values = {name: value for name, value in document.items() if name in known}
    try:
        x, y = values.pop("mpp_level0")
        about = About(mpp_level0=(float(x), float(y)), warnings=tuple(values.pop("warnings", ())), **values)
        assert min(about.stride_um, about.patch_um, about.width_level0, about.height_level0) > 0
        return about
    except (KeyError, TypeError, ValueError, AssertionError) as error:
        raise _damaged(path, f"a field of its description is missing or wrong: {error}") from error


def _damaged(path: Path, what: str) -> InputError:
    return InputError(what=what, where=str(path), mend="delete it and run geryon compress again")
