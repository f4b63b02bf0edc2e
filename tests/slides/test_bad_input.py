"""Bad input is one clear InputError, told before anything large is allocated."""

from __future__ import annotations

import shutil
import struct
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from slides_making import UM, picture, write_pyramid, write_zarr

from geryon.errors import InputError
from geryon.slides import tiff_tags
from geryon.slides.reader import open_slide
from geryon.slides.tissue import low_power, tissue_mask
from geryon.space.boxes import Box


def refused(path: Path, words: str = "", **options: object) -> str:
    with pytest.raises(InputError) as caught:
        open_slide(path, **options)
    text = str(caught.value)
    assert path.name in text and words in text and caught.value.mend and caught.value.exit_code == 3
    return text


def test_missing_empty_and_folder(tmp_path: Path) -> None:
    refused(tmp_path / "none.svs", "no such file")
    (tmp_path / "empty.svs").touch()
    refused(tmp_path / "empty.svs", "empty")
    refused(tmp_path, "folder")
    (tmp_path / "mr").mkdir()
    refused(tmp_path / "mr", ".mrxs")


@pytest.mark.parametrize("name", ["a.svs", "a.tif", "a.png", "a.dcm", "a.mrxs"])
def test_text_and_noise_under_any_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("slide,label\na,1\n" * 50)
    refused(path)
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    refused(path)
    path.write_bytes(b"II*\0" + np.random.default_rng(1).bytes(5000))
    refused(path)


def small_tiff(width: int, height: int, tiled: bool, tile_px: int = 256) -> bytes:
    """A classic TIFF of about 200 bytes that claims this size."""
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (277, 3, 1)]
    tiles = [(322, 4, tile_px), (323, 4, tile_px), (324, 4, 8), (325, 4, 64)]
    entries += tiles if tiled else [(273, 4, 8), (278, 4, height), (279, 4, 64)]
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    body = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in sorted(entries))
    return (head + body + b"\0" * 4).ljust(200, b"\0")


@pytest.mark.parametrize("tiled", [True, False])
def test_a_tiny_tiff_that_claims_a_million_squared(tmp_path: Path, tiled: bool) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(small_tiff(10**6, 10**6, tiled))
    tracemalloc.start()
    refused(path, mpp=0.5)
    refused(path, "claims", mpp=0.5, reader="tiff")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


def test_a_tile_too_large_to_decode_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """Its size fits the file's, but OpenSlide would ask for 83 GB at once, and GLib would end the process."""
    path = tmp_path / "a.tif"
    path.write_bytes(small_tiff(144_000, 144_000, tiled=True, tile_px=144_000).ljust(130_000, b"\0"))
    for reader in (None, "openslide", "tiff"):
        refused(path, "144000 x 144000 px", mpp=0.5, reader=reader)


def test_a_large_tile_that_only_openslide_tells_of_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(small_tiff(144_000, 144_000, tiled=True, tile_px=144_000).ljust(130_000, b"\0"))
    monkeypatch.setattr(tiff_tags, "stated", lambda path: tiff_tags.Stated((), False))
    refused(path, "144000 x 144000 px", mpp=0.5, reader="openslide")


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_tags_of_tiles_are_read_in_every_kind_of_tiff(tmp_path: Path, byteorder: str, bigtiff: bool) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path, byteorder=byteorder, bigtiff=bigtiff) as file:
        for tile in ((64, 64), (32, 128)):
            file.write(picture(), tile=tile, photometric="rgb", metadata=None)
        file.write(picture(), photometric="rgb", metadata=None)
    assert tiff_tags.stated(path) == tiff_tags.Stated(((64, 64), (128, 32)), False)
    whole = path.read_bytes()
    for cut in (whole[:20], whole[:8] + b"\xff" * 8 if bigtiff else whole[:4] + b"\xff" * 12):
        path.write_bytes(cut)
        assert tiff_tags.stated(path).is_cut_short


