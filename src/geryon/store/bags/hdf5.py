"""HDF5 files of features by h5py, an optional part: made whole or not at all, and opened to be read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from geryon.atomic import whole_file_of
from geryon.errors import InputError, MissingPartError
from geryon.store.features import Volume


def library() -> Any:
    """The package h5py."""
    try:
        import h5py
    except ImportError as error:
        raise MissingPartError(
            what="HDF5 files need h5py, which is not installed", mend="pip install 'geryon[encoders]'"
        ) from error
    return h5py


def write_bag(
    path: Path, volume: Volume, name: str, coords: np.ndarray, attributes: Mapping[str, Mapping[str, Any]]
) -> Path:
    """The file with `name` float32 [n, code] and `coords` [n, 2].

    Attributes are by data set; those of the file stand under "".
    """
    n = len(coords)
    with whole_file_of(path) as opened_file, library().File(opened_file, "w") as file:
        features = file.create_dataset(name, (n, volume.code), np.float32)
        done = 0
        for codes, _ in volume.strips():
            if len(codes):
                features[done : done + len(codes)] = codes
            done += len(codes)
        file.create_dataset("coords", data=coords)
        for of, values in attributes.items():
            (file[of] if of else file).attrs.update(values)
    return path


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The file, open to be read; InputError where it is none or can't be read."""
    try:
        with library().File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        raise InputError(what=f"can't be read as HDF5: {error}", where=str(path), mend="copy it anew") from error


def corners_level0(volume: Volume) -> np.ndarray:
    """int64 [n, 2]: x, y of the patches' top left in pixels of the slide's full resolution."""
    rows, columns = np.nonzero(volume.tissue)
    x_um, y_um = columns * volume.about.stride_um, rows * volume.about.stride_um
    mpp_x, mpp_y = volume.about.mpp_level0
    return np.rint(np.stack([x_um / mpp_x, y_um / mpp_y], axis=1)).astype(np.int64)
