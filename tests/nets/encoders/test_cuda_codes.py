"""Encoders on a card answer as those on processors.

python -m pytest -m gpu
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from geryon.errors import UsageError
from geryon.nets.encoder import Encoder
from geryon.nets.encoders.agreement import cosine, stained
from geryon.nets.encoders.cuda_codes import on_device
from geryon.nets.encoders.document import EncoderDocument
from geryon.nets.encoders.engines import open_engine
from geryon.nets.encoders.layered import build, preset
from geryon.nets.encoders.ready import Whole, ready
from geryon.testing.encoders import EncoderContract

on_card = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card here")]


def made() -> tuple[EncoderDocument, dict[str, np.ndarray]]:
    torch.manual_seed(0)
    network = build(preset("nic-64")).train()
    with torch.no_grad():
        for _ in range(12):
            network(torch.from_numpy(stained(8, 128)).permute(0, 3, 1, 2))
    tensors = {k: v.numpy() for k, v in network.state_dict().items()}
    document = EncoderDocument(
        name="random", version="1", topology="layered", settings=preset("nic-64"), patch_px=128, code=128
    )
    return document, tensors


def encoder(engine: str) -> Encoder:
    document, tensors = made()
    return Encoder(document=document, sha256="0" * 64, engine=open_engine(engine, document, tensors))


class TestCard(EncoderContract):
    pytestmark = on_card

    @pytest.fixture(autouse=True)
    def _loaded(self) -> None:
        self.encoder = encoder("cuda:0")

    def test_answers_as_the_processor(self) -> None:
        patches = stained(40, 128)
        assert cosine(self.encoder(patches), encoder("cpu")(patches)).min() > 0.9999

    def test_slides_too(self) -> None:
        image = stained(1, 320)[0]
        codes = self.encoder.dense(image, 64)
        assert codes.shape == (4, 4, 128)
        assert cosine(codes[3, 2:3], self.encoder(image[None, 192:320, 128:256])).min() > 0.9999


def test_batches_are_filled_up_and_images_slid_over_on_any_device() -> None:
    document, tensors = made()
    engine = on_device(torch.device("cpu"), Whole(ready(document, tensors)))
    there, here = Encoder(document=document, sha256="0" * 64, engine=replace(engine, batch=4)), encoder("cpu")
    patches, image = stained(6, 128), stained(1, 200)[0]
    np.testing.assert_allclose(there(patches), here(patches), atol=1e-5)
    np.testing.assert_allclose(there.dense(image, 32), here.dense(image, 32), atol=1e-5)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card here")
def test_without_a_card_it_is_said_and_auto_goes_on() -> None:
    for name in ("cuda", "cuda:7"):
        with pytest.raises(UsageError, match="CUDA card"):
            encoder(name)
    assert encoder("auto").engine.name in ("openvino", "cpu")
    assert encoder("float32").precision == "float32"
