"""nic: the files of the published code of neural image compression, without their defects (docs/formats.md).

Codes come channels first, as float16; with eight turns each has a file for the turned slide. What a cell is stands in
the index files, so that a code of zeros is a code.
"""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np

from geryon.atomic import reserve, whole_file
from geryon.space.centres import distance_map
from geryon.space.turns import TURNS, turned_back
from geryon.store.bags.layout import Layout
from geryon.store.features import Volume

ROWS_AT_ONCE = 64
"""As many as a chunk of short codes has."""


def _write(volume: Volume, folder: Path) -> list[Path]:
    rows, columns = _shape(volume)
    tissue = volume.tissue[:rows, :columns]
    y, x = np.nonzero(tissue)
    arrays = {
        "x_idx": x.astype(np.int64),
        "y_idx": y.astype(np.int64),
        "im_shape": np.array([columns, rows], np.int64),
        "features_distance_map": distance_map(tissue, is_legacy=volume.about.is_legacy),
    }
    made = []
    for name, values in arrays.items():
        made.append(_saved(folder / f"{volume.about.slide}_{name}.npy", values))
    made.append(_features(volume, folder / f"{volume.about.slide}_features.npy", 0))
    if volume.about.turns == "eight":
        for k in range(TURNS):
            name = f"{volume.about.slide}_{k % 4 * 90}_{'horizontal' if k >= 4 else 'none'}_features.npy"
            made.append(_features(volume, folder / name, k))
    return made


def _saved(path: Path, values: np.ndarray) -> Path:
    """The array as a file; np.save itself does not notice a disk that is full at its last bytes."""
    held = io.BytesIO()
    np.save(held, values)
    with whole_file(path) as temporary:
        temporary.write_bytes(held.getbuffer())
    return path


def _shape(volume: Volume) -> tuple[int, int]:
    """Rows and columns: those of the published grid, which leaves out what fills no whole stride, if asked for."""
    return volume.about.grid.whole_cells if volume.about.is_legacy else (volume.rows, volume.columns)


def _features(volume: Volume, path: Path, k: int) -> Path:
    """The codes of the slide turned so: float16 [code, row, column], written some rows at a time."""
    rows, columns = _shape(volume)
    shape = volume.code, *((columns, rows) if k % 2 else (rows, columns))
    with whole_file(path) as temporary:
        with temporary.open("wb") as file:
            described = {"descr": "<f2", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, described)
            reserve(file, math.prod(shape) * np.dtype(np.float16).itemsize)
        if 0 in shape:
            return path
        out = np.lib.format.open_memmap(temporary, mode="r+")
        cells = turned_back(np.moveaxis(out, 0, 2), k)
        for top in range(0, rows, ROWS_AT_ONCE):
            many = min(ROWS_AT_ONCE, rows - top)
            cells[top : top + many] = turned_back(volume.crop(top, 0, many, columns, k), k)
        out.flush()
        del cells, out  # Windows renames no file that is mapped
    return path


FORMAT = Layout(write=_write)
