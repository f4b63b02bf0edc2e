"""h5: `features` and `coords`, as CLAM, TRIDENT and what follows them read.

Datasets of both (docs/formats.md); the attributes are those that TRIDENT writes on `coords`, counted from µm and not
from a magnification, and none that tells a place on this machine.
"""

from __future__ import annotations

from pathlib import Path

from geryon.space import units
from geryon.store.bags.hdf5 import corners_level0, library, write_bag
from geryon.store.bags.layout import Layout
from geryon.store.features import Volume


def _write(volume: Volume, folder: Path) -> list[Path]:
    about = volume.about
    mpp_x, mpp_y = about.mpp_level0
    mean_mpp = (mpp_x * mpp_y) ** 0.5
    patch_px, stride_px = (round(units.px(um, about.mpp)) for um in (about.patch_um, about.stride_um))
    of_coords = {
        "name": about.slide,
        "patch_size": patch_px,
        "patch_size_level0": round(units.px(about.patch_um, mean_mpp)),
        "overlap": patch_px - stride_px,
        "level0_magnification": units.objective_of_mpp(mean_mpp),
        "target_magnification": units.objective_of_mpp(about.mpp),
        "level0_width": about.width_level0,
        "level0_height": about.height_level0,
    }
    of_file = {
        "mpp": about.mpp,
        "mpp_level0": about.mpp_level0,
        "patch_um": about.patch_um,
        "stride_um": about.stride_um,
        "encoder": about.encoder,
        "encoder_sha256": about.encoder_sha256,
        "version": about.version,
    }
    path = folder / f"{about.slide}.h5"
    return [write_bag(path, volume, "features", corners_level0(volume), {"": of_file, "coords": of_coords})]


FORMAT = Layout(write=_write, check=library)
