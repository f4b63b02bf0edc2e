"""stamp: `feats`, and `coords` in µm, as STAMP (KatherLab) reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geryon.space import units
from geryon.store.bags.hdf5 import library, write_bag
from geryon.store.bags.layout import Layout
from geryon.store.features import Volume

LAYOUT_VERSION = "2.0.0"
"""Of STAMP: the first whose files say that places are in µm."""


def _write(volume: Volume, folder: Path) -> list[Path]:
    about = volume.about
    rows, columns = np.nonzero(volume.tissue)
    of_file = {
        "stamp_version": LAYOUT_VERSION,
        "extractor": about.encoder,
        "unit": "um",
        "tile_size_um": about.patch_um,
        "tile_size_px": round(units.px(about.patch_um, about.mpp)),
        "encoder_sha256": about.encoder_sha256,
        "version": about.version,
    }
    coords_um = np.stack([columns, rows], axis=1) * about.stride_um
    return [write_bag(folder / f"{about.slide}.h5", volume, "feats", coords_um, {"": of_file})]


FORMAT = Layout(write=_write, check=library)
