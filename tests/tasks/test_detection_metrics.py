"""Average precision and FROC against loops over every cut, and against cases worked by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geryon.tasks.detection_metrics import (
    NORMAL_FPS,
    FrocTally,
    PrecisionTally,
    average_precision,
    box_iou,
    by_level,
    match_boxes,
)
from geryon.tasks.intervals import bootstrap_scores

few = settings(max_examples=60, deadline=None)
found = st.lists(st.tuples(st.integers(0, 255), st.booleans()), max_size=12)


def levels(pairs, kind):
    return by_level(np.array([score for score, hit in pairs if hit == kind], np.uint8))


def slow_ap(pairs, truth):
    """Area under the best precision at each recall or beyond, cut by cut."""
    cuts = []
    for cut in sorted({score for score, _ in pairs}):
        kept = [hit for score, hit in pairs if score >= cut]
        cuts.append((sum(kept) / truth, sum(kept) / len(kept)))
    area, before = 0.0, 0.0
    for recall in sorted({r for r, _ in cuts}):
        area += (recall - before) * max(p for r, p in cuts if r >= recall)
        before = recall
    return area


@few
@given(found, st.integers(0, 4))
def test_average_precision_is_the_area_under_the_best_precision(pairs, lost):
    truth = sum(hit for _, hit in pairs) + lost
    value = average_precision(levels(pairs, True), levels(pairs, False), truth)
    assert value == pytest.approx(slow_ap(pairs, truth) if truth else np.nan, nan_ok=True)


def test_average_precision_worked_by_hand():
    # By score: right, wrong, right; one of three is never found. Precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3.
    pairs = [(250, True), (200, False), (100, True)]
    assert average_precision(levels(pairs, True), levels(pairs, False), 3) == pytest.approx(1 / 3 + 1 / 3 * 2 / 3)
    tied = [(100, True), (100, False)]
    assert average_precision(levels(tied, True), levels(tied, False), 1) == 0.5, "no order among equals is made up"


def test_classes_without_truth_do_not_count_in_the_mean():
    none = np.zeros(256, int)
    tally = PrecisionTally(
        names=("a", "b"),
        hits=np.stack([by_level(np.array([9], np.uint8)), none]),
        misses=np.zeros((2, 256)),
        truth=[1, 0],
    )
    assert tally.scores()["map"] == 1.0 and np.isnan(tally.scores()["ap/b"])


def slow_froc(positive, truth, normal):
    """positive: [(score, hit)]; normal: a list of scores for each normal image."""
    cuts = range(256)
    recall = [sum(hit for score, hit in positive if score >= cut) / truth for cut in cuts]
    wrong = [sum(score >= cut for image in normal for score in image) / len(normal) for cut in cuts]
    return np.mean([max([r for r, w in zip(recall, wrong, strict=True) if w <= f], default=0.0) for f in NORMAL_FPS])


@few
@given(found, st.integers(0, 3), st.lists(st.lists(st.integers(0, 255), max_size=40), min_size=1, max_size=3))
def test_froc_agrees_with_a_loop_over_cuts(positive, lost, normal):
    truth = sum(hit for _, hit in positive) + lost
    if truth == 0:
        return
    every = np.array([score for image in normal for score in image], np.uint8)
    tally = FrocTally(hits=levels(positive, True), truth=truth, misses=by_level(every), normals=len(normal))
    scores = tally.scores()
    assert scores["froc"] == pytest.approx(slow_froc(positive, truth, normal))
    assert scores["recall"] == pytest.approx(sum(hit and score >= 128 for score, hit in positive) / truth)
    assert scores["normal_fp"] == pytest.approx((every >= 128).sum() / len(normal))


def test_froc_worked_by_hand():
    # One normal image with three false positives; four cells, found with 240, 180, 120 and never.
    wrong = by_level(np.array([200, 190, 100], np.uint8))
    tally = FrocTally(hits=by_level(np.array([240, 180, 120], np.uint8)), truth=4, misses=wrong, normals=1)
    # At most 1: cut above 190, recall 1/4. At most 2: cut above 100, recall 3/4. 4 and more: all, 3/4.
    assert tally.scores()["froc"] == pytest.approx((1 / 4 + 5 * 3 / 4) / 6)
    assert tally.scores()["normal_fp"] == 2.0
    assert np.isnan(FrocTally(hits=wrong, truth=4, misses=np.zeros(256), normals=0).scores()["froc"])


def test_intervals_of_froc_come_from_groups():
    one = FrocTally(hits=by_level(np.array([200], np.uint8)), truth=1, misses=np.zeros(256), normals=1)
    other = FrocTally(hits=np.zeros(256), truth=1, misses=np.zeros(256), normals=1)
    low, high = bootstrap_scores({"a": one, "b": other, "c": one, "d": other})["froc"]
    assert low == 0.0 and high == 1.0


boxes = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8), st.integers(1, 6), st.integers(1, 6)), max_size=6).map(
    lambda each: np.array([(x, y, x + w, y + h) for x, y, w, h in each], float).reshape(-1, 4)
)


def slow_iou(a, b):
    cells = [{(x, y) for x in range(int(c[0]), int(c[2])) for y in range(int(c[1]), int(c[3]))} for c in (a, b)]
    return len(cells[0] & cells[1]) / len(cells[0] | cells[1])


@few
@given(boxes, boxes, st.randoms(use_true_random=False))
def test_the_surest_box_chooses_first(one, other, random):
    score = np.array([random.randint(0, 3) for _ in one], np.uint8)
    table = box_iou(one, other)
    assert table == pytest.approx(np.array([[slow_iou(a, b) for b in other] for a in one]).reshape(table.shape))
    free, expected = set(range(len(other))), []
    for i in sorted(range(len(one)), key=lambda i: (-int(score[i]), i)):
        best = max(free, key=lambda j: (table[i, j], -j), default=None)
        if best is not None and table[i, best] >= 0.3:
            free.remove(best)
            expected.append((i, best))
    assert match_boxes(one, score, other, 0.3).tolist() == [list(pair) for pair in expected]
