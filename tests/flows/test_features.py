"""Features beside the objects: those of the encoder alone, whatever the tiles and the stops on the way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from geryon import events
from geryon.cli import main
from geryon.errors import InputError, UsageError
from geryon.events import Event, Warned
from geryon.flows import segment as story
from geryon.flows.compress import about_slide, compress_slide
from geryon.flows.compress_options import CompressOptions
from geryon.flows.plan import Cutting
from geryon.flows.segment import Options, segment, segment_slide
from geryon.flows.segment_all import segment_all
from geryon.flows.windowed import WindowCodes
from geryon.nets.cells import codes_of
from geryon.nets.encoder import Encoder, load_encoder
from geryon.nets.model import Model, cut, load_model
from geryon.nets.topologies import FEATURES
from geryon.slides.array import slide_of_image
from geryon.slides.reader import slide_of
from geryon.space.turns import TURNS, turned
from geryon.space.windows import Tiling
from geryon.store.features import NAME, Volume, open_volume
from geryon.store.run import RunRecord, read_run
from tests.flows.test_compress import Torn, contents
from tests.flows.world import make_world, oracle

CUTTING = Cutting(window_px=256, halo_px=64, tile_px=256)
MPP, CODE = 0.5, 152
SHAPE = 420, 600
"""Rows and columns: 4 x 5 cells in 2 x 3 windows."""


@pytest.fixture(scope="module")
def net() -> Model:
    return load_model("geryon-s", engine="cpu", tasks="tissue", features=True)


@pytest.fixture(scope="module")
def alone() -> Encoder:
    return load_encoder("geryon-s", engine="cpu")


def picture(height: int = SHAPE[0], width: int = SHAPE[1]) -> np.ndarray:
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 255, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def run(folder: Path, net: Model, cutting: Cutting = CUTTING, tell: Any = events.nobody, **more: Any) -> RunRecord:
    options = Options(features=True, cutting=cutting, **more)
    slide = slide_of_image(picture(), mpp=MPP, name="slide")
    return segment_slide(slide, net, folder, options=options, tell=tell)


def encoded(folder: Path, alone: Encoder, image: np.ndarray | None = None, **more: Any) -> Volume:
    slide = slide_of_image(picture() if image is None else image, mpp=MPP, name="slide")
    return compress_slide(slide, alone, folder, options=CompressOptions(windows=CUTTING.window, **more))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, net: Model) -> dict[str, bytes]:
    """What an uninterrupted run leaves, but for run.json."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, net)
    return files(folder)


def files(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if name != "run.json"}


def test_both_commands_write_the_same_bytes(tmp_path: Path, whole: dict[str, bytes], alone: Encoder) -> None:
    encoded(tmp_path, alone)
    volumes = {name: data for name, data in whole.items() if name.startswith(NAME)}
    assert volumes and contents(tmp_path) == volumes


def test_each_code_is_the_mean_of_what_the_encoder_sees(tmp_path: Path, net: Model) -> None:
    record = run(tmp_path, net)
    assert record.files["features"] == NAME and read_run(tmp_path).files["features"] == NAME
    volume = open_volume(tmp_path)
    assert (volume.rows, volume.columns, volume.code) == (4, 5, CODE) and volume.tissue.all()
    assert np.array_equal(volume.edge, np.array([[r == 3 or c == 4 for c in range(5)] for r in range(4)]))
    about = volume.about
    assert (about.encoder, about.encoder_sha256, about.mpp) == ("geryon-s", net.sha256, MPP)
    assert about.patch_um == about.stride_um == 64.0
    frame = slide_of_image(picture(), mpp=MPP).frame.at(MPP)
    window = Tiling(frame=frame, step=256, cell=64).window(1, 2, 64)
    [maps] = net.maps([cut(picture(), window.outer)], [window.outer])
    want = codes_of(maps[FEATURES.name], window)
    found = volume.crop(2, 4, *want.shape[:2])
    assert np.allclose(found, want, rtol=2e-3, atol=2e-3) and np.abs(found).max() > 0.1


def test_smaller_cells_are_the_parts_of_a_cell(tmp_path: Path, alone: Encoder) -> None:
    wide, fine = encoded(tmp_path / "wide", alone), encoded(tmp_path / "fine", alone, stride="32um")
    assert (fine.rows, fine.columns, fine.about.patch_um, fine.about.stride_um) == (7, 10, 32.0, 32.0)
    parts = fine.crop(0, 0, 6, 8).reshape(3, 2, 4, 2, CODE)
    assert np.allclose(parts.mean(axis=(1, 3)), wide.crop(0, 0, 3, 4), rtol=2e-3, atol=2e-3)
    assert parts.std(axis=(1, 3)).max() > 0.1
    assert encoded(tmp_path / "pixels", alone, stride="64px").about.question == fine.about.question


@pytest.mark.parametrize("mpp", [0.46, 0.499, 0.5054])
def test_a_stride_in_micrometres_is_whole_steps_on_any_grid(mpp: float, alone: Encoder) -> None:
    slide = slide_of_image(picture(), mpp=mpp, name="slide")
    about = about_slide(slide, alone, CompressOptions(stride="32um"))
    assert about.mpp == mpp and about.stride_um == about.patch_um == pytest.approx(64 * mpp)


