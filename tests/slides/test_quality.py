"""Blur, folds and ink are found where they were put, and not elsewhere."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from slides_making import data_folder

from geryon.slides.array import read_picture, slide_of_image
from geryon.slides.quality import BLUR, FOLD, GLASS, PEN, TISSUE, detail_of, quality
from geryon.slides.tissue import tissue_mask


def fake_tissue(side: int = 1536) -> np.ndarray:
    """RGB at 1 µm/px: glass with a square of sharp nuclei in pink from 256 on."""
    random = np.random.default_rng(0)
    image = np.full((side, side, 3), 243, np.uint8)
    image[256:, 256:] = (225, 165, 200)
    for x, y in random.integers(262, side - 8, (9000, 2)):
        cv2.ellipse(image, (int(x), int(y)), (5, 3), float(x), 0, 360, (110, 70, 150), -1)
    return image


def looked_at(image: np.ndarray) -> object:
    slide = slide_of_image(image, mpp=1.0)
    return quality(slide, tissue_mask(slide))


def test_a_good_slide_is_good() -> None:
    found = looked_at(fake_tissue())
    assert found.mpp == 8.0 and found.raster.shape == (192, 192)
    assert found.raster[:28, :28].max() == GLASS
    assert found.shares["tissue"] > 0.99 and sum(found.shares.values()) == pytest.approx(1)


def test_blur() -> None:
    image = fake_tissue()
    image[:, 768:] = cv2.GaussianBlur(image, (0, 0), 3.0)[:, 768:]
    found = looked_at(image)
    left, right = found.raster[40:, 40:94], found.raster[40:, 100:]
    assert (right == BLUR).mean() > 0.9 and (left == TISSUE).mean() > 0.9
    assert 0.45 < found.shares["blur"] < 0.75


def test_fold() -> None:
    image = fake_tissue()
    strip = image[800:920, 400:1400].astype(float)
    image[800:920, 400:1400] = (255 * (strip / 255) ** 4).astype(np.uint8)
    found = looked_at(image)
    assert (found.raster[102:113, 55:170] == FOLD).mean() > 0.8
    assert (found.raster == FOLD).sum() < 1.2 * 15 * 125


def test_pen() -> None:
    image = fake_tissue()
    image[:, :200] = (image[:, :200] * (np.array((40, 70, 190)) / 255)).astype(np.uint8)
    found = looked_at(image)
    assert (found.raster[:, :24] == PEN).mean() > 0.95 and 0.1 < found.shares["pen"] < 0.25
    assert (found.raster[40:, 40:] == TISSUE).mean() > 0.98


def test_too_coarse_to_judge_focus() -> None:
    image = cv2.GaussianBlur(fake_tissue(), (0, 0), 4.0)
    slide = slide_of_image(image, mpp=2.0)
    assert quality(slide, tissue_mask(slide)).shares["blur"] == 0


def test_no_tissue_at_all() -> None:
    found = looked_at(np.full((300, 300, 3), 240, np.uint8))
    assert not found.raster.any() and set(found.shares.values()) == {0.0}


def test_focus_of_real_tissue() -> None:
    image = read_picture(data_folder("colon_slide") / "region_full.jpg")[:1024, :1024]
    pair = image, cv2.GaussianBlur(image, (0, 0), 5)
    at_1 = [cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for p in pair]
    sharp, blurred = (detail_of(p[100:228, 100:228]) for p in at_1)
    assert sharp > 0.1 and blurred < 0.03
