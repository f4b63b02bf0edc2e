"""The benchmark on digits: codes are the chain's, counts tell no more than they may, figures follow from answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import digits
from benchmarks.digits import ORACLE, PCA, Effort, Run
from geryon.cohort.needle_series import wilson
from geryon.flows.compress import compress
from geryon.flows.compress_options import CompressOptions
from geryon.flows.synth_digits import ENCODER, Digits, drawn, synth_digits
from geryon.nets.encoder import load_encoder
from geryon.slides.synthetic.digits import CLASSES, Draw, Layout


@pytest.mark.parametrize("legacy", [False, True])
def test_counts_of_digits_alone_tell_no_more_than_the_pair_does(legacy: bool) -> None:
    right, asked = digits.told_by_counts(legacy=legacy, images=300)
    found = wilson(right, asked)
    assert asked > 150 and found.low < digits.CEILINGS[legacy] < found.high


def test_an_oracle_sees_each_digit_in_the_cell_of_its_middle() -> None:
    corner = np.array([[-5, 0], [9, 22], [18, 14], [40, 40]])  # x, y; the last reaches out of the image
    where = Layout(
        mask=np.zeros((45, 45), np.uint8), corner=corner, digits=np.array([1, 2, 3, 9]), in_tilted=0, in_upright=0
    )
    assert np.argwhere(digits.middles(where)).tolist() == [[0, 0, 1], [2, 1, 2], [2, 2, 3], [4, 4, 9]]


def test_codes_are_those_of_compress(tmp_path: Path) -> None:
    synth_digits(tmp_path, Digits(count=1, size_px=180))
    path, net = tmp_path / "images" / "d00000.tif", load_encoder(tmp_path / ENCODER)
    for stride, cells in ((9, 20), (6, 29)):
        options = CompressOptions(use_mask=False, stride=f"{stride}px")
        made = compress(path, out=tmp_path / str(stride), encoder=net, options=options).crop(0, 0, cells, cells)
        for numbers in (16, 4):
            codes = digits.coded(net, path, Run(code=PCA, train=1, numbers=numbers, stride_px=stride))
            assert codes.shape == (cells, cells, numbers)
            np.testing.assert_array_equal(codes, made[..., :numbers])


@pytest.mark.parametrize("run", [Run(code=ORACLE, model="mean", train=80), Run(code=PCA, train=16, numbers=4)])
def test_answers_of_a_network_are_kept(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    effort = Effort(out=tmp_path, digits=Digits(count=60, size_px=270), test=30, seen=32, rate=3e-3, seed=0)
    first = digits.answered(run, effort)
    assert first.shape == (30,) and set(first.tolist()) <= set(range(CLASSES))
    if run.model == "mean":
        labels = [drawn(number, effort.digits)[0].label for number in effort.numbers(0)]
        assert np.mean(first == labels) > 0.2  # chance is a tenth
    monkeypatch.setattr(digits, "learnt", None)
    assert np.array_equal(digits.answered(run, effort), first)


def test_figures_by_the_size_of_the_rectangle() -> None:
    draws = [
        Draw(number=i, label=0, distractor=1, tilted_px=side, upright_px=9) for i, side in enumerate((5, 15, 15, 49))
    ]
    of_bin = digits.by_side(draws, np.array([False, True, False, True]), 100)
    assert list(of_bin.values()) == [(0, 1), (1, 2), (0, 0), (0, 0), (1, 1)]
    assert list(of_bin)[0] == "0-10 %" and list(of_bin)[-1] == "40-50 %"
    assert digits.rises(of_bin)
    assert digits.rises({"a": (50, 100), "b": (49, 100)}), "a fall that may be chance"
    assert not digits.rises({"a": (80, 100), "b": (85, 100), "c": (20, 100)})


def test_gains_are_of_the_same_images() -> None:
    better, worse = np.array([True] * 60 + [False] * 40), np.array([True] * 30 + [False] * 70)
    assert digits.gain(better, worse)["value"] == pytest.approx(0.3)
    assert digits.verdict(digits.gain(better, worse)) is True
    assert digits.verdict(digits.gain(worse, better)) is False
    assert digits.verdict(digits.gain(better, better)) is None


def test_which_runs_are_compared() -> None:
    oracle = [Run(code=ORACLE, train=n) for n in (100, 200)]
    bag = Run(code=ORACLE, model="mean", train=200)
    pca = [Run(code=PCA, train=200, numbers=n, stride_px=s) for n, s in ((16, 9), (4, 9), (16, 6))]
    compared = [(better, worse) for _, better, worse in digits.pairs([bag, *oracle, *pca])]
    few, many = oracle
    assert compared == [(many, few), (many, bag), (pca[0], pca[1]), (pca[0], pca[2]), (many, pca[0])]
    assert list(digits.pairs([bag])) == []


def test_cells_of_one_digit_are_read_and_images_are_drawn_again(tmp_path: Path) -> None:
    effort = Effort(out=tmp_path, digits=Digits(count=1, size_px=180), test=1, seen=0, rate=1e-3, seed=0)
    there = digits.middles(drawn(0, effort.digits)[1])
    codes, labels = digits.digits_of(there.astype(np.float16), 0, effort)
    assert len(codes) == (there.sum(axis=2) == 1).sum() and np.array_equal(codes.argmax(axis=1), labels)
    found = digits.of_images(np.array([True, True, False, False]), np.array([0, 0, 1, 1]))
    assert (found["value"], found["low"], found["high"]) == (0.5, 0.0, 1.0)