@pytest.mark.parametrize("tile", [320, 1024])
def test_tiles_change_nothing(tmp_path: Path, net: Model, whole: dict[str, bytes], tile: int) -> None:
    run(tmp_path, net, replace(CUTTING, tile_px=tile))
    assert files(tmp_path) == whole


def test_objects_are_those_of_a_run_without(tmp_path: Path, whole: dict[str, bytes]) -> None:
    plain = load_model("geryon-s", engine="cpu", tasks="tissue")
    slide = slide_of_image(picture(), mpp=MPP, name="slide")
    segment_slide(slide, plain, tmp_path, options=Options(cutting=CUTTING), tell=events.nobody)
    assert files(tmp_path) == {name: data for name, data in whole.items() if not name.startswith(NAME)}


@pytest.mark.parametrize("after", [1, 4])
def test_a_stopped_run_goes_on_and_gives_the_same_bytes(
    tmp_path: Path, net: Model, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    kept, seen = WindowCodes.keep, []

    def stopping(self: WindowCodes, cell: tuple[int, int], *more: Any) -> None:
        if len(seen) == after:
            raise KeyboardInterrupt
        seen.append(cell)
        kept(self, cell, *more)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(WindowCodes, "keep", stopping)
        run(tmp_path, net)
    assert not (tmp_path / NAME).exists() and not (tmp_path / "run.json").exists()
    again: list[tuple[int, int]] = []
    monkeypatch.setattr(WindowCodes, "keep", lambda self, cell, *more: (again.append(cell), kept(self, cell, *more)))
    run(tmp_path, net)
    assert files(tmp_path) == whole and len(again) == 6 - after and not set(again) & set(seen)


def test_stopped_behind_the_volume_it_is_not_made_again(
    tmp_path: Path, net: Model, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(story, "write_results", interrupted)
        run(tmp_path, net)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / NAME).rglob("*")}
    run(tmp_path, net)
    assert files(tmp_path) == whole
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / NAME).rglob("*")} == before


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "slide.png"
    cv2.imwrite(str(path), picture())
    return path


