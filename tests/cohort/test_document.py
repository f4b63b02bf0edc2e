"""The file of a model of slides: what is written returns, and what is no such file is told."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from geryon.cohort.document import (
    EncoderUsed,
    Member,
    SlideModelDocument,
    TargetDocument,
    read_slide_document,
    read_slide_model,
    save_slide_model,
)
from geryon.cohort.models import load_slide_model, network_of, tensors_of
from geryon.errors import InputError
from geryon.nets.weights import SLIDES_KEY, save_tensors

DOCUMENT = SlideModelDocument(
    name="n",
    version="1",
    model="mean",
    target=TargetDocument(kind="multiclass", columns=("y",), classes=("a", "b", "c")),
    encoder=EncoderUsed(name="e", sha256="ab", code=4, mpp=0.5, patch_um=64.0, stride_um=64.0),
    objects=("nuclei/per_mm2",),
    members=(Member(fold=1, seed=1), Member(fold=2, seed=1)),
    folds={"ab": 1},
)


def test_what_is_written_returns(tmp_path: Path) -> None:
    members = [tensors_of(network_of(DOCUMENT)) for _ in DOCUMENT.members]
    sha = save_slide_model(tmp_path / "m.safetensors", members, DOCUMENT)
    document, tensors = read_slide_model(tmp_path / "m.safetensors")
    assert document == DOCUMENT and len(sha) == 64
    for mine, theirs in zip(members, tensors, strict=True):
        assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)
    assert len(load_slide_model(tmp_path / "m.safetensors").networks) == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 99}, "this version reads 1: update geryon"),
        ({"members": []}, "it has no members"),
        ({"model": ""}, "model is '', not a text"),
        ({"encoder": {**asdict(DOCUMENT.encoder), "code": 0}}, "encoder.code is 0"),
        ({"target": {"kind": "binary"}}, "columns"),
        ({"members": [{"fold": "x", "seed": 1}]}, "has no numbers for fold and seed"),
    ],
)
def test_a_document_that_can_not_be_is_refused(tmp_path: Path, change: dict[str, object], told: str) -> None:
    text = json.dumps({**asdict(DOCUMENT), **change})
    save_tensors({"0.a": np.zeros(1, np.float32)}, tmp_path / "m.safetensors", metadata={SLIDES_KEY: text})
    with pytest.raises(InputError, match=told):
        read_slide_document(tmp_path / "m.safetensors")


def test_tensors_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    save_slide_model(tmp_path / "m.safetensors", [{"last.linear.weight": np.zeros((9, 9), np.float32)}] * 2, DOCUMENT)
    with pytest.raises(InputError, match="its tensors do not fit its document"):
        load_slide_model(tmp_path / "m.safetensors")
    other = replace(DOCUMENT, model="os:system")
    save_slide_model(tmp_path / "m.safetensors", [{}] * 2, other)
    with pytest.raises(InputError, match="no slide model is called"):
        load_slide_model(tmp_path / "m.safetensors")
