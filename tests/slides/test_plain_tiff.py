"""Plain TIFFs, Aperio's above all, show by tifffile what they show by OpenSlide; others stay with OpenSlide."""

from __future__ import annotations

import tracemalloc
from functools import partial
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from slides_making import data_folder, encode_jpeg, picture, put_tag, tiles_of, write_aperio, write_pyramid

from geryon.errors import InputError
from geryon.slides import formats, openslide_, tiff
from geryon.slides.reader import Reader, open_slide
from geryon.slides.salvage import salvaged
from geryon.testing.readers import whole

REAL = ("CMU-1-Small-Region.svs", "small.svs", "tcga-cr-7395-01a-01-ts1.svs")
TIFF_FIRST, OPENSLIDE_FIRST = ("tiff", "openslide"), ("openslide", "tiff")


def encode_jpeg_2000(tile: np.ndarray, mct: bool = True) -> bytes:
    return imagecodecs.jpeg2k_encode(tile, level=40, codecformat="j2k", mct=mct)


KINDS = {
    "ycbcr": {},
    "rgb": {"photometric": 2, "encode": partial(encode_jpeg, space="rgb")},
    "jpeg 2000": {"compression": 33005, "photometric": 2, "encode": encode_jpeg_2000},
    "jpeg 2000 without a change of colours": {
        "compression": 33005,
        "photometric": 2,
        "encode": partial(encode_jpeg_2000, mct=False),
    },
    "no µm, a comma": {"told": "AppMag = 40|Title = MPP = 1|MPP = 0,2500"},
    "neither": {"told": "Title = a"},
}


def both(path: Path) -> tuple[Reader, Reader]:
    return tiff.open_reader(path), openslide_.open_reader(path)


def assert_same_facts(one: Reader, other: Reader) -> None:
    assert one.levels == other.levels
    assert (one.mpp, one.objective, one.origin_level0) == (other.mpp, other.objective, other.origin_level0)


@pytest.mark.parametrize("kind", KINDS)
def test_same_levels_resolution_and_pixels(tmp_path: Path, kind: str) -> None:
    path = write_aperio(tmp_path / "a.svs", picture(), **KINDS[kind])
    assert formats.candidates(path) == TIFF_FIRST
    ours, theirs = both(path)
    assert_same_facts(ours, theirs)
    assert [(at.width, at.height) for at in ours.levels] == [(300, 200), (150, 100)]
    for level in (0, 1):
        np.testing.assert_array_equal(whole(ours, level), whole(theirs, level))
    assert np.abs(whole(ours, 0).astype(int) - picture()).mean() < 3


@pytest.mark.parametrize("name", REAL)
def test_same_on_real_files(name: str) -> None:
    path = data_folder("wsi_small") / "aperio" / name
    assert formats.candidates(path) == TIFF_FIRST
    ours, theirs = both(path)
    assert_same_facts(ours, theirs)
    np.testing.assert_array_equal(whole(ours, 0), whole(theirs, 0))


def test_a_level_lies_where_its_pixels_come_from() -> None:
    """OpenSlide takes 2.0005 for this level and puts tiles up to a quarter of a pixel aside; that is the difference."""
    path = data_folder("wsi_small") / "aperio/tcga-cr-7395-01a-01-ts1.svs"
    ours, theirs = both(path)
    side = 256
    aside: dict[str, list[float]] = {"ours": [], "theirs": []}
    for x, y in ((64, 64), (300, 300), (1000, 800), (1900, 1000), (1900, 1460), (1920, 400)):
        fine = ours.read(0, (2 * x, 2 * y, 2 * (x + side), 2 * (y + side))).astype(float).mean(axis=2)
        mean = fine.reshape(side, 2, side, 2).mean(axis=(1, 3))
        for name, reader in (("ours", ours), ("theirs", theirs)):
            coarse = reader.read(1, (x, y, x + side, y + side)).astype(float).mean(axis=2)
            (dx, dy), _ = cv2.phaseCorrelate(mean, coarse, cv2.createHanningWindow((side, side), cv2.CV_64F))
            aside[name].append(max(abs(dx), abs(dy)))
    assert max(aside["ours"]) < 0.1 < 0.2 < max(aside["theirs"])


def test_label_and_macro_are_never_read(tmp_path: Path) -> None:
    path = write_aperio(tmp_path / "a.svs", np.full((200, 300, 3), 240, np.uint8))
    for reader in both(path):
        assert len(reader.levels) == 2
        for level in (0, 1):
            assert np.ptp(whole(reader, level)) < 10  # they are red


def test_what_a_tile_says_of_its_own_colours_counts(tmp_path: Path) -> None:
    """JFIF is YCbCr by definition, whatever the tag says; OpenSlide believes the tag and shows other colours."""
    jfif = partial(imagecodecs.jpeg_encode, level=95, colorspace="rgb", outcolorspace="ycbcr")
    path = write_aperio(tmp_path / "a.svs", picture(), photometric=2, encode=jfif)
    ours, theirs = both(path)
    assert np.abs(whole(ours, 0).astype(int) - picture()).mean() < 3
    assert np.abs(whole(theirs, 0).astype(int) - picture()).mean() > 20


@pytest.mark.parametrize(
    "change",
    [
        {"compression": 33003, "photometric": 2, "encode": encode_jpeg_2000},
        {"leave_out": (0, 3)},
        {"leave_out": (2, 0)},
    ],
)
def test_others_stay_with_openslide(tmp_path: Path, change: dict) -> None:
    path = write_aperio(tmp_path / "a.svs", picture(), **change)
    assert formats.candidates(path) == OPENSLIDE_FIRST
    with open_slide(path) as slide:
        assert slide.reader == "openslide"


