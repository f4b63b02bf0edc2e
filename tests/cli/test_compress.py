"""geryon compress as a user calls it: what is said, what is written, and the exit code."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from geryon.cli import main
from geryon.store.features import open_volume
from tests.flows.small_encoder import saved_encoder
from tests.flows.test_compress import picture


@pytest.fixture
def encoder(tmp_path: Path) -> str:
    return str(saved_encoder(tmp_path))


def saved(path: Path, image: np.ndarray) -> str:
    assert cv2.imwrite(str(path), image)
    return str(path)


def test_one_slide_in_every_layout(tmp_path: Path, encoder: str, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("h5py")
    slide, out = saved(tmp_path / "a.png", picture(100, 130)), tmp_path / "out"
    words = ["compress", slide, "--out", str(out), "--encoder", encoder, "--mpp", "0.5", "--to", "h5,pt,stamp,nic"]
    assert main(words) == 0
    assert "a: 20 cells in 4 x 5 of 16 µm, 4 numbers each" in capsys.readouterr().out
    there = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file() and "features.zarr" not in str(p)}
    nic = {f"nic/a_{name}.npy" for name in ("features", "features_distance_map", "im_shape", "x_idx", "y_idx")}
    assert there == {"h5/a.h5", "pt/a.pt", "stamp/a.h5"} | nic
    assert main([*words, "--turns", "mean"]) == 2
    assert "another turns" in capsys.readouterr().err


def test_a_bad_slide_costs_itself(tmp_path: Path, encoder: str, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, out = saved(tmp_path / "good.png", picture(64, 64)), tmp_path / "bad.png", tmp_path / "out"
    bad.write_bytes(b"no picture")
    table = tmp_path / "slides.csv"
    table.write_text(f"slide,mpp\n{good},0.5\n{bad},0.5\n")
    assert main(["compress", "--table", str(table), "--out", str(out), "--encoder", encoder]) == 6
    assert open_volume(out / "good").tissue.all()
    with (out / "failures.csv").open(newline="", encoding="utf-8") as file:
        assert [Path(row["path"]).name for row in csv.DictReader(file)] == ["bad.png"]


def test_a_slide_without_tissue_is_no_failure(tmp_path: Path, encoder: str, capsys: pytest.CaptureFixture[str]) -> None:
    slide = saved(tmp_path / "glass.png", np.full((500, 500, 3), 243, np.uint8))
    words = ["compress", slide, "--out", str(tmp_path / "out"), "--encoder", encoder, "--mpp", "0.5"]
    assert main([*words, "--tissue-mask", "on"]) == 0
    told = capsys.readouterr()
    assert "glass: no tissue, so no cells" in told.out and "no tissue was found" in told.err


def test_what_is_wrong_with_the_question_is_said_before_any_work(
    tmp_path: Path, encoder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    slide, out = saved(tmp_path / "a.png", picture(64, 64)), tmp_path / "out"
    words = ["compress", slide, "--out", str(out), "--encoder", encoder, "--mpp", "0.5"]
    assert main([*words, "--to", "h5,csv"]) == 2
    assert main([*words, "--stride", "a mile"]) == 2
    assert main(["compress", "--out", str(out), "--encoder", encoder]) == 2
    assert not out.exists()
    assert main([*words[:-1], "1.0"]) == 3
    assert "--allow-upsampling" in capsys.readouterr().err
