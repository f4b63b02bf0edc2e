"""What is seen of a volume: spread, within the slide, the same from disk and from memory, and no more than asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from geryon.cohort import crops
from geryon.cohort.volumes import Shelf, bytes_of, identity, open_cells
from geryon.errors import InputError
from geryon.space.centres import distance_map
from geryon.space.turns import TURNS, turned
from geryon.store.features import Volume
from tests.cohort.cohorts import volume


def test_the_distance_map_of_whole_tissue_is_even_to_all_sides() -> None:
    weights = distance_map(np.ones((5, 9), bool))
    assert weights.sum() == pytest.approx(1.0) and weights.argmax() // 9 == 2
    assert all(np.allclose(weights, turned(turned(weights, k), k)) for k in (2, 4, 6))
    assert not distance_map(np.zeros((3, 3), bool)).any()


def test_crops_stay_within_a_large_slide_and_hold_a_small_one() -> None:
    rng = np.random.default_rng(0)
    tissue = np.zeros((40, 6), bool)
    tissue[3:30] = True
    corners = [crops.drawn_corner(tissue, 10, rng) for _ in range(50)]
    assert all(0 <= top <= 30 and -4 <= left <= 0 for top, left in corners)
    assert len({top for top, _ in corners}) > 5 and {left for _, left in corners} == {-4, -3, -2, -1, 0}


def test_spread_corners_are_the_same_each_time_and_lie_apart() -> None:
    tissue = np.zeros((60, 60), bool)
    tissue[:20, :20] = tissue[40:, 40:] = True  # two pieces of equal weight
    corners = crops.spread_corners(tissue, 8, 10)
    assert corners == crops.spread_corners(tissue, 8, 10) and len(set(corners)) == len(corners)
    assert sum(top < 30 for top, _ in corners) == 5
    assert crops.spread_corners(tissue, 100, 10) == [(-20, -20)]


@pytest.mark.parametrize("turns", ["one", "eight"])
def test_from_memory_and_from_disk_the_same(tmp_path: Path, turns: str) -> None:
    rng = np.random.default_rng(1)
    made = volume(tmp_path, "a", 1.0, side=20, tissue=rng.random((20, 20)) < 0.7, turns=turns)
    disk, memory = Shelf([made], 0)[0], Shelf([made], 10**9)[0]
    assert isinstance(disk, Volume) and not isinstance(memory, Volume)
    for turn in range(TURNS):
        there = disk.crop_tissue(-3, 4, 12, 12, turn)
        a, b = (cells.crop(-3, 4, 12, 12, turn) * there[..., None] for cells in (disk, memory))
        assert np.array_equal(a, b) and np.array_equal(there, memory.crop_tissue(-3, 4, 12, 12, turn))
        for (x, where), (y, same) in zip(disk.strips(turn), memory.strips(turn), strict=True):
            assert np.array_equal(x, y) and np.array_equal(where, same)
    samples = [crops.sampled_bag(cells, 30, np.random.default_rng(2)) for cells in (disk, memory)]
    assert samples[0].shape == (30, 4) and np.array_equal(*samples)
    turned_crops = [crops.all_turns(cells, (2, 2), 6, turns == "eight") for cells in (disk, memory)]
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(*turned_crops, strict=True))


def test_a_sample_of_a_large_bag_reads_only_some_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = volume(tmp_path, "large", 0.0, side=128)
    read: list[int] = []
    whole = Volume._codes
    monkeypatch.setattr(Volume, "_codes", lambda *a: read.append(whole(*a).size // made.code) or whole(*a))
    sample = crops.sampled_bag(Shelf([made], 0)[0], 256, np.random.default_rng(0))
    assert sample.shape == (256, 4)
    assert sum(read) <= 2 * crops.BLOCK**2  # of 16,384 cells
    read.clear()
    crops.crop(Shelf([made], 0)[0], (60, 60), 12, 3)
    assert read == [144]


def test_the_shelf_keeps_what_fits_and_never_more(tmp_path: Path) -> None:
    volumes = [volume(tmp_path, f"v{side}", 0.0, side=side) for side in (16, 8, 12)]
    budget = bytes_of(volumes[1]) + bytes_of(volumes[2])
    shelf = Shelf(volumes, budget)
    kept = [not isinstance(shelf[i], Volume) for i in range(3)]
    assert kept == [False, True, True]
    assert sum(shelf[i].codes.nbytes + shelf[i].tissue.nbytes for i in (1, 2)) <= budget


def test_a_slide_is_known_under_another_name(tmp_path: Path) -> None:
    made = volume(tmp_path / "x", "a", 1.0)
    (tmp_path / "y").mkdir()
    (tmp_path / "x" / "a").rename(tmp_path / "y" / "b")
    assert identity(open_cells(tmp_path / "y" / "b")) == identity(volume(tmp_path / "x", "a", 1.0))
    assert identity(volume(tmp_path / "x", "c", 1.0)) != identity(volume(tmp_path / "z", "a", 1.0)) and made.rows == 8


def test_codes_that_are_not_finite_are_told(tmp_path: Path) -> None:
    made = volume(tmp_path, "a", np.inf)
    with pytest.raises(InputError, match="not finite"):
        crops.crop(made, (0, 0), 4, 0)
