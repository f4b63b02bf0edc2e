"""Draws: the same from the same numbers, aligned, inside, and in the asked proportions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geryon.errors import GeryonError
from geryon.train.sampling import GRID_PX, draw, make_pool, rare_weights

SIZES = [(512, 256), (96, 640), (256, 256), (1024, 1024)]
SOURCES = ["a", "a", "b", "c"]


def test_a_step_gives_the_same_draws_whatever_came_before():
    pool = make_pool(SIZES, SOURCES)
    steps = {step: draw(pool, step, batch=6, crop_px=256, seed=3) for step in range(5)}
    assert draw(pool, 4, batch=6, crop_px=256, seed=3) == steps[4]
    assert len({*steps.values()}) == 5
    assert draw(pool, 4, batch=6, crop_px=256, seed=4) != steps[4]


@settings(max_examples=60, deadline=None)
@given(h=st.integers(1, 20), w=st.integers(1, 20), crop=st.sampled_from([32, 128, 256]), seed=st.integers(0, 999))
def test_crops_are_aligned_and_hold_as_much_of_the_sample_as_they_can(h, w, crop, seed):
    height, width = h * GRID_PX, w * GRID_PX
    for d in draw(make_pool([(height, width)], ["a"]), seed, batch=4, crop_px=crop, seed=1):
        assert d.x_px % GRID_PX == 0 and d.y_px % GRID_PX == 0 and 0 <= d.turn < 8
        seen_y = min(height, d.y_px + crop) - max(0, d.y_px)
        seen_x = min(width, d.x_px + crop) - max(0, d.x_px)
        assert (seen_y, seen_x) == (min(height, crop), min(width, crop))


def test_every_batch_is_the_mixture_that_the_shares_ask_for():
    pool = make_pool(SIZES, SOURCES, shares={"a": 2, "b": 1, "c": 1})
    for step in range(50):
        of = [SOURCES[d.sample] for d in draw(pool, step, batch=8, crop_px=256, seed=0)]
        assert (of.count("a"), of.count("b"), of.count("c")) == (4, 2, 2)


def test_a_share_smaller_than_a_place_is_kept_over_steps():
    pool = make_pool(SIZES, SOURCES, shares={"a": 0.1, "b": 1.9, "c": 0})
    drawn = [SOURCES[d.sample] for step in range(500) for d in draw(pool, step, batch=4, crop_px=256, seed=0)]
    assert drawn.count("c") == 0
    assert abs(drawn.count("a") / 2000 - 0.05) < 0.015


def test_within_a_source_area_and_weight_decide():
    pool = make_pool([(64, 64), (64, 192), (64, 64)], ["a"] * 3, weights=[1, 1, 0])
    drawn = np.array([d.sample for step in range(400) for d in draw(pool, step, batch=4, crop_px=32, seed=0)])
    assert abs((drawn == 1).mean() - 0.75) < 0.04 and (drawn != 2).all()


def test_all_turns_and_all_origins_come():
    pool = make_pool([(96, 96)], ["a"])
    drawn = [d for step in range(100) for d in draw(pool, step, batch=4, crop_px=32, seed=0)]
    assert {d.turn for d in drawn} == set(range(8))
    assert {(d.x_px, d.y_px) for d in drawn} == {(x, y) for x in (0, 32, 64) for y in (0, 32, 64)}


def test_rare_classes_weigh_more():
    counts = np.array([[100.0, 0], [90, 0], [0, 10], [0, 0]])
    weights = rare_weights(counts, 1.0)
    assert weights[2] > 4 * weights[0] and weights[3] == 1.0
    assert (rare_weights(counts, 0.0) == 1).all()


@pytest.mark.parametrize(
    ("sizes", "shares", "says"),
    [([], {}, "no sample"), (SIZES, {"d": 1}, "d"), (SIZES, {"a": 0, "b": 0, "c": 0}, "share 0")],
)
def test_what_can_not_be_drawn_is_refused(sizes, shares, says):
    with pytest.raises(GeryonError, match=says):
        make_pool(sizes, SOURCES[: len(sizes)], shares=shares)
