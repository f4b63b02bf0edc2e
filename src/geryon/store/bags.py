"""Feature files of other tools as bags: codes of a slide without their grid, in HDF5.

CLAM and TRIDENT write `features` [n, code] and `coords`, STAMP `feats`, geryon's `--to h5` as TRIDENT does. What they
say of the encoder is in attributes, or nowhere (CLAM).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geryon.errors import InputError, MissingPartError
from geryon.space.arrays import Mask

SUFFIXES = (".h5", ".hdf5")
NAMES = ("features", "feats")
STRIP_CELLS = 8192
"""Cells that are read at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bag:
    """The codes of one slide, read as they are asked for; to be used like a volume of one row."""

    path: Path
    slide: str
    encoder: str
    """"" where the file does not say it, as in the next ones; numbers are 0 then."""
    encoder_sha256: str
    mpp: float
    patch_um: float
    stride_um: float
    tissue: Mask
    """[1, n], all True."""
    code: int
    _name: str

    def crop(self, top: int, left: int, rows: int, columns: int, turn: int = 0) -> np.ndarray:
        """float32 [rows, columns, code] of the cells from `left` on; 0 outside. A bag has no turns."""
        assert turn == 0, "a bag has no places that could be turned"
        out = np.zeros((rows, columns, self.code), np.float32)
        x0, x1 = max(left, 0), min(left + columns, self.tissue.shape[1])
        if top <= 0 < top + rows and x0 < x1:
            with _opened(self.path) as file:
                out[-top, x0 - left : x1 - left] = file[self._name][x0:x1]
        return out

    def crop_tissue(self, top: int, left: int, rows: int, columns: int, turn: int = 0) -> Mask:
        """bool [rows, columns]: where the crop holds a cell."""
        place = np.arange(left, left + columns)
        inside = (place >= 0) & (place < self.tissue.shape[1])
        return inside[None, :] & (np.arange(top, top + rows) == 0)[:, None]

    def strips(self, turn: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(float32 [n, code], int64 [n, 2] row and column) in pieces, in the file's order."""
        for left in range(0, max(self.tissue.shape[1], 1), STRIP_CELLS):
            n = min(STRIP_CELLS, self.tissue.shape[1] - left)
            columns = np.arange(left, left + n)
            yield self.crop(0, left, 1, n)[0], np.stack([np.zeros_like(columns), columns], 1)


def open_bag(path: Path) -> Bag:
    """The bag in an .h5 file; InputError says what is wrong with it, MissingPartError that h5py is not there."""
    with _opened(path) as file:
        name = next((name for name in NAMES if name in file), "")
        shape = tuple(file[name].shape) if name else ()
        if len(shape) == 3 and shape[0] == 1:  # an old CLAM file
            raise _refused(path, f"its {name} have three axes {shape}")
        if len(shape) != 2 or not shape[1]:
            raise _refused(path, f"it holds no codes ({' or '.join(NAMES)}, [n, code])")
        told = {**dict(file.attrs), **(dict(file["coords"].attrs) if "coords" in file else {})}
    patch_um = _number(told, "patch_um", "tile_size_um")
    return Bag(
        path=path,
        slide=path.stem,
        encoder=_text(told, "encoder", "extractor"),
        encoder_sha256=_text(told, "encoder_sha256"),
        mpp=_number(told, "mpp") or (patch_um / _number(told, "tile_size_px") if _number(told, "tile_size_px") else 0),
        patch_um=patch_um,
        stride_um=_number(told, "stride_um"),
        tissue=np.ones((1, shape[0]), bool),
        code=shape[1],
        _name=name,
    )


def _text(told: dict[str, Any], *names: str) -> str:
    found = next((told[name] for name in names if name in told), "")
    return found.decode() if isinstance(found, bytes) else str(found)


def _number(told: dict[str, Any], *names: str) -> float:
    try:
        return float(next((told[name] for name in names if name in told), 0))
    except (TypeError, ValueError):
        return 0.0


def _opened(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingPartError(
            what="h5py is needed for feature files", where=str(path), mend='pip install "geryon[encoders]"'
        ) from error
    try:
        return h5py.File(path)
    except OSError as error:
        raise _refused(path, str(error).splitlines()[0]) from error


def _refused(path: Path, what: str) -> InputError:
    return InputError(
        what=f"is no feature file: {what}",
        where=str(path),
        mend="give features.zarr, or an .h5 of CLAM, TRIDENT or STAMP",
    )
