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
