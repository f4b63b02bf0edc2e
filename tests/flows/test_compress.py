"""Compress: each cell's code is that of its patch, whatever the cutting, the turns, and the stops on the way."""

from __future__ import annotations

import errno
import hashlib
import signal
import subprocess
import sys
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from geryon.errors import InputError, MachineError, UsageError
from geryon.events import Advanced, Event, Warned, nobody
from geryon.flows import cells as cells_of_slide
from geryon.flows import encode, tiled
from geryon.flows.compress import PARTS, compress, compress_slide
from geryon.flows.compress_options import CompressOptions
from geryon.nets.encoder import Encoder
from geryon.slides.array import ArrayReader, slide_of_image
from geryon.slides.reader import Slide, slide_of
from geryon.space.turns import TURNS, turned
from geryon.store.features import NAME, Volume, open_volume
from geryon.store.parts import Parts
from tests.conftest import ROOT
from tests.flows.small_encoder import CODE, MPP, PATCH_PX, saved_encoder, small_encoder

DENSE = CompressOptions(stride="4px")
"""Many cells, so that there are several tiles."""


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return small_encoder(tmp_path_factory.mktemp("encoder"))


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 255, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def run(
    folder: Path, net: Encoder, image: np.ndarray, options: CompressOptions | None = None, tell: Any = nobody
) -> Volume:
    slide = slide_of_image(image, mpp=MPP, name="slide")
    return compress_slide(slide, net, folder, options=options or CompressOptions(), tell=tell)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def patches(image: np.ndarray, stride: int) -> np.ndarray:
    """uint8 [row, column, y, x, 3], white beyond the slide."""
    rows, columns = (-(-n // stride) for n in image.shape[:2])
    size = (rows - 1) * stride + PATCH_PX, (columns - 1) * stride + PATCH_PX
    padded = np.full((*(max(a, b) for a, b in zip(size, image.shape[:2], strict=True)), 3), 255, np.uint8)
    padded[: image.shape[0], : image.shape[1]] = image
    cut = np.lib.stride_tricks.sliding_window_view(padded, (PATCH_PX, PATCH_PX), axis=(0, 1))[::stride, ::stride]
    return np.moveaxis(cut[:rows, :columns], 2, -1)


@pytest.mark.parametrize("stride", [16, 32, 50])
def test_each_code_is_that_of_the_patch(tmp_path: Path, net: Encoder, stride: int) -> None:
    image = picture(250, 311)
    volume = run(tmp_path, net, image, CompressOptions(stride=f"{stride * MPP:g}um"))
    cut = patches(image, stride)
    assert (volume.rows, volume.columns) == cut.shape[:2] and volume.tissue.all()
    want = net(cut.reshape(-1, PATCH_PX, PATCH_PX, 3)).reshape(*cut.shape[:2], CODE)
    assert np.allclose(volume.crop(0, 0, *cut.shape[:2]), want, atol=1e-3, rtol=1e-3)
    past = [np.arange(n) * stride + PATCH_PX > size for n, size in zip(cut.shape[:2], image.shape[:2], strict=True)]
    assert np.array_equal(volume.edge, past[0][:, None] | past[1])
    about = volume.about
    assert (about.mpp, about.patch_um, about.stride_um) == (MPP, PATCH_PX * MPP, stride * MPP)
    assert (about.encoder, about.encoder_sha256, about.mpp_source) == (net.name, net.sha256, "given")
    assert about.precision == net.precision == "float32"


def test_blocks_change_nothing(tmp_path: Path, net: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(300, 340)
    whole = run(tmp_path / "whole", net, image, DENSE)
    monkeypatch.setattr(cells_of_slide, "BLOCK_PX", 40)
    cut = run(tmp_path / "cut", net, image, DENSE)
    assert np.allclose(cut.bag()[0], whole.bag()[0], atol=2e-3) and np.array_equal(cut.tissue, whole.tissue)


def test_an_encoder_that_slides_gives_the_codes_of_its_patches(
    tmp_path: Path, net: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where patches overlap by what its layers step by; patches that stand alone are encoded one by one."""
    image, calls = picture(420, 380), []
    mask = np.zeros((420, 380), np.uint8)
    mask[:300, :300], mask[400:402, 10:12], mask[350:352, 360:362] = 1, 1, 1
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    assert net.dense_stride_px == 8
    dense = type(net).dense
    monkeypatch.setattr(type(net), "dense", lambda self, *args: calls.append(1) or dense(self, *args))
    monkeypatch.setattr(encode, "SLID_PX", 128)
    for turns in ("one", "eight", "mean"):
        given = CompressOptions(mask=tmp_path / "mask.png", least_tissue=0.0, turns=turns, stride="16px")
        slid = run(tmp_path / f"{turns} slid", net, image, given)
        assert calls
        with monkeypatch.context() as patch:
            patch.setattr(encode, "_slides", lambda *_: False)
            calls.clear()
            plain = run(tmp_path / turns, net, image, given)
            assert not calls
        assert np.array_equal(slid.tissue, plain.tissue)
        for k in range(TURNS):
            assert np.allclose(slid.bag(k)[0], plain.bag(k)[0], atol=2e-3)


@pytest.mark.parametrize("turn", range(TURNS))
def test_the_volume_of_a_turned_slide_is_the_turned_crop(tmp_path: Path, net: Encoder, turn: int) -> None:
    image = picture(5 * PATCH_PX, 3 * PATCH_PX)
    volume = run(tmp_path / "as it is", net, image, CompressOptions(turns="eight"))
    other = run(tmp_path / "turned", net, np.ascontiguousarray(turned(image, turn)))
    crop = volume.crop(0, 0, 5, 3, turn)
    assert np.allclose(other.crop(0, 0, other.rows, other.columns), crop, atol=2e-3)
    mean = run(tmp_path / "mean", net, image, CompressOptions(turns="mean"))
    eight = np.stack([volume.bag(k)[0] for k in range(TURNS)])
    assert np.allclose(mean.bag()[0], eight.mean(axis=0), atol=2e-3)
    assert np.abs(eight[0] - eight[1:]).max(axis=(1, 2)).min() > 0.01  # so that the turn is seen


def test_eight_bits_are_near(tmp_path: Path, net: Encoder) -> None:
    image = picture(150, 150)
    half, eighth = (run(tmp_path / d, net, image, CompressOptions(dtype=d)) for d in ("float16", "int8"))
    a, b = half.bag()[0], eighth.bag()[0]
    assert np.abs(a - b).max() <= np.abs(a).max() / 127
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosine.min() > 0.999


def test_only_cells_with_tissue_are_encoded(tmp_path: Path, net: Encoder) -> None:
    image = picture(320, 320)
    mask = np.zeros((80, 80), np.uint8)
    mask[10:30, 10:40] = 1
    mask[41, 41] = 1
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    given = CompressOptions(mask=tmp_path / "mask.png")
    shares = cv2.resize(mask.astype(np.float64), (10, 10), interpolation=cv2.INTER_AREA)
    for least in (0.0, 0.05, 0.3, 0.6):
        volume = run(tmp_path / f"{least}", net, image, replace(given, least_tissue=least))
        assert np.array_equal(volume.tissue, shares > least)
    assert np.array_equal(run(tmp_path / "default", net, image, given).tissue, shares > 0.05)


def test_a_slide_without_tissue_is_done_and_says_so(tmp_path: Path, net: Encoder) -> None:
    told: list[Event] = []
    glass = np.full((4200, 4200, 3), 243, np.uint8)
    volume = run(tmp_path, net, glass, tell=told.append)
    assert not volume.tissue.any() and volume.code == CODE and volume.bag()[0].shape == (0, CODE)
    assert [e.text for e in told if isinstance(e, Warned)] == [
        "slide: no tissue was found, so that the volume holds no code"
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, net: Encoder) -> tuple[np.ndarray, dict[str, bytes]]:
    """A picture of several tiles, and what its folder holds in the end."""
    image = picture(300, 560)
    folder = tmp_path_factory.mktemp("whole")
    run(folder, net, image, DENSE)
    return image, contents(folder)


@pytest.mark.parametrize("after", [1, 3, 6])
def test_a_stopped_run_goes_on_and_gives_the_same_bytes(tmp_path: Path, net: Encoder, whole: Any, after: int) -> None:
    image, want = whole
    heard: list[Advanced] = []

    def stopping(event: Event) -> None:
        if isinstance(event, Advanced):
            heard.append(event)
            if len(heard) == after:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, net, image, DENSE, stopping)
    assert not (tmp_path / NAME).exists() and (tmp_path / PARTS).is_dir()
    again: list[Event] = []
    run(tmp_path, net, image, DENSE, again.append)
    assert contents(tmp_path) == want
    if after > 1:
        assert sum(e.n for e in again if isinstance(e, Advanced)) < open_volume(tmp_path).tissue.sum()


KILLED = """
import os, signal, sys
from pathlib import Path
import geryon.atomic
from tests.flows.small_encoder import small_encoder
from tests.flows.test_compress import DENSE, picture, run

def deadly(path, real=geryon.atomic._sync):
    os.kill(os.getpid(), signal.SIGKILL) if path.name == "zarr.json" else real(path)

geryon.atomic._sync = deadly
run(Path(sys.argv[1]), small_encoder(Path(sys.argv[2])), picture(300, 560), DENSE)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_while_writing_a_repeat_gives_the_same(tmp_path: Path, net: Encoder, whole: Any) -> None:
    out = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(out), str(tmp_path)], cwd=ROOT, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not (out / NAME).exists() and (out / PARTS / "lock").is_file() and list(out.glob(".*.writing"))
    with pytest.raises(InputError, match="no such volume"):
        open_volume(out)
    run(out, net, whole[0], DENSE)
    assert contents(out) == whole[1]


def test_stopped_after_the_last_line_but_one_it_is_whole(
    tmp_path: Path, net: Encoder, whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Parts, "finish", interrupted)
        run(tmp_path, net, whole[0], DENSE)
    assert (tmp_path / PARTS).is_dir()
    run(tmp_path, net, whole[0], DENSE)
    assert contents(tmp_path) == whole[1]


def test_a_full_disk_keeps_what_was_finished(
    tmp_path: Path, net: Encoder, whole: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Parts.keep

    def full(self: Parts, name: str, sections: Any) -> None:
        if name == "tile-00064-00064":
            raise MachineError(what="writing failed: No space left on device", where=name)
        kept(self, name, sections)

    monkeypatch.setattr(Parts, "keep", full)
    with pytest.raises(MachineError, match="No space left"):
        run(tmp_path, net, whole[0], DENSE)
    monkeypatch.undo()

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("geryon.store.features._place", no_space)
    with pytest.raises(MachineError, match="free some space"):
        run(tmp_path, net, whole[0], DENSE)
    assert {p.name for p in tmp_path.iterdir()} == {PARTS}
    monkeypatch.undo()
    monkeypatch.setattr(tiled, "encode", lambda *_: pytest.fail("all cells were encoded before"))
    run(tmp_path, net, whole[0], DENSE)
    assert contents(tmp_path) == whole[1]


def test_two_processes_do_not_work_on_one_slide(tmp_path: Path, net: Encoder) -> None:
    with Parts(tmp_path, key="", name=PARTS), pytest.raises(MachineError, match="is working on this slide"):
        run(tmp_path, net, picture(100, 100))


def test_a_finished_volume_is_never_made_again(tmp_path: Path, net: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(100, 100)
    made = run(tmp_path, net, image)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    monkeypatch.setattr("geryon.flows.compress.plan_cells", lambda *_: pytest.fail("the slide is looked at again"))
    again = run(tmp_path, net, image)
    assert again.about == made.about and {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (CompressOptions(stride="8um"), "patch, stride"),
        (CompressOptions(turns="mean"), "turns"),
        (CompressOptions(dtype="int8"), "kind of numbers"),
        (CompressOptions(least_tissue=0.5), "mask"),
        (CompressOptions(use_mask=True, is_legacy=True), "rule"),
    ],
)
def test_other_settings_for_a_finished_volume_are_refused(
    tmp_path: Path, net: Encoder, options: CompressOptions, what: str
) -> None:
    image = picture(100, 100)
    run(tmp_path, net, image)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=f"another .*{what}.*another --out"):
        run(tmp_path, net, image, options)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("first", "same"),
    [
        (CompressOptions(), CompressOptions(stride="16um", patch="32px", allow_upsampling=True)),
        (CompressOptions(stride="8um"), CompressOptions(stride="16px", patch="16um")),
        (CompressOptions(stride="8.1um"), CompressOptions(stride="8um")),  # the same whole pixels
    ],
)
def test_the_same_asked_in_other_words_is_the_same_question(
    tmp_path: Path, net: Encoder, first: CompressOptions, same: CompressOptions
) -> None:
    image = picture(100, 100)
    made = run(tmp_path, net, image, first)
    before = contents(tmp_path)
    assert run(tmp_path, net, image, same).about == made.about and contents(tmp_path) == before
    with pytest.raises(UsageError, match="another patch, stride or resolution"):
        run(tmp_path, net, image, replace(same, patch="64px"))


def test_volumes_made_by_the_defaults_keep_their_question(net: Encoder) -> None:
    asked = CompressOptions().question(net, MPP, is_made_up=False)
    assert asked["patches"] == hashlib.sha256(b'[0.5, "", false]').hexdigest()


def test_another_encoder_or_slide_is_refused_by_name(tmp_path: Path, net: Encoder) -> None:
    image = picture(100, 100)
    cv2.imwrite(str(tmp_path / "slide.png"), image)
    given = CompressOptions(mpp=MPP)
    compress(tmp_path / "slide.png", out=tmp_path / "out", encoder=net, options=given)
    other = saved_encoder(tmp_path, seed=1)
    with pytest.raises(UsageError, match=r"another encoder \(made by small-0\)"):
        compress(tmp_path / "slide.png", out=tmp_path / "out", encoder=other, options=given)
    cv2.imwrite(str(tmp_path / "slide.png"), image[:90])
    with pytest.raises(UsageError, match="another slide"):
        compress(tmp_path / "slide.png", out=tmp_path / "out", encoder=net, options=given)


class Plain(ArrayReader):
    """A slide of any size that is made where it is read."""

    def __init__(self, side: int) -> None:
        object.__setattr__(self, "image", np.broadcast_to(np.uint8(120), (side, side, 3)))


def test_memory_does_not_follow_the_slide(tmp_path: Path, net: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells_of_slide, "BLOCK_PX", 512)
    peaks = {}
    for side in (1536, 1536, 4608):  # the first one warms up
        slide = slide_of(Plain(side), name="slide", path=None, mpp=MPP, reader="image")
        tracemalloc.start()
        volume = compress_slide(slide, net, tmp_path / f"{side}-{len(peaks)}", options=CompressOptions(use_mask=False))
        peaks[side] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert volume.tissue.sum() == (side // PATCH_PX) ** 2
    assert peaks[4608] < 1.3 * peaks[1536] < 40e6


class Torn(ArrayReader):
    """A picture of which a part can't be decoded."""

    def read(self, level: int, box: tuple[int, int, int, int]) -> np.ndarray:
        x0, y0, x1, y1 = box
        left, top, right, bottom = TORN
        if x0 < right and x1 > left and y0 < bottom and y1 > top:
            raise InputError(what="a tile is damaged", where="torn.tiff", mend="copy it anew")
        return super().read(level, box)


TORN = (130, 130, 200, 140)


def torn(image: np.ndarray) -> Slide:
    return slide_of(Torn(image), name="slide", path=None, mpp=MPP, reader="image")


def test_a_damaged_place_costs_its_cells_and_is_told(tmp_path: Path, net: Encoder) -> None:
    image = picture(400, 400)
    told: list[Event] = []
    volume = compress_slide(torn(image), net, tmp_path / "torn", options=CompressOptions(), tell=told.append)
    sound = run(tmp_path / "sound", net, image)
    lost = np.zeros((13, 13), bool)
    lost[4:8, 4:8] = True  # blocks of 128 pixels, and patches of 32
    assert np.array_equal(volume.tissue, ~lost)
    assert np.array_equal(volume.crop(0, 0, 13, 13)[~lost], sound.crop(0, 0, 13, 13)[~lost])
    assert any(
        "16 cells can't be read" in e.text and "a tile is damaged" in e.text for e in told if isinstance(e, Warned)
    )
    assert volume.about.warnings[0].startswith("16 cells could not be read, and hold no code: row 4, column 4;")


def test_what_could_not_be_read_is_tried_again(tmp_path: Path, net: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(400, 400)
    run(tmp_path / "sound", net, image)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("geryon.flows.compress.write_volume", interrupted)
        compress_slide(torn(image), net, tmp_path / "cut", options=CompressOptions())
    run(tmp_path / "cut", net, image)
    assert contents(tmp_path / "cut") == contents(tmp_path / "sound")


def interrupted(*args: object, **named: object) -> None:
    raise KeyboardInterrupt


def test_a_slide_that_can_t_be_read_at_all_is_an_error(
    tmp_path: Path, net: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "TORN", (0, 0, 400, 400))
    with pytest.raises(InputError, match="none of its 16 cells could be read"):
        compress_slide(torn(picture(128, 128)), net, tmp_path, options=CompressOptions())
    assert not (tmp_path / NAME).exists()


def test_a_slide_that_is_too_coarse_is_refused_with_what_would_mend_it(tmp_path: Path, net: Encoder) -> None:
    slide = slide_of_image(picture(100, 100), mpp=0.8)
    with pytest.raises(InputError, match=r"finest pixels are 0.8 µm.*--patch 25.6um.*--allow-upsampling"):
        compress_slide(slide, net, tmp_path, options=CompressOptions())
    assert list(tmp_path.iterdir()) == []
    finer = compress_slide(slide, net, tmp_path / "up", options=CompressOptions(allow_upsampling=True))
    assert finer.about.mpp == MPP and "interpolated" in finer.about.warnings[0]
    larger = compress_slide(slide, net, tmp_path / "larger", options=CompressOptions(patch="25.6um"))
    assert larger.about.mpp == 0.8 and larger.about.patch_um == 25.6 and "learnt at 0.5" in larger.about.warnings[0]


def test_a_resolution_near_the_one_asked_is_used_and_said(tmp_path: Path, net: Encoder) -> None:
    """A whole-number downsample of the slide within a tenth: nothing is interpolated."""
    volume = compress_slide(
        slide_of_image(picture(300, 300), mpp=0.26), net, tmp_path, options=CompressOptions(stride="8um")
    )
    assert volume.about.mpp == 0.52 and volume.about.patch_um == pytest.approx(32 * 0.52)
    assert volume.about.stride_um == pytest.approx(15 * 0.52)


def test_all_faults_of_the_settings_at_once() -> None:
    with pytest.raises(
        UsageError, match=r"no patch '3 miles', and no turns 'nine'.*, and no dtype 'int4'.*least tissue 2"
    ):
        CompressOptions(patch="3 miles", turns="nine", dtype="int4", least_tissue=2)


class Huge:
    """An engine whose codes are larger than a float16."""

    name, lanes, batch, precision, dense_stride_px = "huge", 1, 16, "float32", None

    def codes(self, patches: np.ndarray) -> np.ndarray:
        return np.full((len(patches), CODE), 1e5, np.float32)


def test_codes_that_no_volume_holds_are_refused(tmp_path: Path, net: Encoder) -> None:
    huge = replace(net, document=replace(net.document, name="huge"), engine=Huge())
    with pytest.raises(InputError, match="huge: gives numbers above 65504"):
        run(tmp_path, huge, picture(64, 64))
    assert run(tmp_path / "int8", huge, picture(64, 64), CompressOptions(dtype="int8")).tissue.all()
