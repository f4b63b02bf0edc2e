"""Draws: the same from the same numbers, aligned, inside, and in the asked proportions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geryon.errors import GeryonError
from geryon.train.sampling import GRID_PX, Feed, draw, is_apart, make_pool, rare_weights, whose_turn

SIZES = [(512, 256), (96, 640), (256, 256), (1024, 1024)]
SOURCES = ["a", "a", "b", "c"]


def test_a_step_gives_the_same_draws_whatever_came_before():
    pool = make_pool(SIZES, SOURCES)
    steps = {step: draw(Feed(pool=pool), step, batch=6, crop_px=256, seed=3) for step in range(5)}
    assert draw(Feed(pool=pool), 4, batch=6, crop_px=256, seed=3) == steps[4]
    assert len({*steps.values()}) == 5
    assert draw(Feed(pool=pool), 4, batch=6, crop_px=256, seed=4) != steps[4]


@settings(max_examples=60, deadline=None)
@given(h=st.integers(1, 20), w=st.integers(1, 20), crop=st.sampled_from([32, 128, 256]), seed=st.integers(0, 999))
def test_crops_are_aligned_and_hold_as_much_of_the_sample_as_they_can(h, w, crop, seed):
    height, width = h * GRID_PX, w * GRID_PX
    for d in draw(Feed(pool=make_pool([(height, width)], ["a"])), seed, batch=4, crop_px=crop, seed=1):
        assert d.x_px % GRID_PX == 0 and d.y_px % GRID_PX == 0 and 0 <= d.turn < 8
        seen_y = min(height, d.y_px + crop) - max(0, d.y_px)
        seen_x = min(width, d.x_px + crop) - max(0, d.x_px)
        assert (seen_y, seen_x) == (min(height, crop), min(width, crop))


def test_every_batch_is_the_mixture_that_the_shares_ask_for():
    pool = make_pool(SIZES, SOURCES, shares={"a": 2, "b": 1, "c": 1})
    for step in range(50):
        of = [SOURCES[d.sample] for d in draw(Feed(pool=pool), step, batch=8, crop_px=256, seed=0)]
        assert (of.count("a"), of.count("b"), of.count("c")) == (4, 2, 2)


def test_a_share_smaller_than_a_place_is_kept_over_steps():
    pool = make_pool(SIZES, SOURCES, shares={"a": 0.1, "b": 1.9, "c": 0})
    drawn = [
        SOURCES[d.sample] for step in range(500) for d in draw(Feed(pool=pool), step, batch=4, crop_px=256, seed=0)
    ]
    assert drawn.count("c") == 0
    assert abs(drawn.count("a") / 2000 - 0.05) < 0.015


def test_within_a_source_area_and_weight_decide():
    pool = make_pool([(64, 64), (64, 192), (64, 64)], ["a"] * 3, weights=[1, 1, 0])
    drawn = np.array(
        [d.sample for step in range(400) for d in draw(Feed(pool=pool), step, batch=4, crop_px=32, seed=0)]
    )
    assert abs((drawn == 1).mean() - 0.75) < 0.04 and (drawn != 2).all()


def test_all_turns_and_all_origins_come():
    pool = make_pool([(96, 96)], ["a"])
    drawn = [d for step in range(100) for d in draw(Feed(pool=pool), step, batch=4, crop_px=32, seed=0)]
    assert {d.turn for d in drawn} == set(range(8))
    assert {(d.x_px, d.y_px) for d in drawn} == {(x, y) for x in (0, 32, 64) for y in (0, 32, 64)}


def test_rare_classes_weigh_more():
    counts = np.array([[100.0, 0], [90, 0], [0, 10], [0, 0]])
    weights = rare_weights(counts, 1.0)
    assert weights[2] > 4 * weights[0] and weights[3] == 1.0
    assert (rare_weights(counts, 0.0) == 1).all()


def sources(feed, step, batch=6):
    """The sources of a step's crops; of the feeds below the names are those of SOURCES."""
    return [SOURCES[d.sample] for d in draw(feed, step, batch=batch, crop_px=32, seed=5)]


def feed(apart=0.0, every=0, fixed=False):
    """Sources a and b, and c apart where that is asked."""
    both = {"a": 2.0, "b": 1.0}
    kept = apart > 0 or every > 0
    return Feed(
        pool=make_pool(SIZES, SOURCES, shares={**both, "c": 0.0 if kept else 1.0}),
        apart=make_pool(SIZES, SOURCES, shares={"a": 0.0, "b": 0.0}) if kept else None,
        apart_every=every,
        apart_chance=apart,
        fixed=fixed,
    )


def test_a_fixed_batch_is_of_one_source_and_sources_come_in_turn_by_their_shares():
    drawn = [sources(feed(fixed=True), step) for step in range(40)]
    assert all(len(set(batch)) == 1 and len(batch) == 6 for batch in drawn)
    turns = "".join(batch[0] for batch in drawn)
    assert turns == "abca" * 10
    equal = Feed(pool=make_pool(SIZES, SOURCES), fixed=True)
    assert "".join(sources(equal, step)[0] for step in range(9)) == "abcabcabc"


@settings(max_examples=60, deadline=None)
@given(shares=st.lists(st.integers(1, 50), min_size=1, max_size=6), turns=st.integers(1, 300))
def test_turns_keep_to_the_shares_at_every_moment(shares, turns):
    part = np.array(shares) / sum(shares)
    taken = np.bincount([whose_turn(part, turn) for turn in range(turns)], minlength=len(part))
    assert (np.abs(taken - part * turns) <= len(part) / 2 + 1).all()


def test_every_nth_batch_is_of_the_sources_kept_apart_the_first_one_included():
    drawn = ["".join(sorted(sources(feed(every=4), step))) for step in range(12)]
    assert drawn == ["cccccc", "aaaabb", "aaaabb", "aaaabb"] * 3
    fixed = [sources(feed(every=4, fixed=True), step)[0] for step in range(16)]
    assert fixed[::4] == ["c"] * 4
    assert "".join(s for i, s in enumerate(fixed) if i % 4) == "abaabaabaaba", "no turn is lost to those apart"


def test_batches_apart_come_with_their_chance_the_same_for_the_same_seed():
    some = feed(apart=0.3)
    drawn = [set(sources(some, step, batch=3)) for step in range(400)]
    assert all(batch == {"c"} or "c" not in batch for batch in drawn)
    assert abs(sum(batch == {"c"} for batch in drawn) / 400 - 0.3) < 0.06
    assert [is_apart(some, step, 5) for step in range(400)] == [batch == {"c"} for batch in drawn]
    assert [is_apart(some, step, 6) for step in range(99)] != [is_apart(some, step, 5) for step in range(99)]


@pytest.mark.parametrize(
    ("sizes", "shares", "says"),
    [([], {}, "no sample"), (SIZES, {"d": 1}, "d"), (SIZES, {"a": 0, "b": 0, "c": 0}, "share 0")],
)
def test_what_can_not_be_drawn_is_refused(sizes, shares, says):
    with pytest.raises(GeryonError, match=says):
        make_pool(sizes, SOURCES[: len(sizes)], shares=shares)
