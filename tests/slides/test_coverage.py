"""The share of a patch that a mask covers: in µm, so the same for a mask of any scale."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geryon.errors import InputError
from geryon.slides import masks
from geryon.slides.array import slide_of_image
from geryon.slides.coverage import tissue_shares
from geryon.slides.masks import Drawn, covered
from geryon.space.grid import Grid

WIDTH, HEIGHT, MPP = 600, 480, 0.5


def slide_and_grid(patch_um=32.0, stride_um=32.0):
    slide = slide_of_image(np.full((HEIGHT, WIDTH, 3), 230, np.uint8), mpp=MPP)
    return slide, Grid(level0=slide.frame, patch_um=patch_um, stride_um=stride_um)


def drawing(seed=0):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    rng = np.random.default_rng(seed)
    for _ in range(6):
        x, y = int(rng.integers(0, WIDTH // 8)) * 8, int(rng.integers(0, HEIGHT // 8)) * 8
        mask[y : y + 120, x : x + 160] = 1
    return mask


def saved(path: Path, mask: np.ndarray) -> Path:
    assert cv2.imwrite(str(path), mask)
    return path


@pytest.mark.parametrize(("patch_um", "stride_um"), [(32.0, 32.0), (32.0, 20.0), (20.0, 50.0)])
def test_the_share_is_that_of_the_pixels(tmp_path, patch_um, stride_um):
    mask = drawing()
    slide, grid = slide_and_grid(patch_um, stride_um)
    shares = tissue_shares(slide, grid, given=saved(tmp_path / "m.png", mask))
    side, step = round(patch_um / MPP), round(stride_um / MPP)
    padded = np.pad(mask, ((0, side), (0, side)))
    want = [
        [padded[r * step : r * step + side, c * step : c * step + side].mean() for c in range(grid.columns)]
        for r in range(grid.rows)
    ]
    assert np.allclose(shares, want, atol=1e-9)


@pytest.mark.parametrize("scale", [1 / 8, 1 / 4, 2])
@pytest.mark.parametrize("top", [1, 255])
def test_a_mask_of_any_scale_means_the_same_places(tmp_path, scale, top):
    """The drawing's corners lie on multiples of 8 pixels, so that every one of these masks holds the same."""
    mask = drawing()
    slide, grid = slide_and_grid()
    size = round(WIDTH * scale), round(HEIGHT * scale)
    other = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST) * top
    shares = tissue_shares(slide, grid, given=saved(tmp_path / "other.png", other))
    assert np.allclose(shares, tissue_shares(slide, grid, given=saved(tmp_path / "m.png", mask)), atol=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.3, 30), st.floats(0.3, 30), st.integers(0, 99))
def test_blocks_change_nothing_and_cells_without_overlap_hold_it_all(width, height, patch, stride, seed):
    stride = patch if seed % 2 else stride
    values = (np.random.default_rng(seed).random((height, width)) < 0.5).astype(np.uint8)
    drawn = Drawn(width, height, lambda box: values[box[1] : box[3], box[0] : box[2]], Path("m"))
    spans = [np.arange(int(np.ceil(n / stride)))[:, None] * stride + (0.0, patch) for n in (height, width)]
    whole = covered(drawn, *spans)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(masks, "BLOCK_PX", 7)
        assert np.allclose(covered(drawn, *spans), whole)
    if patch == stride:
        assert np.isclose(whole.sum(), values.sum())


def test_the_built_in_mask_and_none(tmp_path):
    image = np.full((4600, 4600, 3), 240, np.uint8)
    image[1000:2000, 1000:2000] = (190, 110, 160)
    slide = slide_of_image(image, mpp=MPP)
    grid = Grid(level0=slide.frame, patch_um=50.0, stride_um=50.0)
    shares = tissue_shares(slide, grid)
    assert shares[12:18, 12:18].min() == 1.0 and shares[:8].max() == 0.0 and shares.max() <= 1.0
    assert (tissue_shares(slide, grid, asked=False) == 1.0).all()


def test_a_mask_of_another_slide_is_refused(tmp_path):
    slide, grid = slide_and_grid()
    with pytest.raises(InputError, match="not of one shape"):
        tissue_shares(slide, grid, given=saved(tmp_path / "m.png", np.ones((100, 100), np.uint8)))
    with pytest.raises(InputError, match="0 and 1, or 0 and 255"):
        tissue_shares(slide, grid, given=saved(tmp_path / "n.png", drawing() * 2))