@pytest.mark.parametrize("size", [(0, 100), (100, 0)])
def test_zero_size(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(small_tiff(*size, tiled=False))
    refused(path, mpp=0.5)


def png_header(width: int, height: int) -> bytes:
    chunk = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + end


def test_pictures_that_claim_too_much(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png_header(60_000, 60_000))
    refused(path, "too large", mpp=0.5)
    path.write_bytes(png_header(20_000, 20_000))
    refused(path, "claims", mpp=0.5)
    path.write_bytes(png_header(0, 100))
    refused(path, mpp=0.5)


@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_truncated_pictures(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a.{ending}"
    cv2.imwrite(str(path), picture())
    whole = path.read_bytes()
    for share in (0.02, 0.5, 0.95):
        path.write_bytes(whole[: max(20, int(share * len(whole)))])
        refused(path, mpp=0.5)


def test_one_pixel_wide(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), picture(300, 200)[:, :1])
    refused(path, "too small", mpp=0.5)


def test_not_a_picture_of_tissue(tmp_path: Path) -> None:
    floats, stack = tmp_path / "f.tif", tmp_path / "s.tif"
    tifffile.imwrite(floats, np.zeros((64, 64), np.float32))
    five = np.zeros((5, 64, 64), np.uint8)
    tifffile.imwrite(stack, five, photometric="minisblack", metadata={"axes": "CYX"}, ome=True)
    refused(floats, mpp=0.5)
    refused(stack, mpp=0.5)


def test_truncated_slides(tmp_path: Path) -> None:
    """Cut anywhere, a file is refused at once or when the lost place is read: never a crash, never invented pixels."""
    path = write_pyramid(tmp_path / "a.ome.tif", picture(), ome=UM, compression="deflate")
    whole = path.read_bytes()
    read = []
    for length in [*range(8, len(whole), len(whole) // 15), len(whole) - 1, len(whole)]:
        path.write_bytes(whole[:length])
        try:
            with open_slide(path, mpp=0.5) as slide:
                got = slide.read(slide.frame.box, 0.5)
        except InputError:
            continue
        np.testing.assert_array_equal(got, picture())
        read.append(length)
    # one byte less costs the coarsest level its last tile, and the finest nothing
    assert {len(whole) - 1, len(whole)} <= set(read) and min(read) > 1000


def test_a_file_cut_before_its_pages_is_told_to_be_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As slides of scanners are: what describes the pictures is written last."""
    path = write_pyramid(tmp_path / "a.svs", picture(), compression="deflate")
    head = bytearray(path.read_bytes()[:2000])
    head[4:8] = struct.pack("<I", 1_000_000)
    path.write_bytes(head)
    text = refused(path, "the file is cut short", mpp=0.5)
    assert "copy the file again" in text and "RGB" not in text and not caplog.records


def damage(path: Path, tile: int, *, level: int = 0) -> None:
    with tifffile.TiffFile(path) as file:
        page = file.pages[level]
        offset, count = page.dataoffsets[tile], page.databytecounts[tile]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xa5" * count)


@pytest.mark.parametrize("reader", ["openslide", "tiff"])
def test_a_damaged_tile_in_the_middle(tmp_path: Path, reader: str) -> None:
    path = write_pyramid(tmp_path / "a.tif", picture(), levels=1, compression="deflate")
    damage(path, 6)  # 5 tiles a row: x 64 to 128, y 64 to 128
    with open_slide(path, mpp=0.5, reader=reader) as slide:
        for _ in range(2):
            with pytest.raises(InputError, match=r"a\.tif \(level 0, x ") as caught:
                slide.read(Box(slide.frame, 70, 70, 90, 90), 0.5)
            assert "can't be read" in str(caught.value)
            # the rest of the slide is still there
            np.testing.assert_array_equal(slide.read(Box(slide.frame, 130, 0, 300, 200), 0.5), picture()[:, 130:])


def test_a_damaged_chunk(tmp_path: Path) -> None:
    path = write_zarr(tmp_path / "a.ome.zarr", picture())
    (path / "0/c/0/1/1").write_bytes(b"nonsense")
    with open_slide(path) as slide:
        with pytest.raises(InputError, match="level 0"):
            slide.read(slide.frame.box, 0.5)
        np.testing.assert_array_equal(slide.read(Box(slide.frame, 0, 0, 64, 200), 0.5), picture()[:, :64])
    shutil.rmtree(path / "0")
    refused(path)


def test_a_damaged_slide_is_still_looked_at(tmp_path: Path) -> None:
    """What can't be read counts as tissue: its windows are asked for, and their loss is told there."""
    glass = np.full((2560, 2560, 3), 240, np.uint8)
    path = write_pyramid(tmp_path / "a.tif", glass, levels=1, tile=(512, 512), compression="deflate")
    damage(path, 24)  # the last of 5 x 5
    with open_slide(path, mpp=2.0) as slide:
        seen = low_power(slide)
        assert seen.unreadable[-1, -1] and not seen.unreadable[0, 0] and (seen.image[0, 0] == 240).all()
        mask = tissue_mask(slide, seen)
        assert mask.touches(Box(slide.frame, 2300, 2300, 2400, 2400))
        assert not mask.touches(Box(slide.frame, 0, 0, 1000, 1000))


def test_ome_zarr_without_a_picture(tmp_path: Path) -> None:
    import zarr

    zarr.open_group(tmp_path / "a.zarr", mode="w")
    refused(tmp_path / "a.zarr", "multiscales")


def test_dicom_without_wsidicom_names_the_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from geryon.errors import MissingPartError

    path = tmp_path / "a.dcm"
    path.write_bytes(b"\0" * 128 + b"DICM" + b"\0" * 100)
    monkeypatch.setitem(sys.modules, "wsidicom", None)
    with pytest.raises(MissingPartError, match=r'pip install "geryon\[dicom\]"'):
        open_slide(path)
