"""Bags of features, ours or those of other programs: what a slide model that needs no grid reads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geryon.errors import InputError
from geryon.space import units
from geryon.store.bags.hdf5 import corners_level0, opened
from geryon.store.features import open_volume

SUFFIXES = (".h5", ".hdf5")
NAMES = ("features", "feats")
"""Of the codes' data set: CLAM and TRIDENT, STAMP."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bag:
    """The codes of a slide's patches, and where they lie as far as the file tells."""

    slide: str
    features: np.ndarray
    """float32 [n, code]"""
    corners: np.ndarray | None
    """float64 [n, 2]: x, y of the patches' top left in `unit`."""
    unit: str
    """"level0" (pixels of full resolution) or "um"; "" where the file does not say."""
    patch: float | None
    """Side of a patch in `unit`."""
    encoder: str
    """As the file names it; "" where it does not."""


def read_bag(path: str | Path) -> Bag:
    """The bag in a features.zarr (or the folder of a slide's results), or in an .h5 of CLAM, TRIDENT, STAMP or ours.

    InputError says what the file holds instead of `features` or `feats` [n, code] and `coords` [n, 2].
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        return _of_volume(path)
    with opened(path) as file:
        name = next((n for n in NAMES if n in file), None)
        if name is None:
            what = f"holds {', '.join(sorted(file)) or 'nothing'}, and neither {' nor '.join(NAMES)}"
            raise InputError(what=what, where=str(path), mend="give the file of features, not that of patches")
        features = np.asarray(file[name][()], np.float32)
        if features.ndim != 2:
            what = f"{name} has the shape {list(features.shape)}, not [patches, code]"
            raise InputError(what=what, where=str(path), mend="give the codes of patches, not that of a slide")
        unit, patch = _scale(file, name)
        corners = np.asarray(file["coords"][()], np.float64) if "coords" in file else None
        encoder = str(_attribute(file, "encoder") or _attribute(file, "extractor") or "")
    if corners is not None and corners.shape != (len(features), 2):
        what = f"coords has the shape {list(corners.shape)} for {len(features)} codes"
        raise InputError(what=what, where=str(path), mend="copy it anew, or make it anew")
    return Bag(slide=path.stem, features=features, corners=corners, unit=unit, patch=patch, encoder=encoder)


def _of_volume(path: Path) -> Bag:
    volume = open_volume(path)
    mpp_x, mpp_y = volume.about.mpp_level0
    return Bag(
        slide=volume.about.slide,
        features=volume.bag()[0],
        corners=corners_level0(volume).astype(np.float64),
        unit="level0",
        patch=units.px(volume.about.patch_um, (mpp_x * mpp_y) ** 0.5),
        encoder=volume.about.encoder,
    )


def _scale(file: Any, name: str) -> tuple[str, float | None]:
    """The unit of the places and the side of a patch in it."""
    if name == "feats":  # STAMP; older files count in pixels of a resolution that they do not tell
        is_um = _attribute(file, "unit") == "um"
        side = _attribute(file, "tile_size_um") or _attribute(file, "tile_size")
        return ("um", float(side) if side else None) if is_um else ("", None)
    side = file["coords"].attrs.get("patch_size_level0") if "coords" in file else None
    return "level0", float(side) if side is not None else None


def _attribute(file: Any, name: str) -> Any:
    value = file.attrs.get(name)
    return value.decode() if isinstance(value, bytes) else value
