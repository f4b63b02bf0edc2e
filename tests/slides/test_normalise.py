"""Stain normalisation brings every stain nearer to one, and leaves alone what it can't understand."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geryon.errors import UsageError
from geryon.slides import macenko
from geryon.slides.array import slide_of_image
from geryon.slides.normalise import NORMALISERS, Normalised, get_normaliser, normalised, of_pixels, sample_of
from geryon.slides.synthetic.slide import SyntheticSlide
from geryon.slides.synthetic.stain import Look
from geryon.slides.tissue import TissueMask, low_power, tissue_mask

METHODS = sorted(NORMALISERS)
PLAIN = Look(noise=0.5, jpeg=0, sharpen=0.0)
LOOKS = {
    "strong": replace(PLAIN, haematoxylin_gain=1.7, eosin_gain=1.2),
    "faded": replace(PLAIN, haematoxylin_gain=0.5, eosin_gain=0.4),
    "eosin alone": replace(PLAIN, haematoxylin_gain=0.6, eosin_gain=1.4),
    "violet": replace(PLAIN, haematoxylin=(0.52, 0.78, 0.35), eosin=(0.07, 0.83, 0.55)),
    "blue": replace(PLAIN, haematoxylin=(0.75, 0.63, 0.2), eosin=(0.22, 0.94, 0.26), white=(236.0, 240.0, 250.0)),
}


@cache
def tissue(name: str) -> np.ndarray:
    look = LOOKS.get(name, PLAIN)
    slide = SyntheticSlide(width_um=256, height_um=256, seed=5, look=look)
    return slide.render(slide.frame.box)


def change_of(image: np.ndarray, method: str, mpp: float = 0.5) -> Normalised:
    with slide_of_image(image, mpp=mpp) as slide:
        seen = low_power(slide)
        return normalised(slide, tissue_mask(slide, seen), seen, method)


def gap(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(float) - b).mean())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", LOOKS)
def test_another_stain_comes_nearer_to_the_plain_one(name: str, method: str) -> None:
    plain, other = tissue("plain"), tissue(name)
    one, two = change_of(plain, method), change_of(other, method)
    assert one.change is not None and two.change is not None
    assert gap(one(plain), two(other)) < 0.5 * gap(plain, other)


@pytest.mark.parametrize("name", LOOKS)
def test_stain_vectors_and_strengths_become_the_targets(name: str) -> None:
    image = tissue(name)
    change = change_of(image, "macenko")
    assert change.change is not None
    found = macenko.stains_of(change(image).reshape(-1, 3), macenko.GLASS)
    assert np.abs(found.vectors - macenko.VECTORS).max() < 0.05
    assert found.strengths == pytest.approx(macenko.STRENGTHS, rel=0.1)


@pytest.mark.parametrize("method", METHODS)
def test_a_pixel_is_changed_by_itself(method: str) -> None:
    image = tissue("violet")
    change = change_of(image, method)
    whole = change(image)
    assert whole.dtype == np.uint8 and whole.shape == image.shape and not np.array_equal(whole, image)
    for rows, columns in (
        (slice(3, 50), slice(7, 20)),
        (slice(100, 101), slice(0, 333)),
        (slice(0, 64), slice(64, 65)),
    ):
        part = np.ascontiguousarray(image[rows, columns])
        assert np.array_equal(change(part), whole[rows, columns])
    assert np.array_equal(change_of(image, method)(image), whole)


@pytest.mark.parametrize("method", METHODS)
def test_glass_stays_glass(method: str) -> None:
    image = tissue("faded").copy()
    image[:200, :200] = 246
    glass = change_of(image, method)(image)[:200, :200]
    assert glass.min() >= 230 and np.ptp(glass.reshape(-1, 3), axis=0).max() == 0


def grey(image: np.ndarray) -> np.ndarray:
    return np.repeat(image[..., 1:2], 3, axis=2)


NO_STAIN = {
    "blank": np.full((300, 300, 3), 244, np.uint8),
    "black": np.zeros((300, 300, 3), np.uint8),
    "grey": grey(np.random.default_rng(0).integers(40, 240, (300, 300, 3)).astype(np.uint8)),
    "one colour": np.full((300, 300, 3), (180, 90, 150), np.uint8),
    "blue ink": np.full((300, 300, 3), (40, 60, 200), np.uint8),
    "eight pixels": np.full((8, 8, 3), (180, 90, 150), np.uint8),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NO_STAIN)
def test_what_has_no_stain_stays_as_it_is_and_says_why(name: str, method: str) -> None:
    image = NO_STAIN[name]
    change = change_of(image, method)
    assert change.change is None and change.reason and change.reason in change.warning
    assert change(image) is image
    assert change.record == {"method": method, "applied": False, "reason": change.reason, "slide": {}}


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    centre=st.tuples(*[st.integers(0, 255)] * 3),
    spread=st.floats(0, 90),
    method=st.sampled_from(METHODS),
)
def test_no_pixels_make_it_fail(seed: int, centre: tuple[int, int, int], spread: float, method: str) -> None:
    pixels = np.random.default_rng(seed).normal(centre, spread, (3000, 3)).clip(0, 255).astype(np.uint8)
    change = of_pixels(pixels, np.array([240.0, 240.0, 240.0]), method)
    out = change(pixels.reshape(30, 100, 3))
    assert out.shape == (30, 100, 3) and out.dtype == np.uint8
    assert bool(change.reason) == (change.change is None)


def test_without_a_method_nothing_is_read_or_recorded() -> None:
    nothing = Normalised()
    assert nothing.record == {} and nothing.warning == ""
    assert change_of(tissue("plain"), "").change is None


def test_samples_are_taken_where_tissue_is() -> None:
    image = np.full((1600, 1600, 3), 245, np.uint8)
    image[1100:, 1100:] = (180, 90, 150)
    with slide_of_image(image, mpp=1.0) as slide:
        mask = np.zeros((200, 200), bool)
        mask[138:, 138:] = True
        found = sample_of(slide, TissueMask(mask, 8.0))
        everywhere = sample_of(slide, TissueMask(np.zeros((200, 200), bool), 8.0))
    assert (found == (180, 90, 150)).all(axis=1).mean() > 0.6
    assert (everywhere == 245).all(axis=1).mean() > 0.8


def test_a_method_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match="macenko, reinhard"):
        get_normaliser("vahadane")