def test_tiles_left_out_are_made_of_the_finer_level_or_white(tmp_path: Path) -> None:
    with open_slide(write_aperio(tmp_path / "a.svs", picture(), leave_out=(2, 0))) as slide:
        coarse = slide._reader.read(1, (8, 8, 56, 56)).astype(int)
        assert np.abs(coarse - picture().reshape(100, 2, 150, 2, 3).mean(axis=(1, 3))[8:56, 8:56]).mean() < 10
    with open_slide(write_aperio(tmp_path / "b.svs", picture(), leave_out=(0, 3))) as slide:
        assert (slide._reader.read(0, (192, 0, 256, 64)) == 255).all()


JPEG = {"compression": "jpeg", "compressionargs": {"level": 90}}


def test_pyramids_of_no_vendor(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", picture(331, 201), **JPEG)
    assert formats.candidates(path) == TIFF_FIRST
    ours, theirs = both(path)
    assert_same_facts(ours, theirs)
    assert len(ours.levels) == 3
    for level in range(3):
        np.testing.assert_array_equal(whole(ours, level), whole(theirs, level))


@pytest.mark.parametrize(
    "mark",
    [
        {"software": "Philips DP v1.0"},
        {"software": "MedScan"},
        {"description": '<?xml version="1.0"?><scn xmlns="http://www.leica-microsystems.com/scn/2010/10/01">'},
        {"extratags": [(700, 1, 7, b"<iScan/>", False)]},
        {"extratags": [(65420, 4, 1, 1, False)]},
    ],
)
def test_vendors_with_ways_of_their_own_stay_with_openslide(tmp_path: Path, mark: dict) -> None:
    path = write_pyramid(tmp_path / "a.tif", picture(), levels=1, **JPEG, **mark)
    assert formats.candidates(path) == OPENSLIDE_FIRST


def test_pages_that_may_be_other_pictures_stay_with_openslide(tmp_path: Path) -> None:
    path = write_pyramid(tmp_path / "a.tif", picture(), **JPEG)
    put_tag(path, 1, 254, 0)  # not said to be the first one made smaller
    assert formats.candidates(path) == OPENSLIDE_FIRST


@pytest.mark.parametrize(
    ("tag", "first"),
    [("TileByteCounts", OPENSLIDE_FIRST), ("BitsPerSample", OPENSLIDE_FIRST), ("ImageDescription", TIFF_FIRST)],
)
def test_a_tag_that_claims_too_much_costs_no_memory(tmp_path: Path, tag: str, first: tuple[str, str]) -> None:
    """A slide is large enough to hold what a damaged count claims."""
    path = write_aperio(tmp_path / "a.svs", picture())
    with tifffile.TiffFile(path) as file:
        entry = file.pages[0].tags[tag].offset
    with path.open("r+b") as file:
        file.truncate(400_000_000)  # zeros that take no disk
        file.seek(entry + 4)
        file.write((80_000_000).to_bytes(4, "little"))
    tracemalloc.start()
    found = formats.candidates(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == first and peak < 4_000_000


def test_other_tiffs_stay_with_openslide(tmp_path: Path) -> None:
    assert formats.candidates(write_pyramid(tmp_path / "a.tif", picture())) == OPENSLIDE_FIRST
    svs = write_aperio(tmp_path / "a.svs", picture())
    for tag, value in ((284, 2), (256, 150)):  # planes apart; two levels of one size
        path = tmp_path / f"{tag}.svs"
        path.write_bytes(svs.read_bytes())
        put_tag(path, 0, tag, value)
        if tag == 256:
            put_tag(path, 0, 257, 100)
        assert formats.candidates(path) == OPENSLIDE_FIRST
    cut = tmp_path / "cut.svs"
    cut.write_bytes(svs.read_bytes()[:-300])
    assert formats.candidates(cut)[0] in ("openslide", "tiff")


def test_a_damaged_tile_is_lost_alone(tmp_path: Path) -> None:
    """The same pixels can't be read by either reader, and all others are the same."""
    path = write_aperio(tmp_path / "a.svs", picture())
    coded = encode_jpeg(tiles_of(picture())[6])
    at = path.read_bytes().index(coded)
    with path.open("r+b") as file:
        file.seek(at + len(coded) // 2)
        file.write(bytes(len(coded) - len(coded) // 2))
    seen = {}
    for name in ("tiff", "openslide"):
        with open_slide(path, reader=name) as slide:
            seen[name] = salvaged(slide, slide.frame.box, 32)
    ours, theirs = seen["tiff"], seen["openslide"]
    np.testing.assert_array_equal(ours.unreadable, theirs.unreadable)
    np.testing.assert_array_equal(ours.image, theirs.image)
    assert ours.unreadable[64:128, 64:128].all() and ours.unreadable.sum() == 64 * 64
    assert "JPEG" in str(ours.fault) and "level 0, x 64 to 128, y 64 to 128" in str(ours.fault)


def test_openslide_reads_what_the_tiff_reader_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_aperio(tmp_path / "a.svs", picture())
    monkeypatch.setattr(tiff, "open_reader", partial(_refuse, "no memory for it"))
    with open_slide(path) as slide:
        assert slide.reader == "openslide"
    monkeypatch.setattr(openslide_, "open_reader", partial(_refuse, "no sense in it"))
    with pytest.raises(InputError, match=r"tiff: no memory for it; openslide: no sense in it"):
        open_slide(path)


def _refuse(why: str, path: Path) -> Reader:
    raise InputError(what=why, where=str(path), mend="")
