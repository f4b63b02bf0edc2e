"""Rasters and label maps as OME-TIFF: tiled, deflate, µm per pixel in the header, the same bytes each time."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from geryon.atomic import whole_file
from geryon.errors import InputError

TILE = 256
_UUID = "00000000-0000-0000-0000-000000000000"
"""tifffile would draw one from the clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRaster:
    """The class of each cell of a grid, with the probabilities that it was chosen by."""

    classes: np.ndarray
    """uint8 [y, x]: class number + 1, 0 where nothing was looked at."""
    p: np.ndarray
    """uint8 [y, x, class]: 0..255 for 0..1."""
    names: tuple[str, ...]
    mpp: float
    """µm per cell."""


def class_raster(p: np.ndarray, *, names: tuple[str, ...], mpp: float) -> ClassRaster:
    """The most probable class of each cell, the first of equals, 0 where all probabilities are 0."""
    assert p.shape[2] == len(names) <= 255
    classes = np.where(p.any(axis=2), p.argmax(axis=2) + 1, 0).astype(np.uint8)
    return ClassRaster(classes=classes, p=p, names=names, mpp=mpp)


def write_class_raster(path: Path, raster: ClassRaster) -> None:
    """Write channel "class" and one channel "p_<class>" a class."""
    planes = np.concatenate([raster.classes[None], np.moveaxis(raster.p, 2, 0)])
    _write_planes(path, planes, ["class", *(f"p_{name}" for name in raster.names)], raster.mpp)


def read_class_raster(path: Path) -> ClassRaster:
    """What `write_class_raster` wrote."""
    planes, channels, mpp = _read_planes(path)
    if channels[:1] != ["class"] or not all(name.startswith("p_") for name in channels[1:]):
        raise InputError(what=f"is no class raster; its channels are {', '.join(channels)}", where=str(path))
    names = tuple(name.removeprefix("p_") for name in channels[1:])
    return ClassRaster(classes=planes[0], p=np.ascontiguousarray(np.moveaxis(planes[1:], 0, 2)), names=names, mpp=mpp)


def write_quality(path: Path, raster: np.ndarray, mpp: float) -> None:
    """Write the raster of tissue, blur, folds and pen (uint8 [y, x]; slides.quality names the values)."""
    assert raster.dtype == np.uint8
    _write_planes(path, raster[None], ["quality"], mpp)


def read_quality(path: Path) -> tuple[np.ndarray, float]:
    """What `write_quality` wrote: the raster and its µm per pixel."""
    planes, _, mpp = _read_planes(path)
    return planes[0], mpp


def write_values(path: Path, values: np.ndarray, *, name: str, mpp: float) -> None:
    """Write numbers (float32 [y, x], NaN where there is none), the first cell at the slide's top left."""
    assert values.dtype == np.float32
    _write_planes(path, values[None], [name], mpp)


def read_values(path: Path) -> tuple[np.ndarray, str, float]:
    """What `write_values` wrote: numbers, name, µm per cell."""
    planes, names, mpp = _read_planes(path)
    return planes[0], names[0], mpp


def write_colours(path: Path, image: np.ndarray, *, mpp: float) -> None:
    """Write a picture (uint8 [y, x, 3]) whose first pixel lies at the slide's top left."""
    place = {key: value for key, value in _about([], mpp).items() if key != "Channel"}
    _write(path, image, photometric="rgb", mpp=mpp, metadata={"axes": "YXS", **place})


def write_labels(
    path: Path, tiles: Iterable[np.ndarray | None], *, shape: tuple[int, int], mpp: float, tile: int = 512
) -> None:
    """Write an instance map (int32 [y, x]) from its tiles row by row; one tile is held at a time.

    Tiles at the right and bottom may be cut or whole; None stands for background.
    """
    count = -(-shape[0] // tile) * -(-shape[1] // tile)
    source = iter(tiles)
    with whole_file(path) as temporary, tifffile.TiffWriter(temporary, bigtiff=True, ome=True) as file:
        file.write(
            _padded(source, tile, count),
            shape=shape,
            dtype=np.int32,
            tile=(tile, tile),
            photometric="minisblack",
            compression="zlib",
            compressionargs={"level": 6},
            maxworkers=1,
            buffersize=tile * tile * 4,
            metadata={"axes": "YX", **_about(["labels"], mpp)},
        )
        if next(source, _END) is not _END:
            raise ValueError(f"more tiles given than the {count} that make the map")


_END = object()


def _padded(tiles: Iterator[np.ndarray | None], tile: int, count: int) -> Iterator[np.ndarray]:
    given = 0
    empty = np.zeros((tile, tile), np.int32)
    for labels in tiles:
        given += 1
        if labels is None or labels.shape == (tile, tile):
            yield empty if labels is None else np.ascontiguousarray(labels, np.int32)
            continue
        whole = empty.copy()
        whole[: labels.shape[0], : labels.shape[1]] = labels
        yield whole
    if given != count:
        raise ValueError(f"{given} tiles given, {count} make the map")


def _about(channels: Sequence[str], mpp: float) -> dict[str, Any]:
    return {
        "UUID": _UUID,
        "Creator": "geryon",
        "PhysicalSizeX": mpp,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeY": mpp,
        "PhysicalSizeYUnit": "µm",
        "Channel": {"Name": list(channels)},
    }


def _write_planes(path: Path, planes: np.ndarray, channels: Sequence[str], mpp: float) -> None:
    metadata = {"axes": "CYX", **_about(channels, mpp)}
    _write(path, planes, photometric="minisblack", mpp=mpp, metadata=metadata)


def _write(path: Path, values: np.ndarray, *, photometric: str, mpp: float, metadata: dict[str, Any]) -> None:
    with whole_file(path) as temporary, tifffile.TiffWriter(temporary, ome=True) as file:
        file.write(
            values,
            tile=(TILE, TILE),
            photometric=photometric,
            compression="zlib",
            compressionargs={"level": 6},
            resolution=(1e4 / mpp, 1e4 / mpp),
            resolutionunit="CENTIMETER",
            metadata=metadata,
        )


def _read_planes(path: Path) -> tuple[np.ndarray, list[str], float]:
    """Planes [channel, y, x], names of the channels, µm per pixel."""
    try:
        with tifffile.TiffFile(path) as file:
            planes, header = file.series[0].asarray(), file.ome_metadata
    except (OSError, tifffile.TiffFileError, ValueError, IndexError) as error:  # IndexError: no page in it
        raise InputError(what=f"can't be read: {error}", where=str(path)) from error
    channels, mpp = _ome(header or "", path)
    return planes.reshape(-1, *planes.shape[-2:]), channels, mpp


def _ome(header: str, path: Path) -> tuple[list[str], float]:
    try:
        pixels = ElementTree.fromstring(header).find(".//{*}Pixels")
        assert pixels is not None
        return [c.get("Name", "") for c in pixels.findall("{*}Channel")], float(pixels.attrib["PhysicalSizeX"])
    except (ElementTree.ParseError, AssertionError, KeyError, ValueError) as error:
        raise InputError(what="has no OME header with channels and pixel size", where=str(path)) from error
