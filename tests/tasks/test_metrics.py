"""Metrics against slow independent ones on random maps, and against cases worked by hand."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geryon.tasks.class_metrics import ClassTally, class_tally, match_points
from geryon.tasks.intervals import bootstrap, bootstrap_scores
from geryon.tasks.metrics import Tally, mean_scores, object_metric, overlaps, raster_metric, tally

label_maps = arrays(np.int32, (6, 7), elements=st.sampled_from([0, 0, 1, 2, 3, 9]))
few = settings(max_examples=60, deadline=None)


def pixels(labels):
    """{id: set of (y, x)}, by loops."""
    sets = {}
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            if labels[y, x] > 0:
                sets.setdefault(int(labels[y, x]), set()).add((y, x))
    return dict(sorted(sets.items()))


def slow_panoptic(found, truth):
    f, t = pixels(found), pixels(truth)
    if not f and not t:
        return {"pq": 1.0, "dq": 1.0, "sq": 1.0}
    good = [len(a & b) / len(a | b) for a in f.values() for b in t.values() if len(a & b) / len(a | b) > 0.5]
    denominator = len(good) + 0.5 * (len(f) - len(good)) + 0.5 * (len(t) - len(good))
    sq = sum(good) / len(good) if good else 0.0
    return {"pq": sum(good) / denominator, "dq": len(good) / denominator, "sq": sq}


def slow_aji(found, truth):
    f, t = pixels(found), pixels(truth)
    shared = union = 0
    used = set()
    for b in t.values():
        best, best_iou = None, 0.0
        for name, a in f.items():
            iou = len(a & b) / len(a | b)
            if iou > best_iou:
                best, best_iou = name, iou
        if best is None:
            union += len(b)
        else:
            used.add(best)
            shared += len(f[best] & b)
            union += len(f[best] | b)
    union += sum(len(a) for name, a in f.items() if name not in used)
    return shared / union if union else 1.0


def most_shared(own, others):
    best, most = None, 0
    for name, other in others.items():
        if len(own & other) > most:
            best, most = name, len(own & other)
    return best


def slow_contest_f1(found, truth):
    f, t = pixels(found), pixels(truth)
    hit = set()
    for a in f.values():
        name = most_shared(a, t)
        if name is not None and len(a & t[name]) >= 0.5 * len(t[name]):
            hit.add(name)
    tp = len(hit)
    return 2 * tp / (2 * tp + (len(f) - tp) + (len(t) - tp)) if f or t else 1.0


def slow_object_dice(found, truth):
    f, t = pixels(found), pixels(truth)
    if not f or not t:
        return 1.0 if not f and not t else 0.0

    def side(own, others):
        total = 0.0
        for a in own.values():
            name = most_shared(a, others)
            if name is not None:
                total += len(a) * 2 * len(a & others[name]) / (len(a) + len(others[name]))
        return total / sum(len(a) for a in own.values())

    return (side(f, t) + side(t, f)) / 2


def slow_distance(a, b):
    def one_way(p, q):
        return max(min(math.dist(u, v) for v in q) for u in p)

    return max(one_way(a, b), one_way(b, a))


def slow_object_hausdorff(found, truth):
    f, t = pixels(found), pixels(truth)
    if not f or not t:
        return 0.0 if not f and not t else math.hypot(*found.shape)

    def side(own, others):
        total = 0.0
        for a in own.values():
            name = most_shared(a, others)
            near = [others[name]] if name is not None else list(others.values())
            total += len(a) * min(slow_distance(a, b) for b in near)
        return total / sum(len(a) for a in own.values())

    return (side(f, t) + side(t, f)) / 2


@few
@given(label_maps, label_maps)
def test_agrees_with_slow_metrics(found, truth):
    scores = tally(found, truth, hausdorff=True).scores()
    slow = slow_panoptic(found, truth) | {
        "aji": slow_aji(found, truth),
        "object_f1": slow_contest_f1(found, truth),
        "object_dice": slow_object_dice(found, truth),
        "object_hausdorff_px": slow_object_hausdorff(found, truth),
    }
    both = int(((found > 0) & (truth > 0)).sum())
    area = int((found > 0).sum() + (truth > 0).sum())
    slow["dice"] = 2 * both / area if area else 1.0
    assert scores == pytest.approx(slow, rel=1e-5)


@few
@given(label_maps, label_maps)
def test_overlaps_are_the_shared_pixels(found, truth):
    table = overlaps(found, truth)
    f, t = pixels(found), pixels(truth)
    expected = {(i, j): len(a & b) for i, a in f.items() for j, b in t.items() if a & b}
    names = zip(table.found_ids[table.found].tolist(), table.truth_ids[table.truth].tolist(), strict=True)
    assert dict(zip(names, table.shared.tolist(), strict=True)) == expected
    assert table.found_area.tolist() == [len(a) for a in f.values()]


@few
@given(label_maps)
def test_truth_against_itself_is_perfect(truth):
    scores = tally(truth, truth, hausdorff=True).scores()
    assert scores.pop("object_hausdorff_px") == 0.0
    assert set(scores.values()) == {1.0}


@few
@given(label_maps, label_maps, st.permutations([1, 2, 3, 4]))
def test_names_of_objects_mean_nothing_to_pixel_scores(found, truth, names):
    other = np.zeros_like(found)
    for old, new in zip([1, 2, 3, 9], names, strict=True):
        other[found == old] = new * 1_000_003
    keep = ("pq", "dq", "dice")
    first, second = tally(found, truth).scores(), tally(other, truth).scores()
    assert [first[k] for k in keep] == pytest.approx([second[k] for k in keep])


def test_pooled_equals_one_large_image():
    rng = np.random.default_rng(3)
    maps = [(rng.integers(0, 4, (8, 8)).astype(np.int32), rng.integers(0, 4, (8, 8)).astype(np.int32)) for _ in "abc"]
    pooled = sum((tally(f, t) for f, t in maps), Tally(found_hausdorff=0.0, truth_hausdorff=0.0))
    shift = [(np.where(f > 0, f + 10 * i, 0), np.where(t > 0, t + 10 * i, 0)) for i, (f, t) in enumerate(maps)]
    whole = tally(np.hstack([f for f, _ in shift]), np.hstack([t for _, t in shift]))
    assert pooled.scores() == pytest.approx(whole.scores())
    assert pooled.images == 3


def test_a_case_worked_by_hand():
    truth = np.zeros((4, 10), np.int32)
    truth[0, 0:4], truth[2, 0:4], truth[3, 8:10] = 1, 2, 3
    found = np.zeros((4, 10), np.int32)
    found[0, 1:4] = 5  # IoU 3/4 with 1
    found[2, 2:6] = 6  # shares 2 of 4 with 2: IoU 2/6, but half of it
    scores = tally(found, truth, hausdorff=True).scores()
    assert scores["pq"] == pytest.approx(0.75 / (1 + 0.5 + 1))
    assert scores["aji"] == pytest.approx((3 + 2) / (4 + 6 + 2))
    assert scores["dice"] == pytest.approx(2 * 5 / (7 + 10))
    assert scores["object_f1"] == pytest.approx(2 * 2 / (2 + 3))
    assert scores["object_dice"] == pytest.approx(((3 * 6 / 7 + 4 * 0.5) / 7 + (4 * 6 / 7 + 4 * 0.5) / 10) / 2)
    lost = math.dist((3, 9), (2, 5))  # truth 3 goes to the nearer of the two, found 6; its farthest pixel decides
    back = math.dist((2, 2), (3, 8))
    assert scores["object_hausdorff_px"] == pytest.approx(
        ((3 * 1 + 4 * 2) / 7 + (4 * 1 + 4 * 2 + 2 * max(lost, back)) / 10) / 2
    )


def test_one_found_over_two_true_objects_counts_once():
    truth = np.array([[1, 1, 1, 2, 2, 2, 2, 0]], np.int32)
    found = np.where(truth > 0, 1, 0).astype(np.int32)
    assert tally(found, truth).scores()["object_f1"] == pytest.approx(2 / 3)


def test_two_halves_of_one_true_object_count_once():
    truth = np.array([[1, 1, 1, 1]], np.int32)
    found = np.array([[1, 1, 2, 2]], np.int32)
    assert tally(found, truth).scores()["object_f1"] == pytest.approx(2 / 3)


def test_empty_cases():
    empty, full = np.zeros((3, 4), np.int32), np.ones((3, 4), np.int32)
    assert set(object_metric(empty, empty).values()) == {1.0}
    assert set(object_metric(empty, full).values()) == set(object_metric(full, empty).values()) == {0.0}
    assert tally(empty, full, hausdorff=True).scores()["object_hausdorff_px"] == 5.0
    assert mean_scores([tally(empty, empty), tally(empty, full)])["pq"] == 0.5


def test_hausdorff_sees_a_filled_hole():
    ring = np.ones((9, 9), np.int32)
    ring[1:8, 1:8] = 0
    assert tally(np.ones((9, 9), np.int32), ring, hausdorff=True).scores()["object_hausdorff_px"] == 4.0


def test_two_shapes_are_refused():
    with pytest.raises(ValueError, match="two shapes"):
        overlaps(np.zeros((2, 2), np.int32), np.zeros((2, 3), np.int32))


classes = st.lists(st.integers(-1, 2), max_size=7).map(lambda values: np.array(values, np.int64))


@few
@given(classes, classes, st.randoms(use_true_random=False))
def test_class_scores_agree_with_slow_ones(found, truth, random):
    n = random.randint(0, min(len(found), len(truth)))
    pairs = list(zip(random.sample(range(len(found)), n), random.sample(range(len(truth)), n), strict=True))
    scores = class_tally(("a", "b", "c"), found, truth, np.array(pairs, np.int64).reshape(-1, 2)).scores()
    alone_f = [c for i, c in enumerate(found) if i not in {p[0] for p in pairs}]
    alone_t = [c for j, c in enumerate(truth) if j not in {p[1] for p in pairs}]
    both = [(found[i], truth[j]) for i, j in pairs if truth[j] >= 0]
    below = 2 * n + len(alone_f) + len(alone_t)
    assert scores["f_d"] == pytest.approx(2 * n / below if below else np.nan, nan_ok=True)
    for k, name in enumerate("abc"):
        tp = sum(f == k == t for f, t in both)
        fp, fn = sum(f == k != t for f, t in both), sum(t == k != f for f, t in both)
        below = 2 * tp + 2 * fp + 2 * fn + alone_f.count(k) + alone_t.count(k)
        assert scores[f"f_c/{name}"] == pytest.approx(2 * tp / below if below else np.nan, nan_ok=True)
        made = sum(f == k for f, _ in both) + alone_f.count(k)
        there = sum(t == k for _, t in both) + alone_t.count(k)
        assert scores[f"f1/{name}"] == pytest.approx(2 * tp / (made + there) if made + there else np.nan, nan_ok=True)
    right = [f == t for f, t in both]
    assert scores["accuracy"] == pytest.approx(np.mean(right) if both else np.nan, nan_ok=True)
    recalls = [np.mean([f == t for f, t in both if t == k]) for k in range(3) if any(t == k for _, t in both)]
    assert scores["balanced_accuracy"] == pytest.approx(np.mean(recalls) if both else np.nan, nan_ok=True)
    weighted = 0.0
    for k in range(3):
        true, said = sum(t == k for _, t in both), sum(f == k for f, _ in both)
        weighted += true * 2 * sum(f == k == t for f, t in both) / (true + said) / len(both) if true else 0.0
    assert scores["weighted_f1"] == pytest.approx(weighted if both else np.nan, nan_ok=True)
    commonest = max([sum(t == k for _, t in both) for k in range(3)])
    assert scores["majority_accuracy"] == pytest.approx(commonest / len(both) if both else np.nan, nan_ok=True)


@few
@given(
    arrays(np.float64, st.tuples(st.integers(0, 6), st.just(2)), elements=st.integers(0, 6).map(float)),
    arrays(np.float64, st.tuples(st.integers(0, 6), st.just(2)), elements=st.integers(0, 6).map(float)),
)
def test_points_are_matched_nearest_first(found, truth):
    todo = sorted(
        (math.dist(a, b), i, j) for i, a in enumerate(found) for j, b in enumerate(truth) if math.dist(a, b) <= 3
    )
    pairs, left, right = [], set(), set()
    for _, i, j in todo:
        if i not in left and j not in right:
            left.add(i)
            right.add(j)
            pairs.append((i, j))
    assert sorted(map(tuple, match_points(found, truth, 3.0).tolist())) == sorted(pairs)


def test_raster_metric_leaves_unknown_cells_out():
    truth = np.array([[1, 1, 1, 2, 0]], np.int32)
    found = np.array([[1, 1, 2, 2, 1]], np.int32)
    assert raster_metric(found, truth) == pytest.approx({"accuracy": 3 / 4, "balanced_accuracy": (2 / 3 + 1) / 2})


def group_tallies(seed=0, groups=5):
    rng = np.random.default_rng(seed)
    return {
        str(g): tally(rng.integers(0, 3, (5, 5)).astype(np.int32), rng.integers(0, 3, (5, 5)).astype(np.int32))
        for g in range(groups)
    }


def test_bootstrap_agrees_with_a_loop():
    by_group = group_tallies()
    low, high = bootstrap(by_group, lambda t: t.scores()["dice"], n=300, seed=4)
    rng = np.random.default_rng(4)
    draws = rng.multinomial(5, [0.2] * 5, size=300)
    values = []
    for row in draws:
        drawn = [by_group[g] for g, count in zip(sorted(by_group), row, strict=True) for _ in range(count)]
        values.append(sum(drawn[1:], drawn[0]).scores()["dice"])
    assert (low, high) == pytest.approx(tuple(np.quantile(values, [0.025, 0.975])))


def test_bootstrap_is_seeded_and_holds_the_score():
    by_group = group_tallies(1)
    shuffled = dict(reversed(by_group.items()))
    assert bootstrap_scores(by_group, seed=1) == bootstrap_scores(shuffled, seed=1)
    whole = sum(list(by_group.values())[1:], by_group["0"]).scores()
    low, high = bootstrap_scores(by_group, seed=1)["dice"]
    assert low <= whole["dice"] <= high and low < high


def test_bootstrap_of_classes_and_of_one_group():
    names = ("a", "b")
    by_group = {
        g: class_tally(names, np.array([0, 1]), np.array([0, g % 2]), np.array([[0, 0], [1, 1]])) for g in range(4)
    }
    low, high = bootstrap_scores(by_group)["accuracy"]
    assert 0.5 <= low < 0.75 < high <= 1.0
    assert np.isnan(bootstrap({"only": by_group[0]}, lambda t: t.scores()["accuracy"])).all()
    with pytest.raises(ValueError, match="two lists of classes"):
        by_group[0] + ClassTally(names=("c",))
