"""Every reader keeps the contract, on small files written here and on the real ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from slides_making import UM, data_folder, picture, write_aperio, write_pyramid, write_zarr

from geryon.slides import array, dicom, openslide_, tiff, zarr_
from geryon.slides.reader import Reader
from geryon.testing.readers import ReaderContract


class OfFile(ReaderContract):
    """The contract over a file that each test finds at self.path."""

    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.path = self.write(tmp_path)

    def write(self, folder: Path) -> Path:
        raise NotImplementedError


class TestPlainPyramidByOpenSlide(OfFile):
    def write(self, folder: Path) -> Path:
        return write_pyramid(folder / "a.tif", picture())

    def open_reader(self) -> Reader:
        return openslide_.open_reader(self.path)

    def expected(self) -> np.ndarray:
        return picture()


class TestUnevenPyramidByOpenSlide(TestPlainPyramidByOpenSlide):
    """Sides that do not halve: the levels' downsample is 2.006 to OpenSlide."""

    def write(self, folder: Path) -> Path:
        return write_pyramid(folder / "a.tif", picture(1331, 301), levels=4)

    def expected(self) -> np.ndarray:
        return picture(1331, 301)


class TestJpegPyramidByTifffile(OfFile):
    tolerance = 3.0

    def write(self, folder: Path) -> Path:
        return write_pyramid(folder / "a.tif", picture(), compression="jpeg", compressionargs={"level": 95})

    def open_reader(self) -> Reader:
        return tiff.open_reader(self.path)

    def expected(self) -> np.ndarray:
        return picture()


class TestOmeTiff(TestJpegPyramidByTifffile):
    def write(self, folder: Path) -> Path:
        return write_pyramid(folder / "a.ome.tif", picture(), ome=UM, compression="jpeg", compressionargs={"level": 95})


class TestDeflateStrips(TestJpegPyramidByTifffile):
    tolerance = 0.0

    def write(self, folder: Path) -> Path:
        options = {"tile": None, "rowsperstrip": 48, "compression": "deflate", "predictor": True}
        return write_pyramid(folder / "a.tif", picture(), levels=1, **options)


class TestPlanarTiff(TestJpegPyramidByTifffile):
    tolerance = 0.0

    def write(self, folder: Path) -> Path:
        import tifffile

        path = folder / "a.tif"
        tifffile.imwrite(path, picture().transpose(2, 0, 1), photometric="rgb", planarconfig="separate", tile=(64, 64))
        return path


class TestZarr04(OfFile):
    def write(self, folder: Path) -> Path:
        return write_zarr(folder / "a.ome.zarr", picture(), version="0.4", axes="tczyx")

    def open_reader(self) -> Reader:
        return zarr_.open_reader(self.path)

    def expected(self) -> np.ndarray:
        return picture()


class TestZarr05(TestZarr04):
    def write(self, folder: Path) -> Path:
        return write_zarr(folder / "a.ome.zarr", picture(), version="0.5", axes="cyx")


class TestZarr05ChannelLast(TestZarr04):
    def write(self, folder: Path) -> Path:
        return write_zarr(folder / "a.ome.zarr", picture(), version="0.5", axes="yxc")


class TestPng(OfFile):
    def write(self, folder: Path) -> Path:
        path = folder / "a.png"
        cv2.imwrite(str(path), picture()[..., ::-1])
        return path

    def open_reader(self) -> Reader:
        return array.open_reader(self.path)

    def expected(self) -> np.ndarray:
        return picture()


class TestJpeg(TestPng):
    tolerance = 3.0

    def write(self, folder: Path) -> Path:
        path = folder / "a.jpg"
        cv2.imwrite(str(path), picture()[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        return path


class TestAperioByTifffile(TestJpegPyramidByTifffile):
    def write(self, folder: Path) -> Path:
        return write_aperio(folder / "a.svs", picture())


class TestAperioByOpenSlide(TestAperioByTifffile):
    def open_reader(self) -> Reader:
        return openslide_.open_reader(self.path)


class TestAperioSmall(OfFile):
    """16 px: smaller than one tile."""

    def write(self, folder: Path) -> Path:
        return data_folder("wsi_small") / "aperio/small.svs"

    def open_reader(self) -> Reader:
        return openslide_.open_reader(self.path)


class TestAperioSmallByTifffile(TestAperioSmall):
    def open_reader(self) -> Reader:
        return tiff.open_reader(self.path)

    def expected(self) -> np.ndarray:
        return openslide_.open_reader(self.path).read(0, (0, 0, 16, 16))


class TestHighdicomByOpenSlide(TestAperioSmall):
    def write(self, folder: Path) -> Path:
        return data_folder("wsi_small") / "dicom_sm/sm_image.dcm"


class TestDicomByWsidicom(OfFile):
    def write(self, folder: Path) -> Path:
        pytest.importorskip("wsidicom")
        return data_folder("wsi_small") / "dicom_sm/sm_image.dcm"

    def open_reader(self) -> Reader:
        return dicom.open_reader(self.path)

    def expected(self) -> np.ndarray:
        return openslide_.open_reader(self.path).read(0, (0, 0, 50, 50))


class TestDrawingByTifffile(OfFile):
    def write(self, folder: Path) -> Path:
        return data_folder("wsi_small") / "tiff/boxes.tiff"

    def open_reader(self) -> Reader:
        return tiff.open_reader(self.path)

    def expected(self) -> np.ndarray:
        return openslide_.open_reader(self.path).read(0, (0, 0, 300, 250))
