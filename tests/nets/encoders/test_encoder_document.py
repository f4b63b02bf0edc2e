"""Files of encoders: what is written is read, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from geryon.errors import InputError
from geryon.nets.encoders.document import EncoderDocument, read_encoder, read_encoder_document, save_encoder
from geryon.nets.encoders.layered import preset
from geryon.nets.weights import ENCODER_KEY, SourceDocument, file_sha256, read_document

DOCUMENT = EncoderDocument(
    name="small",
    version="1",
    topology="layered",
    settings=preset("nic-64"),
    patch_px=128,
    code=128,
    sources=(SourceDocument(name="a", licence="MIT", use="open"),),
    held_out={"a": ("p1", "p2")},
    training={"steps": 3},
)


def test_document_and_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    tensors = {"layers.1.weight": np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)}
    sha256 = save_encoder(tmp_path / "e.safetensors", tensors, DOCUMENT)
    document, back = read_encoder(tmp_path / "e.safetensors")
    assert document == DOCUMENT and sha256 == file_sha256(tmp_path / "e.safetensors")
    assert document.patch_um == 64.0
    assert list(back) == list(tensors) and np.array_equal(back["layers.1.weight"], tensors["layers.1.weight"])
    assert save_encoder(tmp_path / "again.safetensors", tensors, DOCUMENT) == sha256


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"topology": "os:system"},
        {"mpp": 0},
        {"patch_px": 128.5},
        {"code": 0},
        {"use": "any"},
        {"settings": []},
        {"sources": [{"name": "a", "licence": "?", "use": "research"}]},
        {"ranges": {"layers.1": [1, 0]}},
    ],
)
def test_a_document_that_can_not_be_used_is_refused(tmp_path: Path, change: dict) -> None:
    path = tmp_path / "e.safetensors"
    raw = json.loads(json.dumps(asdict(DOCUMENT))) | change
    save_file({"x": np.zeros(2, np.float32)}, path, metadata={ENCODER_KEY: json.dumps(raw)})
    with pytest.raises(InputError, match="document"):
        read_encoder_document(path)


def test_an_encoder_is_no_model_and_a_model_is_no_encoder(tmp_path: Path) -> None:
    path = tmp_path / "e.safetensors"
    save_encoder(path, {"x": np.zeros(2, np.float32)}, replace(DOCUMENT, use="experiment"))
    with pytest.raises(InputError, match="is an encoder, not a model"):
        read_document(path)
    save_file({"x": np.zeros(2, np.float32)}, path, metadata={"geryon": "{}"})
    with pytest.raises(InputError, match="is a model, not an encoder"):
        read_encoder(path)
