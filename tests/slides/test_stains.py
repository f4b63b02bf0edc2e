"""Colour deconvolution gives back the amounts that a colour was mixed of."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import color

from geryon.slides.stains import STAINS, UNIT_STAINS, stain_densities


def mixed(haematoxylin: float, eosin: float, dab: float = 0.0) -> np.ndarray:
    """A pixel [1, 1, 3] of that many units of optical density of each stain."""
    light = 255 * 10 ** -(UNIT_STAINS @ [haematoxylin, eosin, dab])
    return np.rint(light).astype(np.uint8).reshape(1, 1, 3)


@settings(deadline=None)
@given(haematoxylin=st.floats(0, 0.8), eosin=st.floats(0, 0.6), dab=st.floats(0, 0.2))
def test_amounts_return(haematoxylin: float, eosin: float, dab: float) -> None:
    found = stain_densities(mixed(haematoxylin, eosin, dab))
    assert found.shape == (1, 1, 2) and found.dtype == np.float32
    # Half a grey value at the darkest (10^-1.5 of 255) is 0.03 of density, doubled by unmixing.
    assert found[0, 0] == pytest.approx([haematoxylin, eosin], abs=0.06)


def test_white_has_no_stain_and_black_is_finite() -> None:
    assert np.abs(stain_densities(np.full((2, 2, 3), 255, np.uint8))).max() < 1e-6
    assert np.isfinite(stain_densities(np.zeros((2, 2, 3), np.uint8))).all()


def test_the_vectors_are_those_of_the_paper_as_others_have_them() -> None:
    np.testing.assert_allclose(STAINS, color.rgb_from_hed)
