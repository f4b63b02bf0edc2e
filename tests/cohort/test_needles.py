"""Needles: what an image holds, how a series goes on, which trends it reads out of its points."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

from geryon.cli import main
from geryon.cohort import needle_series
from geryon.cohort.needle_series import Point, Series, floor, gathered, needles, trends
from geryon.cohort.needles import BANKS, NEEDLE, POOLINGS, Asked, accuracy, bank_codes, haystacks, log_sum_exp
from geryon.errors import InputError, UsageError
from geryon.slides.synthetic.glyphs import drawn_glyphs

SMALL = Series(ratios=(0.1, 0.01), train=(32, 64), pooling=("mean", "attention"), steps=3, test=40)


def test_counts_of_digits_give_nothing_away_but_the_needle() -> None:
    asked = Asked(ratio=0.01, train=40, pooling="mean")
    images = haystacks(asked, 40, "train", np.random.default_rng(0))
    digits = drawn_glyphs(BANKS["train"]).labels[images.digits]
    assert asked.side == 10 and digits.shape == (40, 30)
    assert np.array_equal((digits == NEEDLE).sum(axis=1), images.has_needle) and images.has_needle.mean() == 0.5
    assert all(len(set(row)) == 30 and min(row) >= 0 and max(row) < 100 for row in images.cells.tolist())


def test_digits_to_learn_from_and_to_test_on_are_others() -> None:
    codes = {name: bank_codes(name) for name in BANKS}
    assert codes["encoder"].std(axis=0) == pytest.approx(np.ones(16), rel=1e-3)
    assert not set(map(bytes, codes["train"])) & set(map(bytes, codes["test"]))


def test_log_sum_exp_lies_between_mean_and_maximum() -> None:
    features = torch.rand(3, 50, 4)
    found = log_sum_exp(features)
    assert (found > features.mean(1)).all() and (found < features.max(1).values).all()
    assert torch.allclose(log_sum_exp(torch.full((1, 9, 2), 0.7)), torch.tensor(0.7))


def test_a_large_needle_is_learnt_and_a_run_repeats() -> None:
    asked = Asked(ratio=0.25, train=200, pooling="max", steps=200, test=200)
    assert accuracy(asked) == accuracy(asked) > 0.75


@pytest.mark.parametrize("pooling", POOLINGS)
def test_each_pooling_answers(pooling: str) -> None:
    assert 0 <= accuracy(Asked(ratio=0.02, train=20, pooling=pooling, steps=2, test=20)) <= 1


def test_a_series_goes_on_where_it_stopped(tmp_path, monkeypatch) -> None:
    asked: list[Asked] = []

    def known(run: Asked) -> float:
        asked.append(run)
        return 0.9

    monkeypatch.setattr(needle_series, "accuracy", known)
    stopped = needles(tmp_path, SMALL, minutes=-1)
    assert asked == [] and stopped.left == 8 and stopped.points == {}
    assert all(holds is None for _, holds in stopped.trends)
    first = Series(**{**{f: getattr(SMALL, f) for f in SMALL.__slots__}, "ratios": (0.1,)})
    assert needles(tmp_path, first).left == 0 and len(asked) == 4
    whole = needles(tmp_path, SMALL)
    assert len(asked) == 8 == len(set(asked)) and len(whole.points) == 8
    rows = list(csv.DictReader((tmp_path / "needles.csv").open()))
    assert len(rows) == 8 and rows[0]["cells"] == "9" and float(rows[0]["low"]) < 0.9 < float(rows[0]["high"])
    assert (tmp_path / "needles.svg").read_text().count("<svg") == 3
    before = (tmp_path / "needles.json").read_bytes()
    needles(tmp_path, SMALL)
    assert len(asked) == 8 and (tmp_path / "needles.json").read_bytes() == before


def test_the_command_says_what_holds(tmp_path) -> None:
    said = ["--ratios", "0.1", "--train", "20", "--pooling", "mean", "--steps", "2"]
    assert main(["slides", "needles", "--out", str(tmp_path), *said, "--quiet"]) == 0
    assert json.loads((tmp_path / "needles.json").read_text())[0]["pooling"] == "mean"
    with pytest.raises(UsageError, match="0.9.*'median'"):
        needles(tmp_path, Series(ratios=(0.9,), pooling=("median",)))
    (tmp_path / "needles.json").write_text("[1]")
    with pytest.raises(InputError):
        needles(tmp_path, SMALL)


def point(accuracy_: float) -> Point:
    return Point(accuracy=accuracy_, low=accuracy_ - 0.04, high=accuracy_ + 0.04, images=600)


def test_trends_are_read_from_points() -> None:
    series = Series(ratios=(0.1, 0.01, 0.001), train=(100, 1000), pooling=("mean", "max", "attention"))
    few = {"mean": (0.9, 0.5, 0.5), "max": (0.9, 0.7, 0.5), "attention": (0.9, 0.7, 0.5)}
    many = {"mean": (0.95, 0.6, 0.5), "max": (0.96, 0.9, 0.5), "attention": (0.97, 0.95, 0.5)}
    points = {
        (ratio, train, name): point(values[k])
        for train, some in ((100, few), (1000, many))
        for name, values in some.items()
        for k, ratio in enumerate(series.ratios)
    }
    assert floor(points, 100, "mean") == 0.1 and floor(points, 1000, "mean") == 0.01 == floor(points, 100, "max")
    assert [holds for _, holds in trends(points, series)] == [True] * 5
    worse = {**points, (0.01, 1000, "max"): point(0.5)}
    assert [holds for _, holds in trends(worse, series)] == [True, False, True, False, True]
    del points[0.1, 100, "mean"]
    assert [holds for _, holds in trends(points, series)] == [None] * 5


def test_intervals_hold_all_seeds() -> None:
    run = {"ratio": 0.1, "train": 100, "pooling": "mean", "test": 50}
    one = gathered([{**run, "accuracy": 0.8}])[0.1, 100, "mean"]
    two = gathered([{**run, "accuracy": 0.8}, {**run, "accuracy": 0.6}])[0.1, 100, "mean"]
    assert two.accuracy == pytest.approx(0.7) and two.images == 100
    assert one.low == pytest.approx(0.6696, abs=1e-3) and one.high == pytest.approx(
        0.8876, abs=1e-3
    )  # Wilson, 40 of 50
