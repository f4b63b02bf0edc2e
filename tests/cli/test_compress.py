"""geryon compress as a user calls it: what is said, what is written, and the exit code."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from geryon.cli import main
from geryon.store.features import NAME, open_volume
from tests.flows.small_encoder import saved_encoder
from tests.flows.test_compress import picture

PATCH = {"class_name": "Flatten", "config": {"name": "f", "batch_input_shape": [None, 64, 64, 3]}}
"""A layer that takes what the papers' encoders take."""
SWIRL = {"class_name": "Swirl", "config": {"name": "s"}}


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


def test_of_slides_named_one_by_one_a_bad_one_costs_itself(tmp_path: Path, encoder: str) -> None:
    good, bad, out = saved(tmp_path / "good.png", picture(64, 64)), tmp_path / "bad.png", tmp_path / "out"
    bad.write_bytes(Path(good).read_bytes()[:200])
    words = ["--out", str(out), "--encoder", encoder, "--mpp", "0.5"]
    assert main(["compress", str(bad), good, *words]) == 6
    assert open_volume(out / "good").tissue.all() and not (out / "bad" / NAME).exists()
    with (out / "failures.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert (Path(row["path"]).name, row["exit_code"]) == ("bad.png", "3")
    saved(bad, picture(64, 64))
    assert main(["compress", str(bad), good, *words]) == 0 and not (out / "failures.csv").exists()


@pytest.fixture
def full_disk() -> Iterator[None]:
    """No file of this process may grow, as on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("how", ["full", "no folder"])
def test_a_disk_that_takes_nothing_is_a_fault_of_the_machine(
    tmp_path: Path, encoder: str, capsys: pytest.CaptureFixture[str], how: str, request: pytest.FixtureRequest
) -> None:
    slides, out = [saved(tmp_path / f"{name}.png", picture(64, 64)) for name in "ab"], tmp_path / "out"
    if how == "no folder":
        out.write_bytes(b"")
    else:
        request.getfixturevalue("full_disk")
    assert main(["compress", *slides, "--out", str(out), "--encoder", encoder, "--mpp", "0.5"]) == 5
    assert str(out) in capsys.readouterr().err
    assert not (out / "a" / NAME).exists() and not (out / "b").exists()  # nothing more was tried


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


def test_one_mask_is_not_that_of_several_slides(
    tmp_path: Path, encoder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    slides, out = [saved(tmp_path / f"{name}.png", picture(64, 64)) for name in "ab"], tmp_path / "out"
    mask = saved(tmp_path / "mask.png", np.ones((64, 64), np.uint8))
    words = ["--out", str(out), "--mask", mask, "--mpp", "0.5"]
    assert main(["compress", *slides, *words, "--encoder", encoder]) == 2
    assert "one mask can't be that of 2 slides" in capsys.readouterr().err
    assert main(["segment", *slides, *words]) == 2 and not out.exists()
    table = tmp_path / "slides.csv"
    table.write_text(f"slide,mask\n{slides[0]},\n{slides[1]},{mask}\n")
    assert main(["compress", "--table", str(table), *words, "--encoder", encoder]) == 0


def test_a_mask_of_another_slide_is_told_before_any_work(
    tmp_path: Path, encoder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    image = np.full((600, 600, 3), 240, np.uint8)
    image[350:500, 350:500] = (160, 110, 190)
    mask = np.zeros((60, 60), np.uint8)
    mask[5:20, 5:20] = 255
    slide, drawn, out = saved(tmp_path / "a.png", image), saved(tmp_path / "m.png", mask), tmp_path / "out"
    words = ["compress", slide, "--out", str(out), "--mpp", "0.5", "--mask", drawn, "--encoder", encoder]
    assert main([*words, "--tissue-mask", "on"]) == 3  # asked for, since the slide is below 4 mm²
    assert "only 0% of the mask lies on the tissue" in capsys.readouterr().err
    assert not out.exists()
    assert main([*words, "--tissue-mask", "off"]) == 0


def test_a_mask_that_is_not_there_costs_its_slide(
    tmp_path: Path, encoder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    slides, out = [saved(tmp_path / f"{name}.png", picture(64, 64)) for name in "ab"], tmp_path / "out"
    words = ["--out", str(out), "--encoder", encoder, "--mpp", "0.5"]
    assert main(["compress", slides[0], *words, "--mask", str(tmp_path / "absent.png")]) == 3
    assert "absent.png: can't be read: No such file" in capsys.readouterr().err and not out.exists()
    table = tmp_path / "slides.csv"
    table.write_text(f"slide,mask\n{slides[0]},absent.png\n{slides[1]},\n")
    assert main(["compress", "--table", str(table), *words]) == 6
    assert "absent.png" in (out / "failures.csv").read_text() and open_volume(out / "b").tissue.all()


def test_masks_of_0_and_1_and_of_0_and_255_are_alike_and_one_of_another_shape_is_refused(
    tmp_path: Path, encoder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    slide, drawn = saved(tmp_path / "a.png", picture(128, 128)), np.triu(np.ones((64, 64), np.uint8))
    found = []
    for factor in (1, 255):
        mask, out = saved(tmp_path / f"{factor}.png", drawn * factor), tmp_path / f"out {factor}"
        assert main(["compress", slide, "--out", str(out), "--encoder", encoder, "--mpp", "0.5", "--mask", mask]) == 0
        found.append(open_volume(out / "a"))
    assert 0 < found[0].tissue.sum() < found[0].tissue.size and np.array_equal(found[0].tissue, found[1].tissue)
    assert np.array_equal(found[0].bag()[0], found[1].bag()[0])
    mask, out = saved(tmp_path / "wide.png", drawn[:32]), tmp_path / "refused"
    assert main(["compress", slide, "--out", str(out), "--encoder", encoder, "--mpp", "0.5", "--mask", mask]) == 3
    assert "the mask is 64 x 32, the slide 128 x 128 px: not of one shape" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("described", "said"),
    [
        (
            {"class_name": "Sequential", "config": [PATCH, {"class_name": "Swirl", "config": {"name": "s"}}]},
            "Swirl (s)",
        ),
        ({"class_name": "Sequential", "config": {"foo": 1}}, "its network is not described as Keras 2 does it"),
        (None, "is HDF5, but no Keras model"),
    ],
)
def test_a_file_of_keras_that_is_no_encoder_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], described: object, said: str
) -> None:
    h5py = pytest.importorskip("h5py")
    slide, out = saved(tmp_path / "a.png", picture(64, 64)), tmp_path / "out"
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file.attrs.update({} if described is None else {"model_config": json.dumps(described)})
    assert main(["compress", slide, "--out", str(out), "--encoder", str(tmp_path / "e.h5"), "--mpp", "0.5"]) == 3
    assert said in capsys.readouterr().err and not out.exists()
