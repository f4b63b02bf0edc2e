"""geryon info."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from geryon.cli import info
from geryon.errors import InputError, SomeFailedError
from geryon.flows.compress import compress_slide
from geryon.flows.compress_options import CompressOptions
from geryon.nets.encoder import load_encoder
from geryon.slides.array import slide_of_image
from tests.nets import hubs


def run(*words: object) -> int:
    parser = argparse.ArgumentParser()
    info.arguments(parser)
    return info.run(parser.parse_args([str(w) for w in words]))


@pytest.fixture
def png(tmp_path: Path) -> Path:
    image = np.full((400, 600, 3), 240, np.uint8)
    image[100:300, 100:500] = (200, 120, 220)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    return tmp_path / "a.png"


def test_json(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(png, "--mpp", 4, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["width_px"], facts["height_px"], facts["mpp_x"], facts["mpp_source"]) == (600, 400, 4.0, "given")
    assert facts["tissue_mm2"] == pytest.approx(1.28, rel=0.05) and facts["area_mm2"] == pytest.approx(3.84)
    assert facts["levels"] == [{"width_px": 600, "height_px": 400, "downsample": 1.0}] and facts["warnings"] == []


def test_text(png: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(png, "--mpp", 4, "--no-tissue") == 0
    text = capsys.readouterr().out
    assert "600 x 400 px" in text and "4 (given)" in text and "not looked for" in text


def test_one_that_fails_says_why(png: Path) -> None:
    with pytest.raises(InputError, match="--mpp"):
        run(png)


def test_of_several_the_others_are_told(png: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SomeFailedError, match="1 of 3"):
        run(png, tmp_path / "none.svs", png, "--mpp", 4, "--json")
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.get("exit_code") for line in told] == [None, 3, None] and "no such file" in told[1]["error"]


def test_a_compressed_slide_says_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slide = slide_of_image(np.full((300, 500, 3), 150, np.uint8), mpp=0.5, name="s1")
    compress_slide(slide, load_encoder("mean-rgb"), tmp_path / "s1", options=CompressOptions(use_mask=False))
    for given in (tmp_path / "s1", tmp_path / "s1" / "features.zarr"):
        assert run(given) == 0
        text = capsys.readouterr().out
        assert "mean-rgb in " in text and "64 µm at 0.5 µm/px, every 64 µm" in text and "3 x 4, 12 with tissue" in text
    assert run(tmp_path / "s1", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["slide"], facts["rows"], facts["columns"]) == ("s1", 3, 4)
    assert (facts["code"], facts["dtype"]) == (3, "float16")


def test_a_model_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("geryon-s") == 0
    text = capsys.readouterr().out
    assert "geryon-s 0.3" in text and "nuclei: epithelial, inflammatory" in text and "ebhi_seg (CC BY 4.0)" in text


def test_a_model_in_a_folder_of_ones_own_is_told_beside_slides(
    png: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = hubs.small_model(tmp_path / "lab.safetensors", use="research")
    monkeypatch.setenv("GERYON_MODELS", str(tmp_path))
    assert run("lab", png, "--mpp", 4, "--json") == 0
    model, slide = map(json.loads, capsys.readouterr().out.splitlines())
    assert (model["name"], model["sha256"], model["use"], model["topology"]) == ("lab", digest, "research", "geryon-b")
    assert model["tasks"].keys() == {"nuclei"} and model["path"] == str(tmp_path / "lab.safetensors")
    assert slide["width_px"] == 600


def test_a_slide_called_as_a_model_is_the_slide(
    png: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(png.parent)
    png.rename("geryon-s")
    assert run("geryon-s", "--mpp", 4, "--json") == 0
    assert json.loads(capsys.readouterr().out)["width_px"] == 600


def test_a_file_that_is_no_model_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"none")
    with pytest.raises(InputError, match="no safetensors file or is cut short"):
        run(tmp_path / "a.safetensors")
