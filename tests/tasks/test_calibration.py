"""Calibration changes how sure a model says it is, never what it found."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from geryon.space.boxes import Frame
from geryon.space.objects import no_objects
from geryon.tasks.calibration import Calibration, calibrated, calibrated_p, score_table

few = settings(max_examples=60, deadline=None)
temperatures = st.floats(0.05, 20.0)


@few
@given(arrays(np.uint8, (5, 3)), temperatures)
def test_the_likeliest_class_stays(p, temperature):
    warm = calibrated_p(p, Calibration(class_temperature=temperature))
    assert warm.dtype == np.uint8 and warm.shape == p.shape
    assert (warm.argmax(axis=1) == p.argmax(axis=1)).all()
    assert (warm.any(axis=1) == p.any(axis=1)).all(), "where nothing was said nothing is"


@few
@given(temperatures, st.floats(-20, 20))
def test_a_surer_score_stays_as_sure_or_surer(temperature, shift):
    table = score_table(Calibration(score_temperature=temperature, score_shift=shift))
    assert (np.diff(table.astype(int)) >= 0).all()


def test_a_temperature_is_the_softmax_of_warmed_logs():
    p = np.array([[204, 51]], np.uint8)  # 0.8 and 0.2: at temperature 2 their roots, 2 to 1
    assert calibrated_p(p, Calibration(class_temperature=2.0)).tolist() == [[170, 85]]
    assert calibrated_p(p, Calibration()) is p


def test_scores_are_a_sigmoid_of_the_warmed_and_shifted_logit():
    table = score_table(Calibration(score_temperature=2.0, score_shift=1.0))
    odds = np.log(0.8 / 0.2) / 2 + 1
    assert table[204] == round(255 / (1 + np.exp(-odds)))
    assert (score_table(Calibration())[1:255] == np.arange(1, 255)).all()


def test_rasters_and_objects_are_taken_and_none_leaves_them():
    raster = np.array([[[204, 51], [0, 0]]], np.uint8)
    assert calibrated(raster, Calibration(class_temperature=2.0)).tolist() == [[[170, 85], [0, 0]]]
    empty = no_objects(Frame(name="level0", mpp_x=1, mpp_y=1, width=4, height=4), 2)
    assert calibrated(empty, None) is empty
    assert calibrated(empty, Calibration(class_temperature=2.0)).p.shape == (0, 2)
    assert calibrated(raster, Calibration(score_temperature=3.0)) == pytest.approx(raster)