def test_a_finished_slide_gets_features_by_the_encoder_alone(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(mpp=MPP, engine="cpu", cutting=CUTTING)
    [record] = segment_all([file], out=tmp_path / "out", tasks="tissue", options=options)
    assert "features" not in record.files
    before = files(tmp_path / "out" / "slide")
    monkeypatch.setattr(story, "segment_slide", lambda *_, **__: pytest.fail("objects are looked for again"))
    asked = replace(options, features=True)
    record = segment(file, out=tmp_path / "out", tasks="tissue", options=asked)
    assert record.files["features"] == NAME and record.seconds["features"] > 0
    after = files(tmp_path / "out" / "slide")
    made = {name for name in after if name.startswith(NAME)}
    assert made and {name: data for name, data in after.items() if name not in made} == before
    monkeypatch.undo()
    segment(file, out=tmp_path / "fresh", tasks="tissue", options=asked)
    assert files(tmp_path / "fresh" / "slide") == after
    # and what somebody deleted comes back, and nothing else is touched
    for path in sorted((tmp_path / "out" / "slide" / NAME).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    (tmp_path / "out" / "slide" / NAME).rmdir()
    segment(file, out=tmp_path / "out", tasks="tissue", options=asked)
    assert files(tmp_path / "out" / "slide") == after


def test_compress_finds_the_volume_of_segment_done(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(file), "--out", str(tmp_path / "out"), "--mpp", "0.5", "--engine", "cpu", "--quiet"]
    assert main(["segment", *given, "--features", "--tasks", "tissue"]) == 0
    volume = open_volume(tmp_path / "out" / "slide")
    assert volume.tissue.all() and volume.code == CODE
    monkeypatch.setattr("geryon.flows.compress.plan_cells", lambda *_: pytest.fail("the slide is looked at again"))
    assert main(["compress", *given, "--encoder", "geryon-s"]) == 0
    assert main(["compress", *given, "--encoder", "geryon-s", "--normalise", "macenko"]) == 2
    assert "another stain normalisation" in capsys.readouterr().err


def test_another_volume_is_not_touched(tmp_path: Path, net: Model, alone: Encoder) -> None:
    encoded(tmp_path, alone, dtype="int8")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=r"another kind of numbers.*delete features\.zarr"):
        run(tmp_path, net)
    assert contents(tmp_path) == before


def test_a_stain_made_alike_is_another_volume_and_the_same_from_both(
    tmp_path: Path, net: Model, alone: Encoder
) -> None:
    run(tmp_path / "a", net, normalise="reinhard")
    with pytest.raises(UsageError, match="another stain normalisation"):
        encoded(tmp_path / "a", alone)
    encoded(tmp_path / "b", alone, normalise="reinhard")
    made = {name: data for name, data in files(tmp_path / "a").items() if name.startswith(NAME)}
    assert contents(tmp_path / "b") == made


def test_only_tissue_is_encoded_and_none_is_no_fault(tmp_path: Path, net: Model, alone: Encoder) -> None:
    mask = np.zeros((42, 60), np.uint8)
    mask[2:10, 2:20] = 255
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    run(tmp_path / "a", net, mask=tmp_path / "mask.png")
    volume = open_volume(tmp_path / "a")
    assert np.argwhere(volume.tissue).tolist() == [[0, 0], [0, 1]]
    assert not volume.crop(1, 0, 3, 5).any()
    cv2.imwrite(str(tmp_path / "mask.png"), np.zeros_like(mask))
    run(tmp_path / "none", net, mask=tmp_path / "mask.png")
    assert not open_volume(tmp_path / "none").tissue.any() and read_run(tmp_path / "none").files["features"] == NAME


@pytest.mark.parametrize("turn", [1, 6])
def test_eight_turns_are_those_of_the_turned_windows(tmp_path: Path, alone: Encoder, turn: int) -> None:
    image = picture(256, 256)
    volume = encoded(tmp_path / "a", alone, image, turns="eight")
    other = encoded(tmp_path / "b", alone, np.ascontiguousarray(turned(image, turn)))
    assert np.allclose(volume.crop(0, 0, 2, 2, turn), other.crop(0, 0, 2, 2), atol=0.01)
    eight = np.stack([volume.bag(k)[0] for k in range(TURNS)])
    assert np.abs(eight[0] - eight[turn]).max() > 0.1
    mean = encoded(tmp_path / "mean", alone, image, turns="mean")
    assert np.allclose(mean.bag()[0], eight.mean(axis=0), atol=0.02)


def test_a_damaged_place_costs_its_cells_in_both(
    tmp_path: Path, net: Model, alone: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    slide = slide_of(Torn(picture()), name="slide", path=None, mpp=MPP, reader="image")
    told: list[Event] = []
    options = Options(features=True, cutting=CUTTING)
    segment_slide(slide, net, tmp_path / "a", options=options, tell=told.append)
    volume = open_volume(tmp_path / "a")
    lost = np.zeros((4, 5), bool)
    lost[1, 1] = True  # blocks of 128 pixels, as the cells are
    assert np.array_equal(volume.tissue, ~lost)
    assert volume.about.warnings == ("1 cells could not be read, and hold no code: row 1, column 1",)
    assert any("can't be read" in e.text for e in told if isinstance(e, Warned))
    compress_slide(slide, alone, tmp_path / "b", options=CompressOptions(windows=CUTTING.window))
    made = {name: data for name, data in files(tmp_path / "a").items() if name.startswith(NAME)}
    assert contents(tmp_path / "b") == made
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("geryon.flows.compress.write_volume", _interrupted)
        compress_slide(slide, alone, tmp_path / "c", options=CompressOptions(windows=CUTTING.window))
    assert encoded(tmp_path / "c", alone).tissue.all(), "what could not be read is tried again"


def _interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_what_can_t_be_is_said_before_anything_is_done(tmp_path: Path, alone: Encoder, file: Path) -> None:
    plain = load_model("geryon-s", engine="cpu", tasks="tissue")
    with pytest.raises(UsageError, match=r"loaded without its features.*features=True"):
        segment(file, out=tmp_path / "out", model=plain, options=Options(mpp=MPP, features=True))
    for options, what in (
        (CompressOptions(stride="24um"), "a stride of 48 px .*ask for a stride such as 64px"),
        (CompressOptions(stride="48um"), "a stride of 96 px .*fill windows of 1024 px.*ask for a stride"),
        (CompressOptions(is_legacy=True), "the rules of the published code; leave --legacy out, or take"),
        (CompressOptions(stride="24um", is_legacy=True), "48 px .* or the rules .*such as .* and leave --legacy"),
    ):
        with pytest.raises(UsageError, match=f"geryon-s.*own encoder can't have.*{what}"):
            compress_slide(slide_of_image(picture(), mpp=MPP), alone, tmp_path / "out", options=options)
    with pytest.raises(UsageError, match="windows of 192 px"):
        run(tmp_path / "out", plain_with_features(), replace(CUTTING, window_px=192))
    assert not (tmp_path / "out").exists()
    world = make_world(200, 200)
    with pytest.raises(UsageError, match="without its features"):
        segment(file, out=tmp_path / "out", model=oracle(world), options=Options(mpp=MPP, features=True))


def plain_with_features() -> Model:
    return load_model("geryon-s", engine="cpu", tasks="tissue", features=True)


def test_a_coarse_slide_is_refused_by_compress_and_not_by_segment(tmp_path: Path, net: Model, alone: Encoder) -> None:
    """Objects are looked for at any resolution; the volume says what was done."""
    slide = slide_of_image(picture(200, 200), mpp=0.8, name="slide")
    with pytest.raises(InputError, match="finest pixels are 0.8 µm"):
        compress_slide(slide, alone, tmp_path, options=CompressOptions())
    segment_slide(slide, net, tmp_path, options=Options(features=True, cutting=CUTTING), tell=events.nobody)
    assert "interpolated" in open_volume(tmp_path).about.warnings[0]
    assert json.loads((tmp_path / "run.json").read_text())["files"]["features"] == NAME
