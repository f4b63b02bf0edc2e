"""Batches are equal by task and by class, follow from the step alone, and pairs are what they say."""

from __future__ import annotations

from typing import Any

import numpy as np

from geryon.train.encoders.draws import NEAR, Feed, again, deal, draw, partners
from geryon.train.encoders.feeding import make_batch
from geryon.train.encoders.patches import Patches
from geryon.train.presets import PRESETS
from tests.train.encoders import made


def feed(*tasks: Patches, batch: int, **more: Any) -> Feed:
    return Feed(tasks=tasks, batch=batch, side_px=32, mpp=0.5, augment=PRESETS["default"], **{"seed": 0, **more})


def test_tasks_and_classes_have_the_same_part_of_every_batch() -> None:
    small, large = made.patches("glas", groups=4, places=1), made.patches("kather", groups=9, places=30, kinds=3)
    rare = large.rows(np.flatnonzero((large.labels != 2) | (np.arange(len(large.labels)) % 40 == 5)))
    assert (rare.labels == 2).sum() < 10
    for step in range(5):
        drawn = draw(feed(small, rare, batch=48), step)
        tasks = np.array([each.task for each in drawn])
        labels = np.array([[small, rare][each.task].labels[each.place] for each in drawn])
        assert np.bincount(tasks).tolist() == [24, 24]
        assert np.bincount(labels[tasks == 0]).tolist() == [12, 12]
        assert np.bincount(labels[tasks == 1]).tolist() == [8, 8, 8]


def test_without_balance_each_place_is_as_likely() -> None:
    small, large = made.patches("glas", groups=4, places=1), made.patches("kather", groups=12, places=3, kinds=3)
    drawn = draw(feed(small, large, batch=4000, by_class=False, by_task=False), 0)
    part = np.mean([each.task for each in drawn])
    assert abs(part - 36 / 40) < 0.02


def test_a_batch_follows_from_its_number() -> None:
    tasks = tuple(made.gathered().values())
    food = feed(*tasks, batch=12, seed=3, views=2)
    one, same, other = make_batch(5, food), make_batch(5, food), make_batch(6, food)
    assert one.views.shape == (2, 12, 32, 32, 3) and (one.views == same.views).all()
    assert (one.views != other.views).any() and (one.views[0] != one.views[1]).any()
    assert (one.labels == [tasks[t].labels[d.place] for t, d in zip(one.task, draw(food, 5), strict=True)]).all()


def test_pairs_are_of_one_place_or_of_two() -> None:
    patches = made.patches("glas", groups=8, places=10)
    food = feed(patches, batch=400, by_class=False)
    first = draw(food, 0)
    second, alike = partners(first, food, 0)
    assert alike.mean() == 0.5
    image = patches.image
    for one, two, same in zip(first, second, alike, strict=True):
        assert (one.place == two.place) == same
    near = [image[a.place] == image[b.place] for a, b, same in zip(first, second, alike, strict=True) if not same]
    assert abs(np.mean(near) - NEAR) < 0.1
    seen = again(first, food, 0, view=2)
    assert all(a.place == b.place and a.seed != b.seed for a, b in zip(first, seen, strict=True))


def test_cards_are_dealt_evenly() -> None:
    for n in (1, 5, 7, 12):
        counts = np.bincount(deal(np.random.default_rng(n), 3, n), minlength=3)
        assert counts.sum() == n and counts.max() - counts.min() <= 1
