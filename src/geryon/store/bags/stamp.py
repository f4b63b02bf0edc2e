"""stamp: `feats`, and `coords` in µm, as STAMP reads (github.com/KatherLab/STAMP).

Its own files (written in src/stamp/preprocessing/__init__.py, read by get_coords and detect_feature_type in
src/stamp/modeling/data.py) hold `feats` [n, code], `coords` float32 [n, 2], and on the file stamp_version, extractor,
unit, tile_size_um, tile_size_px, feat_type and code_hash: a digest of STAMP's own code, which those readers do not ask.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from geryon.space import units
from geryon.store.bags.hdf5 import library, write_bag
from geryon.store.bags.layout import Layout
from geryon.store.features import Volume

LAYOUT_VERSION = "2.1.0"
"""Of STAMP: the first that reads tile_size_um and tile_size_px (its pull request 53; 2.0 had tile_size). A STAMP
refuses files of a version above its own: this one is taken by all that know the layout."""


def _write(volume: Volume, folder: Path) -> list[Path]:
    about = volume.about
    rows, columns = np.nonzero(volume.tissue)
    of_file = {
        "stamp_version": LAYOUT_VERSION,
        "extractor": about.encoder,
        "unit": "um",
        "tile_size_um": about.patch_um,
        "tile_size_px": round(units.px(about.patch_um, about.mpp)),
        "feat_type": "tile",
        "encoder_sha256": about.encoder_sha256,
        "version": about.version,
    }
    coords_um = (np.stack([columns, rows], axis=1) * about.stride_um).astype(np.float32)
    return [write_bag(folder / f"{about.slide}.h5", volume, "feats", coords_um, {"": of_file})]


FORMAT = Layout(write=_write, check=library)
