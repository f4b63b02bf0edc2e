"""A model's own encoder, patch by patch."""

from __future__ import annotations

import numpy as np

import geryon
from geryon.nets.catalogue import find_model
from geryon.nets.encoder import encoder_of
from geryon.nets.model import load_model
from geryon.testing.encoders import EncoderContract


class TestOfGeryonS(EncoderContract):
    encoder = geryon.load_encoder("geryon-s", engine="cpu")


def test_it_is_the_model_by_name_file_and_object() -> None:
    file = find_model("geryon-s")
    encoders = [geryon.load_encoder(file, engine="cpu"), encoder_of(load_model(file, engine="cpu", features=True))]
    patches = TestOfGeryonS().patches(2)
    codes = TestOfGeryonS.encoder(patches)
    for encoder in encoders:
        assert (encoder.name, encoder.mpp, encoder.patch_px, encoder.code) == ("geryon-s", 0.5, 128, 152)
        assert encoder.sha256 == load_model(file, engine="cpu", tasks="tissue").sha256
        assert np.array_equal(encoder(patches), codes)
