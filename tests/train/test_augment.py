"""Augmentation: seeded, of the same shape, and no stranger to the image it started from."""

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from geryon.slides.stains import UNIT_STAINS
from geryon.train import augment as module
from geryon.train.augment import augment
from geryon.train.augment_settings import AugmentSettings

CHANCES = {f.name: 0.0 for f in fields(AugmentSettings) if f.name.endswith("_chance") and f.name != "warp_chance"}
OFF = AugmentSettings(**CHANCES)


@pytest.fixture
def image():
    small = np.random.default_rng(0).integers(60, 240, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(small, (128, 96), interpolation=cv2.INTER_CUBIC)


def test_the_same_seed_gives_the_same_image_of_the_same_shape_and_spares_its_input(image):
    before = image.copy()
    for seed in range(20):
        one, two = (augment(image, np.random.default_rng(seed), AugmentSettings()) for _ in range(2))
        assert one.shape == image.shape and one.dtype == np.uint8 and np.array_equal(one, two)
    assert np.array_equal(image, before)


def test_seeds_differ(image):
    results = {augment(image, np.random.default_rng(seed), AugmentSettings()).tobytes() for seed in range(20)}
    assert len(results) >= 18


@pytest.mark.parametrize("chance", sorted(CHANCES))
def test_each_part_changes_the_image_by_itself(image, chance):
    outs = [augment(image, np.random.default_rng(seed), replace(OFF, **{chance: 1.0})) for seed in range(6)]
    assert sum(not np.array_equal(out, image) for out in outs) >= 4
    assert max(np.abs(out.astype(float) - image).mean() for out in outs) < 60


def test_without_strength_or_chances_nothing_changes(image):
    assert np.array_equal(augment(image, np.random.default_rng(0), AugmentSettings(strength=0)), image)
    assert np.array_equal(augment(image, np.random.default_rng(0), OFF), image)


def test_the_colour_path_with_empty_ranges_is_the_identity(image):
    none = AugmentSettings(
        stain=0, stain_shift=0, brightness=0, white_balance=0, contrast=0, saturation=0, hue_degrees=0
    )
    assert np.array_equal(module._colour(image, np.random.default_rng(0), none), image)


def test_glass_stays_white_under_changes_of_stain_alone():
    glass = np.full((32, 32, 3), 255, np.uint8)
    stain = replace(OFF, colour_chance=1.0, stain_shift=0, brightness=0, white_balance=0, contrast=0)
    for seed in range(10):
        assert augment(glass, np.random.default_rng(seed), stain).min() >= 254


def test_more_haematoxylin_darkens_along_its_own_colour():
    density = 0.8 * UNIT_STAINS[:, 0]
    tissue = np.full((8, 8, 3), np.round(256 * np.exp(-density) - 1), np.uint8)
    stain = replace(
        OFF, colour_chance=1.0, stain_shift=0, brightness=0, white_balance=0, contrast=0, saturation=0, hue_degrees=0
    )
    for seed in range(10):
        out = augment(tissue, np.random.default_rng(seed), stain)[0, 0].astype(float)
        seen = -np.log((out + 1) / 256)
        assert np.allclose(seen / np.linalg.norm(seen), density / np.linalg.norm(density), atol=0.02)
        assert 0.78 * 0.8 < np.linalg.norm(seen) < 1.22 * 0.8


def test_noise_has_no_bias():
    grey = np.full((256, 256, 3), 128, np.uint8)
    noisy = [augment(grey, np.random.default_rng(s), replace(OFF, noise_chance=1.0)) for s in range(5)]
    assert abs(np.mean(noisy) - 128) < 0.1


def test_strength_scales_how_far_it_goes(image):
    def moved(strength):
        s = AugmentSettings(strength=strength)
        outs = [augment(image, np.random.default_rng(seed), s) for seed in range(30)]
        return np.mean([np.abs(out.astype(float) - image).mean() for out in outs])

    assert moved(0.25) < moved(1.0) < moved(2.0)
