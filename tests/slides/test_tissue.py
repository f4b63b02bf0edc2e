"""Tissue mask: what touches tissue is kept, whatever the glass, the light and the pens."""

from __future__ import annotations

import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from slides_making import data_folder

from geryon.errors import InputError
from geryon.slides import masks, tissue
from geryon.slides.array import read_picture, read_values, slide_of_image
from geryon.space.boxes import Box

INKS = {"blue": (40, 70, 190), "green": (30, 120, 60), "black": (25, 25, 28), "red": (200, 30, 40)}


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def fake_slide(side: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """(image at 8 µm/px, truth): two pieces of speckled pink and purple, one pale, on noisy glass."""
    random = np.random.default_rng(0)
    truth = np.zeros((side, side), np.uint8)
    cv2.ellipse(truth, (130, 150), (90, 60), 30, 0, 360, 1, -1)
    cv2.ellipse(truth, (290, 290), (60, 80), 10, 0, 360, 2, -1)
    image = np.full((side, side, 3), 243.0)
    stain = random.random((side, side, 1))
    image[truth == 1] = (stain * (225, 150, 190) + (1 - stain) * (140, 90, 160))[truth == 1]
    image[truth == 2] = (stain * (238, 220, 232) + (1 - stain) * (225, 200, 220))[truth == 2]
    image += random.normal(0, 2, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), truth > 0


@pytest.mark.parametrize("light", [(1, 1, 1), (0.8, 0.8, 0.8), (0.97, 0.92, 0.78), (0.9, 0.93, 1.0)])
def test_glass_of_any_colour(light: tuple[float, float, float]) -> None:
    image, truth = fake_slide()
    found = tissue.tissue_of((image * np.array(light)).astype(np.uint8), 8.0)
    assert dice(found, truth) > 0.97


def test_uneven_light() -> None:
    image, truth = fake_slide()
    yy, xx = np.mgrid[:400, :400] / 400 - 0.5
    found = tissue.tissue_of((image * (1 - 0.4 * (xx**2 + yy**2))[..., None]).astype(np.uint8), 8.0)
    assert dice(found, truth) > 0.96


@pytest.mark.parametrize("name", INKS)
def test_pen_marks_are_no_tissue(name: str) -> None:
    image, truth = fake_slide()
    stroke = np.zeros(truth.shape, np.float32)
    cv2.polylines(stroke, [np.array([[20, 350], [380, 40], [370, 150]])], False, 1.0, 24)
    stroke = cv2.GaussianBlur(stroke, (0, 0), 1.5)[..., None]
    inked = (image * (1 - stroke) + image * stroke * np.array(INKS[name]) / 255).astype(np.uint8)
    found = tissue.tissue_of(inked, 8.0)
    on_glass = (stroke[..., 0] > 0.5) & ~truth
    assert found[on_glass].mean() < 0.02
    clean = truth & (cv2.dilate(stroke[..., 0], np.ones((21, 21))) < 0.01)
    assert found[clean].mean() > 0.97


def test_empty_glass_and_whole_tissue() -> None:
    random = np.random.default_rng(0)
    glass = np.clip(random.normal(236, 2, (200, 200, 3)), 0, 255).astype(np.uint8)
    assert not tissue.tissue_of(glass, 8.0).any()
    assert not tissue.tissue_of(np.full((50, 50, 3), 255, np.uint8), 8.0).any()
    image, _ = fake_slide()
    assert tissue.tissue_of(image[120:180, 90:170], 8.0).all()


def test_dark_slides_are_kept_whole() -> None:
    assert tissue.tissue_of(np.full((40, 40, 3), 12, np.uint8), 8.0).all()


def test_holes_and_specks() -> None:
    mask = np.zeros((300, 300), bool)
    mask[20:200, 20:200] = True
    mask[50:60, 50:60] = False  # 0.0064 mm²: a lumen
    mask[100:140, 100:140] = False  # 0.1 mm²: a hole
    mask[250:255, 250:255] = True  # 0.0016 mm²: dust
    mask[270:278, 270:278] = True  # 0.004 mm²: a fragment
    got = tissue.tidy(mask, 8.0)
    assert got[55, 55] and not got[120, 120] and not got[252, 252] and got[274, 274]


def test_touches_and_area() -> None:
    mask = np.zeros((10, 20), bool)
    mask[4, 7] = True
    slide = slide_of_image(np.full((160, 320, 3), 255, np.uint8), mpp=0.5)
    cells = tissue.TissueMask(mask, 8.0)
    assert cells.area_mm2 == pytest.approx(64e-6)
    assert cells.touches(Box(slide.frame, 112, 64, 128, 80)) and cells.touches(Box(slide.frame, 127.5, 79.5, 400, 400))
    assert not cells.touches(Box(slide.frame, 128, 64, 160, 80))
    assert not cells.touches(Box(slide.frame, 0, 80, 320, 160))
    um = slide.frame.um
    assert cells.touches(Box(um, 0, 0, 160, 80)) and not cells.touches(Box(um, 0, 0, 56, 80))


def test_small_images_are_kept_whole_unless_asked() -> None:
    slide = slide_of_image(np.full((200, 200, 3), 240, np.uint8), mpp=0.5)
    assert tissue.window_mask(slide).mask.all()
    assert not tissue.window_mask(slide, asked=True).mask.any()
    large = slide_of_image(np.full((600, 600, 3), 240, np.uint8), mpp=4.0)
    assert not tissue.window_mask(large).mask.any()
    assert tissue.window_mask(large, asked=False).mask.all()


@pytest.mark.parametrize("top", [1, 255])
@pytest.mark.parametrize("scale", [1, 2, 16, 40])
def test_a_mask_of_any_scale(tmp_path: Path, top: int, scale: int) -> None:
    slide = slide_of_image(np.full((800, 1600, 3), 240, np.uint8), mpp=0.5)
    mask = np.zeros((800 // scale, 1600 // scale), np.uint8)
    mask[: mask.shape[0] // 2, : mask.shape[1] // 4] = top
    cv2.imwrite(str(tmp_path / "m.png"), mask)
    got = tissue.window_mask(slide, given=tmp_path / "m.png")
    assert got.touches(Box(slide.frame, 300, 300, 399, 399))
    assert not got.touches(Box(slide.frame, 480, 0, 1600, 800)) and not got.touches(Box(slide.frame, 0, 480, 1600, 800))


def test_a_mask_that_hardly_meets_the_tissue_is_refused_unless_the_built_in_one_is_not_asked(tmp_path: Path) -> None:
    image, truth = fake_slide()
    slide, path = slide_of_image(image, mpp=8.0), tmp_path / "m.png"
    another = np.zeros(truth.shape, np.uint8)
    another[:120, 280:] = 1  # glass here
    assert not truth[another > 0].any()
    loose = np.zeros(truth.shape, np.uint8)
    loose[130:170, :] = 1  # a region drawn across tissue and glass
    for mask, fits in ((truth.astype(np.uint8), True), (loose, True), (another, False), (another * 0, True)):
        cv2.imwrite(str(path), mask)
        if fits:
            assert tissue.window_mask(slide, given=path).mask.any() == mask.any()
            continue
        with pytest.raises(InputError, match="only 0% of the mask lies on the tissue.*tissue-mask off"):
            tissue.window_mask(slide, given=path)
        assert tissue.window_mask(slide, given=path, asked=False).mask.any()


@pytest.mark.parametrize("shape", [(640, 960), (641, 957), (100, 150), (37, 55)])
@pytest.mark.parametrize("cells", [(40, 60), (13, 21), (1, 1)])
def test_a_mask_is_reduced_to_the_cells_that_its_pixels_meet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int], cells: tuple[int, int]
) -> None:
    monkeypatch.setattr(masks, "BLOCK_PX", 64)
    values = (np.random.default_rng(0).random(shape) > 0.999).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "m.png"), values)
    tifffile.imwrite(tmp_path / "m.tif", values.astype(np.uint16), tile=(48, 32), photometric="minisblack")
    want = np.zeros(cells, bool)
    for y, x in np.argwhere(values):
        rows = slice(y * cells[0] // shape[0], -(-(y + 1) * cells[0] // shape[0]))
        want[rows, x * cells[1] // shape[1] : -(-(x + 1) * cells[1] // shape[1])] = True
    for name in ("m.png", "m.tif"):
        with masks.open_mask(tmp_path / name) as drawn:
            np.testing.assert_array_equal(masks.reduced(drawn, cells), want)


def test_a_mask_of_more_than_a_gigapixel_takes_bounded_memory(tmp_path: Path) -> None:
    """More than OpenCV takes at all: read block by block. Tiles that are left out are not drawn."""
    side = 33_024
    tile = zlib.compress(np.full((512, 512), 255, np.uint8).tobytes())
    across = -(-side // 512)
    tiles = (tile if n == across + 1 else b"" for n in range(across**2))
    tifffile.imwrite(
        tmp_path / "m.tif", tiles, shape=(side, side), dtype=np.uint8, tile=(512, 512), compression="zlib",
        photometric="minisblack", bigtiff=True,
    )  # fmt: skip
    slide = slide_of_image(np.full((1000, 1000, 3), 240, np.uint8), mpp=0.5)
    tracemalloc.start()
    got = tissue.read_mask(tmp_path / "m.tif", slide)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000_000
    rows, columns = np.nonzero(got.mask)
    ends = np.array([512, 1024]) / side * got.mask.shape[0]
    assert rows.min() == columns.min() == int(ends[0]) and rows.max() == columns.max() == int(np.ceil(ends[1])) - 1


def test_masks_that_can_not_be_used(tmp_path: Path) -> None:
    slide = slide_of_image(np.full((800, 1600, 3), 240, np.uint8), mpp=0.5)
    for values, words in (
        (np.zeros((100, 190), np.uint8), "not of one shape"),
        (np.arange(5000, dtype=np.uint8).reshape(50, 100), "0 and 1"),
        (np.repeat(np.array([[0, 1, 255, 1]], np.uint8), 2, axis=0), "holds 1 and 255"),
    ):
        cv2.imwrite(str(tmp_path / "m.png"), values)
        with pytest.raises(InputError, match=words):
            tissue.read_mask(tmp_path / "m.png", slide)
    with pytest.raises(InputError, match="check the path"):
        tissue.read_mask(tmp_path / "none.png", slide)
    cv2.imwrite(str(tmp_path / "m.png"), np.zeros((101, 200), np.uint8))  # 1 %: a rounded thumbnail
    assert not tissue.read_mask(tmp_path / "m.png", slide).mask.any()


def test_against_a_real_slide() -> None:
    """One section of colon_slide; its reference is a threshold, too, so agreement is what can be asked."""
    folder = data_folder("colon_slide")
    slide = slide_of_image(read_picture(folder / "section1_ds8.jpg"), mpp=4.0)
    found = tissue.tissue_mask(slide)
    truth = read_values(folder / "section1_ds8_mask.png") > 0
    truth = cv2.resize(truth.astype(np.float32), found.mask.shape[::-1], interpolation=cv2.INTER_AREA) > 0.5
    assert dice(found.mask, truth) > 0.95
    assert (found.mask & truth).sum() / truth.sum() > 0.97
