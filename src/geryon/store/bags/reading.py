"""Bags of features that other programs wrote, or ours in their layout: what a model of slides that needs no grid reads.

CLAM and TRIDENT write `features` [n, code] and `coords` [n, 2], STAMP `feats`. What they say of the encoder stands in
attributes, or nowhere (CLAM).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geryon.errors import InputError
from geryon.space.arrays import Mask
from geryon.store.bags.hdf5 import opened

SUFFIXES = (".h5", ".hdf5")
NAMES = ("features", "feats")
"""Of the codes' data set: CLAM and TRIDENT, STAMP."""
STRIP_CELLS = 8192
"""Codes that are read at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bag:
    """The codes of a slide's patches, read as they are asked for; to be used like a volume of one row."""

    path: Path
    slide: str
    tissue: Mask
    """[1, n], all True."""
    code: int
    corners: np.ndarray | None
    """float64 [n, 2]: x, y of the patches' top left in `unit`."""
    unit: str
    """"level0" (pixels of full resolution) or "um"; "" where the file does not say."""
    patch: float | None
    """Side of a patch in `unit`."""
    encoder: str
    """As the file names it; "" where it does not. The same of the next, and 0 of the numbers."""
    encoder_sha256: str
    mpp: float
    """µm per pixel of what the encoder saw."""
    patch_um: float
    stride_um: float
    name: str
    """Of the codes' data set."""

    def crop(self, top: int, left: int, rows: int, columns: int, turn: int = 0) -> np.ndarray:
        """float32 [rows, columns, code] of the codes from `left` on in row 0, 0 elsewhere; a bag has one turn."""
        out = np.zeros((rows, columns, self.code), np.float32)
        x0, x1 = max(left, 0), min(left + columns, self.tissue.shape[1])
        if top <= 0 < top + rows and x0 < x1:
            with opened(self.path) as file:
                out[-top, x0 - left : x1 - left] = file[self.name][x0:x1]
        return out

    def crop_tissue(self, top: int, left: int, rows: int, columns: int, turn: int = 0) -> Mask:
        """bool [rows, columns]: where the crop holds a code."""
        place = np.arange(left, left + columns)
        inside = (place >= 0) & (place < self.tissue.shape[1])
        return (np.arange(top, top + rows) == 0)[:, None] & inside

    def strips(self, turn: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(float32 [n, code], int64 [n, 2] row and column) in pieces, in the file's order: at least one."""
        whole = self.tissue.shape[1]
        for left in range(0, max(whole, 1), STRIP_CELLS):
            columns = np.arange(left, min(left + STRIP_CELLS, whole))
            yield self.crop(0, left, 1, len(columns))[0], np.stack([np.zeros_like(columns), columns], 1)


def read_bag(path: str | Path) -> Bag:
    """The bag in an .h5 of CLAM, TRIDENT, STAMP or ours.

    InputError says what the file holds instead of `features` or `feats` [n, code] and `coords` [n, 2].
    """
    path = Path(path)
    with opened(path) as file:
        name = next((n for n in NAMES if n in file), None)
        if name is None:
            what = f"holds {', '.join(sorted(file)) or 'nothing'}, and neither {' nor '.join(NAMES)}"
            raise InputError(what=what, where=str(path), mend="give the file of features, not that of patches")
        shape = tuple(file[name].shape)
        if len(shape) != 2 or shape[1] == 0:
            what = f"{name} has the shape {list(shape)}, not [patches, code]"
            raise InputError(what=what, where=str(path), mend="give the codes of patches, not that of a slide")
        corners = np.asarray(file["coords"][()], np.float64) if "coords" in file else None
        told = {key: _plain(value) for key, value in file.attrs.items()}
        of_coords = {key: _plain(value) for key, value in file["coords"].attrs.items()} if "coords" in file else {}
    if corners is not None and corners.shape != (shape[0], 2):
        what = f"coords has the shape {list(corners.shape)} for {shape[0]} codes"
        raise InputError(what=what, where=str(path), mend="copy it anew, or make it anew")
    unit, patch = _scale(name, told, of_coords)
    patch_um, tile_px = _number(told, "patch_um", "tile_size_um"), _number(told, "tile_size_px")
    patch_um = patch_um or (patch if patch and unit == "um" else 0.0)
    return Bag(
        path=path,
        slide=path.stem,
        tissue=np.ones((1, shape[0]), bool),
        code=shape[1],
        corners=corners,
        unit=unit,
        patch=patch,
        encoder=str(told.get("encoder") or told.get("extractor") or ""),
        encoder_sha256=str(told.get("encoder_sha256") or ""),
        mpp=_number(told, "mpp") or (patch_um / tile_px if tile_px else 0.0),
        patch_um=patch_um,
        stride_um=_number(told, "stride_um"),
        name=name,
    )


def _scale(name: str, told: Mapping[str, Any], of_coords: Mapping[str, Any]) -> tuple[str, float | None]:
    """The unit of the places and the side of a patch in it."""
    if name == "feats":  # STAMP; older files count in pixels of a resolution that they do not tell
        side = _number(told, "tile_size_um", "tile_size")
        return ("um", side or None) if told.get("unit") == "um" else ("", None)
    return "level0", _number(of_coords, "patch_size_level0") or None


def _number(told: Mapping[str, Any], *names: str) -> float:
    try:
        return float(next((told[name] for name in names if name in told), 0))
    except (TypeError, ValueError):
        return 0.0


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
