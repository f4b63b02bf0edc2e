"""A model as an ONNX file answers as the model does, says what it is, or is not written."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from geryon.cli import main
from geryon.errors import InputError, MissingPartError
from geryon.nets.model import load_model
from geryon.nets.onnx_ import export_onnx
from geryon.nets.topologies import TOPOLOGIES
from geryon.nets.weights import ModelDocument, save_model, task_document
from geryon.space.boxes import Box, Frame
from geryon.tasks.task import get_task

needs_onnx = pytest.mark.skipif(
    find_spec("onnx") is None or find_spec("onnxruntime") is None, reason="the extra onnx is not installed"
)
PLACE = Box(Frame(name="work", mpp_x=0.5, mpp_y=0.5, width=9999, height=9999), 0, 0, 1, 1)


@needs_onnx
def test_the_file_answers_as_the_model_and_says_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import onnxruntime

    path = tmp_path / "s.onnx"
    assert main(["export-weights", "geryon-s", "--to", "onnx", "--out", str(path), "--tasks", "nuclei"]) == 0
    assert "nuclei/inside, nuclei/depth, nuclei/class at 0.5 µm/px" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    told = json.loads(session.get_modelmeta().custom_metadata_map["geryon"])
    assert told["mpp"] == 0.5 and told["halo_px"] == 96 and told["document"]["name"] == "geryon-s"
    assert told["maps"]["nuclei/class"] == {"channels": 4, "stride": 2, "activation": "softmax"}
    drawn = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), dtype=np.uint8)
    images = np.kron(drawn, np.ones((1, 8, 8, 1), np.uint8))
    found = dict(zip(told["maps"], session.run(list(told["maps"]), {"image": images}), strict=True))
    model = load_model("geryon-s", engine="cpu", tasks="nuclei")
    assert model.sha256 == told["sha256"]
    for image, number in zip(images, range(2), strict=True):
        for name, value in model.maps([image], [PLACE])[0].items():
            assert np.abs(found[name][number].astype(int) - value.astype(int)).max() <= 1, name


class Sized(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {f"lumina/{name}": 0.0 * x[:, :1] + (int(x.shape[2]) - 256) / 32 for name in ("inside", "rim")}


def sized(settings: object, heads: object) -> Sized:
    return Sized()


@needs_onnx
def test_a_network_that_onnx_does_not_keep_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TOPOLOGIES, "sized", f"{__name__}:sized")
    document = ModelDocument(
        name="odd",
        topology="sized",
        settings={},
        mpp=0.5,
        tasks=(task_document(get_task("lumina")),),
        sources=(),
        use="open",
        version="0.1",
    )
    save_model(tmp_path / "odd.safetensors", {"unused": np.zeros(1, np.float32)}, document)
    with pytest.raises(InputError, match="as ONNX: its map lumina/inside of an image of 320 x 256 pixels"):
        export_onnx(tmp_path / "odd.safetensors", tmp_path / "odd.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["odd.safetensors"]


def test_without_the_packages_it_says_what_brings_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingPartError, match="ONNX files need the package onnx") as error:
        export_onnx("geryon-s", tmp_path / "s.onnx")
    assert "geryon[onnx]" in error.value.mend
