"""Deformed crops: image and targets stay one, and what is derived from objects stays right."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from geryon.tasks.decoding import components
from geryon.tasks.targets import normalised_rim_distance
from geryon.tasks.task import Labelled, get_task
from geryon.train.augment_settings import AugmentSettings
from geryon.train.batches import MapShape, View, assemble, cut, turned
from geryon.train.packed import Sample
from geryon.train.presets import OFF
from geryon.train.sampling import Draw
from geryon.train.warp import Warp, centre_of, draw_warp, warped

SIDE = 128
ALL = replace(OFF, warp_chance=1, zoom=0.2, stretch=0.1, turn_degrees=30.0, shear_degrees=5.0, bend=100.0)


def discs(side: int, centres: list[tuple[float, float]], radius: float) -> np.ndarray:
    """int32 [side, side]: one id a disc, drawn exactly at whatever size."""
    y, x = np.mgrid[:side, :side] + 0.5
    labels = np.zeros((side, side), np.int32)
    for i, (cx, cy) in enumerate(centres, start=1):
        labels[(x - cx) ** 2 + (y - cy) ** 2 <= radius**2] = i
    return labels


def zoomed(array: np.ndarray, zoom: float, smooth: bool) -> np.ndarray:
    side = array.shape[0]
    warp = Warp(matrix=np.eye(2) / zoom)
    return warped(array, centre=np.full(2, side / 2), warp=warp, grid=(side, 1), fill=0, smooth=smooth)


def draw(turn: int = 0, seed: int = 5, at: int = 32) -> Draw:
    return Draw(sample=0, x_px=at, y_px=at, turn=turn, seed=seed)


def sample(side: int = 256) -> Sample:
    rng = np.random.default_rng(0)
    blobs = cv2.GaussianBlur(rng.random((side, side)).astype(np.float32), (0, 0), 9)
    inside = ((blobs > np.median(blobs)) * 255).astype(np.uint8)
    image = np.repeat(255 - inside[..., None], 3, axis=2)
    coarse = inside[2::4, 2::4]
    return Sample(
        source="a",
        name="a",
        group="a",
        image=image,
        targets={"t/inside": inside[..., None], "t/class": np.stack([coarse, 255 - coarse, 0 * coarse], axis=2)},
        weights={"t/inside": np.full((side, side), 32, np.uint8), "t/class": np.full((side // 4,) * 2, 32, np.uint8)},
    )


SHAPES = {"t/inside": MapShape(channels=1, stride=1), "t/class": MapShape(channels=3, stride=4)}


@pytest.mark.parametrize("turn", range(8))
def test_without_deformation_a_crop_is_what_was_cut(turn: int) -> None:
    one = sample()
    images, targets, _ = assemble([one], SHAPES, [draw(turn)], SIDE, OFF)
    assert np.array_equal(images[0], turned(cut(one.image, (32, 32), SIDE, 255), turn))
    assert np.array_equal(targets["t/class"][0], turned(cut(one.targets["t/class"], (8, 8), SIDE // 4, 0), turn))


def test_the_identity_reads_every_pixel_where_it_is() -> None:
    one, still = sample(), Warp(matrix=np.eye(2))
    for name, stride in (("t/inside", 1), ("t/class", 4)):
        crop = View(draw(), still, SIDE).of(one.targets[name], stride, smooth=name == "t/inside")
        assert np.array_equal(crop, cut(one.targets[name], (32 // stride,) * 2, SIDE // stride, 0))


@pytest.mark.parametrize("seed", range(6))
def test_image_and_targets_are_deformed_alike(seed: int) -> None:
    one = sample()
    images, targets, weights = assemble([one], SHAPES, [draw(seed % 8, seed)], SIDE, ALL)
    inside = targets["t/inside"][0, ..., 0]
    known = weights["t/inside"][0] > 0
    assert np.abs(images[0, ..., 0].astype(int) - (255 - inside.astype(int)))[known].max() <= 1
    assert not np.array_equal(images[0], turned(cut(one.image, (32, 32), SIDE, 255), seed % 8))
    coarse = cv2.resize(inside, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    near = np.ones((3, 3), np.uint8)
    sure = (cv2.dilate(coarse, near) < 3) | (cv2.erode(coarse, near) > 252)  # the nearest pixel may be a neighbour
    assert sure.mean() > 0.3
    assert ((targets["t/class"][0, ..., 0] == 255) == (coarse > 128))[sure].all()


def test_classes_and_weights_are_never_mixed() -> None:
    one = sample()
    for seed in range(5):
        _, targets, weights = assemble([one], SHAPES, [draw(seed=seed)], SIDE, ALL)
        assert set(np.unique(targets["t/class"])) <= {0, 255}
        assert set(np.unique(weights["t/class"])) <= {0, 32}
        known = weights["t/class"][0] > 0
        assert (targets["t/class"][0].astype(int).sum(axis=2)[known] == 255).all()


def test_the_same_seed_deforms_alike_and_seeds_differ() -> None:
    first, again, other = (draw_warp(seed, ALL, SIDE) for seed in (3, 3, 4))
    assert first and again and other and first.bend is not None and again.bend is not None
    assert np.array_equal(first.matrix, again.matrix) and np.array_equal(first.bend, again.bend)
    assert not np.array_equal(first.matrix, other.matrix)
    assert draw_warp(3, OFF, SIDE) is None and draw_warp(3, replace(ALL, strength=0.0), SIDE) is None


def test_zoom_goes_as_far_as_it_says_and_no_further() -> None:
    only = replace(OFF, warp_chance=1, zoom=0.2)
    sizes = [1 / w.matrix[0, 0] for seed in range(300) if (w := draw_warp(seed, only, SIDE))]
    assert len(sizes) == 300 and 0.8 <= min(sizes) < 0.82 and 1.18 < max(sizes) <= 1.2
    some = [draw_warp(seed, AugmentSettings(), SIDE) for seed in range(400)]
    assert 0.4 < np.mean([w is not None for w in some]) < 0.6


def test_bending_is_as_strong_as_published() -> None:
    """A field of even noise smoothed by sigma has a deviation of alpha / sqrt(3) / (2 sqrt(pi) sigma)."""
    fields = [draw_warp(seed, replace(OFF, warp_chance=1, bend=100.0), 384) for seed in range(20)]
    found = np.mean([w.bend.std() for w in fields if w is not None and w.bend is not None])
    assert found == pytest.approx(100 / np.sqrt(3) / (2 * np.sqrt(np.pi) * 10), rel=0.15)


@pytest.mark.parametrize("zoom", [0.8, 0.9, 1.15, 1.25])
def test_a_normalised_distance_is_that_of_the_zoomed_objects(zoom: float) -> None:
    """Two touching discs and a single one: interpolated depth against depth drawn anew at the other size."""
    centres, radius, middle = [(70.0, 64.0), (94.0, 64.0), (50.0, 100.0)], 12.0, 64.0
    depth = normalised_rim_distance(discs(SIDE, centres, radius))[..., None]
    moved = [(middle + (x - middle) * zoom, middle + (y - middle) * zoom) for x, y in centres]
    fresh = normalised_rim_distance(discs(SIDE, moved, radius * zoom))
    found = zoomed(np.round(depth * 255).astype(np.uint8), zoom, smooth=True)[..., 0] / 255
    both = (found > 0) & (fresh > 0)
    assert np.abs(found - fresh)[both].mean() < 0.03
    assert found.max() > 0.95


@pytest.mark.parametrize("zoom", [0.8, 1.25])
def test_rims_still_part_glands_that_touch(zoom: float) -> None:
    glands = discs(96, [(30.0, 48.0), (66.0, 48.0), (48.0, 80.0)], 18.0)
    task = get_task("glands")
    maps = {
        name: np.round(target * 255).astype(np.uint8)
        for name, (target, _) in task.target(Labelled(objects=glands), task).items()
    }
    inside, rim = (zoomed(maps[name], zoom, smooth=True)[..., 0] >= 128 for name in ("inside", "rim"))
    assert int(components(inside & ~rim)[0].max()) == 3


@pytest.mark.parametrize("side", [128, 160, 512])
def test_a_crop_looks_into_its_sample_as_far_as_there_is_one(side: int) -> None:
    warp = Warp(matrix=np.eye(2) * 1.25)
    for at in (-64, 0, side - 64):
        middle = centre_of((at, at), (side, side), warp, SIDE)
        low, high = middle - warp.reach(SIDE), middle + warp.reach(SIDE)
        if side >= 160:
            assert low.min() >= 0 and high.max() <= side
        else:
            assert low.max() <= 0 and high.min() >= side


def test_outside_of_the_sample_is_glass_of_no_weight() -> None:
    one = sample(96)
    shapes = {"t/inside": SHAPES["t/inside"]}
    only = replace(OFF, warp_chance=1, zoom=0.2)
    images, targets, weights = assemble([one], shapes, [draw(at=-32)], SIDE, only)
    outside = weights["t/inside"][0] == 0
    assert (
        outside.sum() > 0 and not targets["t/inside"][0][cv2.erode(outside.astype(np.uint8), np.ones((3, 3))) > 0].any()
    )
    assert (images[0][cv2.erode(outside.astype(np.uint8), np.ones((3, 3))) > 0] == 255).all()


def test_nine_classes_are_taken_too() -> None:
    classes = np.zeros((16, 16, 9), np.uint8)
    classes[np.arange(16)[:, None], np.arange(16)[None, :], np.arange(256).reshape(16, 16) % 9] = 255
    taken = warped(
        classes, centre=np.full(2, 64.0), warp=Warp(matrix=np.eye(2) * 1.3), grid=(128, 8), fill=0, smooth=False
    )
    inside = taken.sum(axis=2) > 0
    assert taken.shape == (16, 16, 9) and inside.sum() >= 100
    assert (np.count_nonzero(taken, axis=2)[inside] == 1).all()
