"""The small real files of shared/data/wsi_small: how each opens, and with what resolution."""

from __future__ import annotations

import numpy as np
import pytest
from slides_making import data_folder

from geryon.errors import InputError
from geryon.slides.reader import open_slide
from geryon.space.boxes import Box

OPENS = {
    "aperio/CMU-1-Small-Region.svs": ("tiff", (2220, 2967), 0.499),
    "aperio/small.svs": ("tiff", (16, 16), 0.499),
    "dicom_boxes/boxes_0.dcm": ("openslide", (16, 16), 0.499),
    "dicom_boxes/boxes_1.dcm": ("openslide", (16, 16), 0.499),
    "dicom_sm/sm_image.dcm": ("openslide", (50, 50), 0.499),
    "dicom_wsic/volume.dcm": ("dicom", (2220, 2967), 0.499),
    "dicom_wsic/label.dcm": ("dicom", (2220, 2967), 0.499),
    "dicom_wsic/overview.dcm": ("dicom", (2220, 2967), 0.499),
    "hamamatsu/test3-TRITC-2-560.ndpi": ("openslide", (3968, 4864), 0.228175),
}
ASKS_FOR_MPP = {
    "aperio/tcga-cr-7395-01a-01-ts1.svs": ("tiff", (4443, 3567)),
    "ome_tiff/XYC-jpeg.ome.tiff": ("tiff", (512, 512)),
    "tiff/CMU-1-Small-Region.jpeg.tiff": ("tiff", (2220, 2967)),
    "tiff/CMU-1-Small-Region.webp.tiff": ("tiff", (2220, 2967)),
    "tiff/boxes.tiff": ("openslide", (300, 250)),
}


@pytest.mark.parametrize("name", OPENS)
def test_opens_with_its_own_resolution(name: str) -> None:
    reader, size, mpp = OPENS[name]
    if reader == "dicom":
        pytest.importorskip("wsidicom")
    with open_slide(data_folder("wsi_small") / name) as slide:
        assert (slide.reader, slide.size, slide.mpp_source) == (reader, size, "scanner")
        assert slide.mpp == pytest.approx((mpp, mpp), rel=1e-5)
        assert slide.read(slide.frame.box, 8.0).ndim == 3


@pytest.mark.parametrize("name", ASKS_FOR_MPP)
def test_asks_for_what_the_file_does_not_say(name: str) -> None:
    reader, size = ASKS_FOR_MPP[name]
    path = data_folder("wsi_small") / name
    with pytest.raises(InputError, match="--mpp"):
        open_slide(path)
    with open_slide(path, mpp=0.499) as slide:
        assert (slide.reader, slide.size, slide.mpp_source) == (reader, size, "given")


def test_one_region_in_five_files() -> None:
    """The same pixels through OpenSlide, tifffile (WebP) and wsidicom, but for what compression lost."""
    folder = data_folder("wsi_small")
    pytest.importorskip("wsidicom")
    names = ["aperio/CMU-1-Small-Region.svs", "tiff/CMU-1-Small-Region.jpeg.tiff", "tiff/CMU-1-Small-Region.webp.tiff"]
    seen = []
    for name in [*names, "dicom_wsic/volume.dcm"]:
        with open_slide(folder / name, mpp=0.499) as slide:
            seen.append(slide.read(Box(slide.frame, 701, 811, 1213, 1323), 0.499).astype(int))
    for other in seen[1:]:
        here = np.abs(other - seen[0]).mean()
        assert here < 10  # lossy twice over; one pixel aside it is far more
        assert all(1.2 * here < np.abs(np.roll(other, by, axis) - seen[0]).mean() for by in (-1, 1) for axis in (0, 1))


@pytest.mark.parametrize("reader", ["tiff", "openslide"])
def test_levels_of_uneven_downsample_are_read_by_place(reader: str) -> None:
    """OpenSlide says 2.0005 for level 1 of this file and shifts tiles by where a region begins."""
    with open_slide(data_folder("wsi_small") / "aperio/tcga-cr-7395-01a-01-ts1.svs", mpp=0.5, reader=reader) as slide:
        assert [at.downsample_x for at in slide.levels] == [1, 2]
        frame = slide.frame.at(1.0)
        whole = slide.read(Box(frame, 1200, 900, 1900, 1400), 1.0)
        np.testing.assert_array_equal(slide.read(Box(frame, 1500, 1000, 1600, 1200), 1.0), whole[100:300, 300:400])
        fine = slide.read(Box(slide.frame, 2400, 1800, 3800, 2800), 0.5).astype(float)
        mean = fine.reshape(500, 2, 700, 2, 3).mean(axis=(1, 3))
        here = np.abs(whole - mean).mean()
        assert all(here < np.abs(np.roll(whole, by, axis) - mean).mean() for by in (-1, 1) for axis in (0, 1))
