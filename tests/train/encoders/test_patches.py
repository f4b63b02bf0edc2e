"""Patch tasks give places with classes, and a patch is what lies about its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geryon.errors import InputError
from geryon.tasks.task import Labelled
from geryon.train.augment_settings import AugmentSettings
from geryon.train.encoders.patches import (
    PATCH_TASKS,
    Image,
    Patches,
    cut,
    gather,
    get_patch_task,
    grid_um,
    share_of,
    source_of,
    still,
)
from geryon.train.presets import PRESETS
from geryon.train.source import Case
from geryon.train.warp import draw_warp
from tests.conftest import shared_folder
from tests.train import fakes

PATCH_UM = 20.0


def check(found: Patches) -> None:
    assert len(found.labels) == len(found.xy_um) == len(found.image) > 0
    assert found.labels.min() >= 0 and found.labels.max() < len(found.task.classes)
    for image, xy_um in zip(found.image, found.xy_um, strict=True):
        height, width = found.images[image].pixels.shape[:2]
        assert (xy_um >= 0).all() and (xy_um <= np.array([width, height]) * found.images[image].mpp + 1e-6).all()
    assert (found.groups == [found.images[i].group for i in found.image]).all()
    assert still(found.rows(np.arange(1)), side_px=32, mpp=0.5).shape == (1, 32, 32, 3)


@pytest.mark.parametrize("name", sorted(set(PATCH_TASKS) - {"consep", "lc25000"}))
def test_tasks_over_imitations_of_their_sources(name: str, tmp_path: Path) -> None:
    task = get_patch_task(name)
    fakes.MAKERS[task.source](tmp_path / task.source)
    found = gather(task, tmp_path, patch_um=PATCH_UM, mpp=0.5)
    assert task.name == name and source_of(task).name == task.source
    check(found)


@pytest.mark.parametrize("name", sorted(PATCH_TASKS))
def test_tasks_over_the_real_files(name: str) -> None:
    task = get_patch_task(name)
    folder = shared_folder("data", task.source)
    source = source_of(task)
    some = [case for case, _ in zip(source.cases(folder), range(2), strict=False)]
    found = [task.look(case, case.image(), 64.0) for case in some]
    assert sum(len(places.labels) for places in found) > 0


def test_a_folder_without_patches_is_told(tmp_path: Path) -> None:
    fakes.MAKERS["consep"](tmp_path / "consep")  # three nuclei of three types: none is the commonest
    with pytest.raises(InputError, match="no patch of the task consep"):
        gather(get_patch_task("consep"), tmp_path, patch_um=PATCH_UM, mpp=0.5)


def test_consep_takes_the_commonest_type_in_the_middle() -> None:
    objects = np.zeros((128, 128), np.int32)
    for i, (x, y) in enumerate(((56, 64), (64, 64), (72, 64), (4, 4), (10, 4), (4, 10), (10, 10)), start=1):
        objects[y - 2 : y + 2, x - 2 : x + 2] = i
    classes = {1: "connective", 2: "connective", 3: "epithelial", **dict.fromkeys((4, 5, 6, 7), "inflammatory")}
    labels = {"nuclei": lambda: Labelled(objects=objects, classes=classes)}
    image = np.zeros((128, 128, 3), np.uint8)
    case = Case(name="a", group="a", image=lambda: image, mpp=0.25, labels=labels)
    task = get_patch_task("consep")
    places = task.look(case, image, 32.0)
    assert [task.classes[k] for k in places.labels] == ["connective"]  # those in the corner are outside the middle
    assert places.xy_um.tolist() == [[16.0, 16.0]]


def ramp(mpp: float, side: int = 200) -> Image:
    """Red tells x, green tells y, in steps of one."""
    at = np.arange(side, dtype=np.uint8)
    pixels = np.stack([np.tile(at, (side, 1)), np.tile(at[:, None], (1, side)), np.zeros((side, side), np.uint8)], -1)
    return Image(task="t", source="s", group="g", name="n", stratum="", pixels=np.ascontiguousarray(pixels), mpp=mpp)


def test_a_patch_is_what_lies_about_its_place() -> None:
    image = ramp(0.5)
    patch = cut(image, xy_um=np.array([50.0, 40.0]), side_px=32, mpp=0.5)
    assert (patch == image.pixels[64:96, 84:116]).all()
    coarse = cut(image, xy_um=np.array([50.0, 40.0]), side_px=16, mpp=1.0)
    assert np.abs(coarse[..., 0].astype(float) - (84.5 + 2 * np.arange(16))).max() <= 0.5


@pytest.mark.parametrize("turn", range(8))
def test_turns_are_exact(turn: int) -> None:
    image, at = ramp(0.5), np.array([50.0, 40.0])
    plain = cut(image, xy_um=at, side_px=32, mpp=0.5)
    found = cut(image, xy_um=at, side_px=32, mpp=0.5, turn=turn)
    same = [np.rot90(each, k) for each in (plain, plain[:, ::-1]) for k in range(4)]
    assert sum((found == each).all() for each in same) == 1
    others = [cut(image, xy_um=at, side_px=32, mpp=0.5, turn=k) for k in range(8) if k != turn]
    assert not any((found == other).all() for other in others)


def test_borders_are_mirrored_and_bending_keeps_the_middle() -> None:
    image = ramp(0.5)
    edge = cut(image, xy_um=np.array([0.0, 50.0]), side_px=32, mpp=0.5)
    assert (edge[:, 16:] == image.pixels[84:116, :16]).all() and edge[:, :16, 0].max() <= 17
    settings = AugmentSettings(zoom=0, bend=100.0, warp_chance=1)
    warp = draw_warp(3, settings, 64)
    bent = cut(image, xy_um=np.array([50.0, 50.0]), side_px=64, mpp=0.5, warp=warp)
    flat = cut(image, xy_um=np.array([50.0, 50.0]), side_px=64, mpp=0.5)
    moved = np.abs(bent[..., :2].astype(int) - flat[..., :2].astype(int))
    assert 0 < moved.max() < 25


def test_the_grid_reaches_both_edges_and_tissue_is_measured() -> None:
    xy = grid_um((100, 200), 0.5, 20.0, 10.0)
    assert xy.min(axis=0).tolist() == [10.0, 10.0] and xy.max(axis=0).tolist() == [90.0, 40.0]
    assert len(np.unique(xy[:, 0])) == 9 and len(grid_um((10, 10), 0.5, 20.0, 10.0)) == 1
    where = np.zeros((100, 200), bool)
    where[:, 100:] = True
    assert share_of(where, np.array([[50.0, 25.0], [90.0, 25.0], [10.0, 25.0]]), 0.5, 20.0).tolist() == [0.5, 1.0, 0.0]


def test_the_whole_ladder_of_stains_can_be_asked() -> None:
    assert {"hed-light", "hed-strong", "hsv-light", "bc", "morphology", "basic"} <= set(PRESETS)
