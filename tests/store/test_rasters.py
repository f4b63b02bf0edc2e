"""Rasters return as written, with names and µm per pixel, in memory that the slide does not set."""

from __future__ import annotations

import tracemalloc
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from geryon.errors import InputError
from geryon.store.rasters import (
    class_raster,
    read_class_raster,
    read_quality,
    write_class_raster,
    write_labels,
    write_quality,
)

NAMES = ("adipose", "mucus & co", "tumour")


def pixels(path: Path) -> ElementTree.Element:
    with tifffile.TiffFile(path) as file:
        assert file.is_ome
        found = ElementTree.fromstring(file.ome_metadata).find(".//{*}Pixels")
    assert found is not None
    return found


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (256, 300)])
def test_class_raster_returns(tmp_path: Path, shape: tuple[int, int]) -> None:
    p = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    p[0, 0] = 0
    raster = class_raster(p, names=NAMES, mpp=16.0)
    assert raster.classes[0, 0] == 0
    assert (raster.classes[p.any(axis=2)] == p.argmax(axis=2)[p.any(axis=2)] + 1).all()
    write_class_raster(tmp_path / "tissue.ome.tif", raster)
    back = read_class_raster(tmp_path / "tissue.ome.tif")
    np.testing.assert_array_equal(back.classes, raster.classes)
    np.testing.assert_array_equal(back.p, p)
    assert (back.names, back.mpp) == (NAMES, 16.0)
    header = pixels(tmp_path / "tissue.ome.tif")
    assert [header.get(k) for k in ("PhysicalSizeX", "PhysicalSizeXUnit", "SizeC", "Type")] == [
        "16.0",
        "µm",
        "4",
        "uint8",
    ]
    assert [c.get("Name") for c in header.findall("{*}Channel")] == ["class", *(f"p_{n}" for n in NAMES)]


def test_same_raster_same_bytes(tmp_path: Path) -> None:
    raster = class_raster(np.full((9, 9, 3), 7, np.uint8), names=NAMES, mpp=16.0)
    for name in ("a", "b"):
        write_class_raster(tmp_path / name / "t.ome.tif", raster)
        write_labels(tmp_path / name / "l.ome.tif", [np.ones((64, 64), np.int32)], shape=(60, 50), mpp=0.5, tile=64)
    assert (tmp_path / "a/t.ome.tif").read_bytes() == (tmp_path / "b/t.ome.tif").read_bytes()
    assert (tmp_path / "a/l.ome.tif").read_bytes() == (tmp_path / "b/l.ome.tif").read_bytes()


def test_quality_returns_and_is_no_class_raster(tmp_path: Path) -> None:
    raster = np.random.default_rng(1).integers(0, 5, (300, 20)).astype(np.uint8)
    write_quality(tmp_path / "q.ome.tif", raster, 8.0)
    back, mpp = read_quality(tmp_path / "q.ome.tif")
    np.testing.assert_array_equal(back, raster)
    assert mpp == 8.0
    with pytest.raises(InputError, match="channels are quality"):
        read_class_raster(tmp_path / "q.ome.tif")
    (tmp_path / "no.tif").write_bytes(b"II*\0nothing")
    with pytest.raises(InputError, match=r"no\.tif"):
        read_class_raster(tmp_path / "no.tif")


def cut(labels: np.ndarray, tile: int) -> Iterator[np.ndarray | None]:
    for y in range(0, labels.shape[0], tile):
        for x in range(0, labels.shape[1], tile):
            piece = labels[y : y + tile, x : x + tile]
            yield piece if piece.any() else None


@pytest.mark.parametrize("shape", [(64, 64), (130, 70), (10, 200)])
def test_labels_return(tmp_path: Path, shape: tuple[int, int]) -> None:
    labels = np.random.default_rng(2).integers(0, 2**31 - 1, shape).astype(np.int32)
    labels[:, 64:128] = 0
    write_labels(tmp_path / "l.ome.tif", cut(labels, 64), shape=shape, mpp=0.2431, tile=64)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "l.ome.tif"), labels)
    header = pixels(tmp_path / "l.ome.tif")
    assert [header.get(k) for k in ("PhysicalSizeX", "PhysicalSizeY", "Type")] == ["0.2431", "0.2431", "int32"]
    with tifffile.TiffFile(tmp_path / "l.ome.tif") as file:
        assert file.is_bigtiff and file.pages[0].is_tiled


@pytest.mark.parametrize("count", [3, 5])
def test_a_wrong_number_of_tiles_leaves_no_file(tmp_path: Path, count: int) -> None:
    with pytest.raises(ValueError, match="tiles given"):
        write_labels(tmp_path / "l.ome.tif", [None] * count, shape=(100, 100), mpp=0.5, tile=64)
    assert list(tmp_path.iterdir()) == []


def test_labels_take_the_memory_of_a_few_tiles(tmp_path: Path) -> None:
    def tiles(n: int) -> Iterator[np.ndarray]:
        for k in range(n):
            yield np.full((256, 256), k, np.int32)

    tracemalloc.start()
    write_labels(tmp_path / "l.ome.tif", tiles(400), shape=(20 * 256, 20 * 256), mpp=0.5, tile=256)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 256 * 256 * 4 < 400 * 256 * 256 * 4
