"""Presets say what they are named after, and a recipe can take and change them."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

from geryon.errors import UsageError
from geryon.slides.stains import STAINS, UNIT_STAINS
from geryon.train.augment import augment
from geryon.train.presets import OFF, PRESETS
from geryon.train.recipe import parse_recipe, schema
from geryon.train.warp import draw_warp

RECIPE = "{{name: a, licence: open, tasks: [nuclei], sources: [{{name: tnbc}}], train: {{augment: {}}}}}"


def image(grey: int = 150) -> np.ndarray:
    rng = np.random.default_rng(0)
    small = np.clip(rng.normal(grey, 25, (12, 12, 3)), 60, 250).astype(np.uint8)
    return cv2.resize(small, (64, 64), interpolation=cv2.INTER_CUBIC)


def amounts(image: np.ndarray) -> np.ndarray:
    """Natural optical density taken apart by the vectors of Ruifrok & Johnston, [y, x, stain]."""
    return -np.log((image.astype(float) + 1) / 256) @ np.linalg.inv(STAINS / np.linalg.norm(STAINS, axis=1)[:, None])


@pytest.mark.parametrize(("name", "most"), [("hed-light", 0.05), ("hed-strong", 0.2)])
def test_stain_steps_change_each_stain_by_a_factor_and_a_shift(name: str, most: float) -> None:
    """c becomes c (1 + s) + b with s and b even within ± most; brightness and contrast of the step below put aside."""
    preset = PRESETS[name]
    alone = replace(OFF, **{k: getattr(preset, k) for k in ("colour_chance", "stain", "stain_shift", "stain_between")})
    before = amounts(image()).reshape(-1, 3)
    slopes, shifts = [], []
    for seed in range(60):
        after = amounts(augment(image(), np.random.default_rng(seed), alone)).reshape(-1, 3)
        for k in range(3):
            slope, shift = np.polyfit(before[:, k], after[:, k], 1)
            slopes.append(slope - 1)
            shifts.append(shift)
    assert 0.8 * most < np.abs(slopes).max() < most + 0.03
    assert 0.8 * most < np.abs(shifts).max() < most + 0.03
    assert np.linalg.norm(UNIT_STAINS, axis=0) == pytest.approx(1)


@pytest.mark.parametrize("name", ["hed-light", "hed-strong"])
def test_stains_of_glass_and_ink_stay(name: str) -> None:
    p = PRESETS[name]
    only = replace(OFF, colour_chance=1, stain=p.stain, stain_shift=p.stain_shift, stain_between=p.stain_between)
    for grey in (235, 25):
        plain = np.full((16, 16, 3), grey, np.uint8)
        assert np.abs(augment(plain, np.random.default_rng(1), only).astype(int) - plain).max() <= 1
    assert (augment(image(), np.random.default_rng(1), only) != image()).any()


def test_the_ladder_has_the_published_magnitudes() -> None:
    p = PRESETS
    assert p["basic"] == OFF and draw_warp(0, OFF, 64) is None
    grown = (p[n] for n in ("morphology", "bc", "hsv-light", "hsv-strong", "hed-light", "hed-strong"))
    for step in grown:
        assert (step.zoom, step.bend, step.warp_chance) == (0.2, 100.0, 1)
        assert (step.noise / 255, step.blur_px) == (pytest.approx(0.1), 0.1)
    for name in ("bc", "hsv-light", "hsv-strong", "hed-light", "hed-strong"):
        assert (p[name].brightness, p[name].contrast, p[name].white_balance) == (0.35, 0.5, 0)
    assert (p["hsv-light"].hsv, p["hsv-strong"].hsv, p["bc"].hsv) == (0.1, 1.0, 0)
    assert p["bc"].stain == p["hsv-strong"].stain == 0


def test_hue_and_saturation_move_within_what_is_said() -> None:
    only = replace(OFF, colour_chance=1, hsv=PRESETS["hsv-light"].hsv)
    colour = np.full((4, 4, 3), (160, 80, 120), np.uint8)

    def seen(rgb: np.ndarray) -> np.ndarray:
        return cv2.cvtColor(rgb.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)[0, 0]

    moved = np.array([seen(augment(colour, np.random.default_rng(s), only)) - seen(colour) for s in range(80)])
    moved[:, 0] = (moved[:, 0] + 180) % 360 - 180
    assert 30 < np.abs(moved[:, 0]).max() < 37.5 and 0.08 < np.abs(moved[:, 1]).max() < 0.11
    assert np.abs(moved[:, 2]).max() < 0.01


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_gives_an_image(name: str) -> None:
    out = augment(image(), np.random.default_rng(0), PRESETS[name])
    assert out.shape == image().shape and out.dtype == np.uint8
    assert np.array_equal(out, image()) == (name == "basic")


def test_a_recipe_takes_a_preset_and_changes_it() -> None:
    taken = parse_recipe(RECIPE.format("{preset: hed-light, noise: 3}")).train.augment
    assert taken.stain == 0.05 and taken.noise == 3 and taken.contrast == 0.5
    assert parse_recipe(RECIPE.format("{preset: cerberus}")).train.augment == PRESETS["cerberus"]
    augment_schema = json.loads(schema())["$defs"]["AugmentSettings"]
    assert augment_schema["properties"]["preset"]["enum"] == list(PRESETS)


@pytest.mark.parametrize("name", ["hed-lite", "[wild]", "3"])
def test_a_preset_that_there_is_not_is_a_fault_among_others(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_recipe(RECIPE.format(f"{{preset: {name}, stian: 1}}"))
    assert "no preset is called" in str(caught.value) and "hed-light" in str(caught.value)
    assert "stian" in str(caught.value)
