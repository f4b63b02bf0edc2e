"""Panoptic quality by class against pixel sets of one class at a time, as PanNuke and CoNIC compute it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geryon.tasks.metrics import overlaps
from geryon.tasks.panoptic_metrics import PanopticTally, panoptic_tally

NAMES = ("a", "b")
label_maps = arrays(np.int32, (6, 7), elements=st.sampled_from([0, 0, 1, 2, 3]))
kinds = st.lists(st.integers(-1, 1), min_size=3, max_size=3)


def tally_of(found, truth, found_kinds, truth_kinds):
    table = overlaps(found, truth)
    good = 2 * table.shared > table.union
    return panoptic_tally(
        NAMES,
        np.array([found_kinds[i - 1] for i in table.found_ids], np.int64),
        np.array([truth_kinds[i - 1] for i in table.truth_ids], np.int64),
        np.stack([table.found[good], table.truth[good]], axis=1),
        (table.shared / table.union)[good],
    )


def slow_counts(found, truth, found_kinds, truth_kinds, k):
    """Matched, sum of IoU, found, true objects of class k, from sets of pixels."""

    def sets(labels):
        return {int(i): {tuple(at) for at in np.argwhere(labels == i)} for i in np.unique(labels[labels > 0])}

    f, t = sets(found), sets(truth)

    def is_pair(a, b):
        return len(a & b) / len(a | b) > 0.5

    unknown = {i for i, a in f.items() if any(is_pair(a, b) and truth_kinds[j - 1] < 0 for j, b in t.items())}
    mine = [a for i, a in f.items() if found_kinds[i - 1] == k and i not in unknown]
    true = [b for j, b in t.items() if truth_kinds[j - 1] == k]
    ious = [len(a & b) / len(a | b) for a in mine for b in true if is_pair(a, b)]
    return len(ious), sum(ious), len(mine), len(true)


def pq(matched, iou, found, true):
    return iou / (matched + 0.5 * (found - matched) + 0.5 * (true - matched)) if found + true else np.nan


@settings(max_examples=60, deadline=None)
@given(label_maps, label_maps, kinds, kinds)
def test_one_image_agrees_with_sets_of_pixels(found, truth, found_kinds, truth_kinds):
    tally = tally_of(found, truth, found_kinds, truth_kinds)
    counts = [slow_counts(found, truth, found_kinds, truth_kinds, k) for k in range(2)]
    each = [pq(*c) for c in counts]
    scores = tally.scores()
    assert [scores["pq/a"], scores["pq/b"]] == pytest.approx(each, nan_ok=True)
    known = [v for v in each if not np.isnan(v)]
    assert scores["mpq_plus"] == pytest.approx(np.mean(known) if known else np.nan, nan_ok=True)
    in_truth = [v for v, c in zip(each, counts, strict=True) if c[3]]
    assert tally.image_scores()["mpq"] == pytest.approx(np.mean(in_truth) if in_truth else np.nan, nan_ok=True)


def test_pooled_and_by_image_differ_as_published():
    """Worked by hand. Image 1: two of class a, both found with IoU 0.8. Image 2: one of a, lost; one of b, found with
    IoU 0.6, and one of b that is none."""
    one = PanopticTally(
        names=NAMES, found=np.array([2, 0]), truth=np.array([2, 0]), matched=np.array([2, 0]), iou=np.array([1.6, 0.0])
    )
    two = PanopticTally(
        names=NAMES, found=np.array([0, 2]), truth=np.array([1, 1]), matched=np.array([0, 1]), iou=np.array([0.0, 0.6])
    )
    assert one.image_scores()["mpq"] == pytest.approx(0.8), "class b, which the image does not have, is left out"
    assert two.image_scores()["mpq"] == pytest.approx((0 + 0.6 / 1.5) / 2)
    assert (one + two).scores()["mpq_plus"] == pytest.approx((1.6 / 2.5 + 0.6 / 1.5) / 2)
