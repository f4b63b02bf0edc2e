"""Bad input and bad machines: one sentence, the right exit code, finished work kept."""

from __future__ import annotations

import errno
import json
import threading
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import geryon
from geryon import events
from geryon.errors import InputError, MachineError, SomeFailedError, UsageError
from geryon.flows.many import each
from geryon.flows.plan import Cutting
from geryon.flows.segment import Options, segment, segment_slide
from geryon.nets.model import Model
from geryon.slides.array import slide_of_image
from geryon.slides.identity import fingerprint
from geryon.slides.reader import Slide, open_slide
from geryon.slides.tissue import low_power
from geryon.space.boxes import Box
from geryon.store.parts import Parts
from geryon.store.run import RunRecord, is_whole, read_run
from tests.flows.test_segment import contents, geometries, run
from tests.flows.world import MPP, make_world, oracle, slide_of

WORLD = make_world(700, 600, seed=1, nuclei=60, glands=4)
OPTIONS = Options(cutting=Cutting(window_px=256, halo_px=32, tile_px=256))


class Torn:
    """A slide with one place (xmin, ymin, xmax, ymax in level0) that can't be read; the look at low power can."""

    def __init__(self, slide: Slide, place: tuple[int, int, int, int]) -> None:
        self.slide, self.place = slide, place

    def __getattr__(self, name: str) -> object:
        return getattr(self.slide, name)

    def read(self, box: Box, mpp: float) -> np.ndarray:
        if mpp == MPP and not box.to(self.slide.frame).meet(Box(self.slide.frame, *self.place)).is_empty:
            raise InputError(what="a tile is damaged", where="torn.svs (tile at 300, 300)", mend="copy the file again")
        return self.slide.read(box, mpp)


def torn_run(folder: Path, place: tuple[int, int, int, int], tile: int = 256) -> tuple[RunRecord, list[str], Seen]:
    """The record, what was warned of, and {window: image} that the network saw."""
    told: list[events.Event] = []
    net, seen = watched(oracle(WORLD))
    options = Options(cutting=Cutting(window_px=256, halo_px=32, tile_px=tile))
    torn = Torn(slide_of(WORLD), place)
    record = segment_slide(torn, net, folder, options=options, tell=told.append)  # type: ignore[arg-type]
    return record, [e.text for e in told if isinstance(e, events.Warned)], seen


Seen = dict[tuple[float, float], np.ndarray]


def watched(net: Model) -> tuple[Model, Seen]:
    """The same model, and what it is shown."""
    seen: Seen = {}

    class Watched:
        def __getattr__(self, name: str) -> object:
            return getattr(net.engine, name)

        def maps(self, images: list, places: list) -> list:
            seen.update({(p.xmin, p.ymin): i.copy() for i, p in zip(images, places, strict=True)})
            return net.engine.maps(images, places)

    return replace(net, engine=Watched()), seen  # type: ignore[arg-type]


def test_a_place_that_takes_a_whole_core_costs_its_window_and_is_told(tmp_path: Path) -> None:
    record, warned, seen = torn_run(tmp_path / "a", (250, 250, 500, 500))
    assert record.windows["unreadable"] == 1 and (224, 224) not in seen
    assert record.windows["planned"] == record.windows["done"] + record.windows["no tissue"] + 1
    assert sum("left out" in text and "damaged" in text for text in warned) == 1
    assert is_whole(tmp_path / "a") and record.tasks["nuclei"].objects > 0


def test_a_bad_tile_near_a_corner_costs_only_itself(tmp_path: Path) -> None:
    whole = run(WORLD, tmp_path / "whole", tile=256, window=256)
    record, warned, seen = torn_run(tmp_path / "a", (240, 240, 250, 250))
    assert "unreadable" not in record.windows and record.windows["planned"] == record.windows["done"]
    assert contents(tmp_path / "a").keys() == contents(whole).keys()
    # four windows look at it: one in its core, three in their halo
    assert len(warned) == 4 and sum("halo" in text for text in warned) == 3
    assert any("places in 4 windows" in text for text in record.warnings), "run.json counts them too"
    assert sum("0.0041 mm² of a window (25%)" in text and "damaged" in text for text in warned) == 1
    white = {corner: int((image == 255).all(axis=2).sum()) for corner, image in seen.items()}
    assert white[-32, -32] == 128 * 128 and white[224, 224] == 32 * 32
    assert sum(n > 0 for n in white.values()) == 4


@pytest.mark.parametrize("tile", [192, 512])
def test_a_bad_place_gives_the_same_objects_for_any_tile(tmp_path: Path, tile: int) -> None:
    for place in ((250, 250, 500, 500), (240, 240, 250, 250)):
        folders = [tmp_path / f"{place[0]}-{t}" for t in (256, tile)]
        for folder, t in zip(folders, (256, tile), strict=True):
            torn_run(folder, place, t)
        for task in ("nuclei", "glands", "lumina"):
            assert geometries(folders[0], task) == geometries(folders[1], task)


def test_a_finished_slide_is_not_touched(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    cv2.imwrite(str(image), np.full((256, 256, 3), 200, np.uint8))
    world = make_world(256, 256, nuclei=5, glands=1)
    first = segment(image, out=tmp_path / "out", model=oracle(world), options=Options(mpp=0.5))
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    again = segment(image, out=tmp_path / "out", model=oracle(world), options=Options(mpp=0.5))
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert again.tasks == first.tasks


def test_a_full_disk_keeps_what_was_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geryon.store import parts

    whole = run(WORLD, tmp_path / "whole", tile=256, window=256)
    kept = parts.Parts.keep
    left = [3]

    def full(self: parts.Parts, name: str, payload: dict) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise MachineError(what="writing failed: No space left on device", where=name, mend="free some space")
        kept(self, name, payload)

    monkeypatch.setattr(parts.Parts, "keep", full)
    with pytest.raises(MachineError, match="No space left"):
        run(WORLD, tmp_path / "cut", tile=256, window=256)
    monkeypatch.undo()
    assert not is_whole(tmp_path / "cut") and len(list((tmp_path / "cut" / ".parts").glob("tile-*"))) == 3
    assert contents(run(WORLD, tmp_path / "cut", tile=256, window=256)) == contents(whole)


class Closing:
    """A slide of a file: a read that ends after the file is closed fails, as with tifffile. The last window is slow."""

    def __init__(self, slide: Slide) -> None:
        self.slide, self.closed, self.late = slide, threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> object:
        return getattr(self.slide, name)

    def __enter__(self) -> Closing:
        return self

    def __exit__(self, *error: object) -> None:
        self.closed.set()
        self.late.wait(0.2)

    def read(self, box: Box, mpp: float) -> np.ndarray:
        if mpp == MPP and min(box.xmin, box.ymin) > 400:
            self.closed.wait(1)
        if self.closed.is_set():
            self.late.set()
            raise InputError(what="the file is closed", where="closing.tiff", mend="copy it anew")
        return self.slide.read(box, mpp)


@pytest.mark.parametrize("fault", [KeyboardInterrupt, MachineError])
def test_a_window_that_is_read_while_a_run_ends_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: type[BaseException]
) -> None:
    whole = run(WORLD, tmp_path / "whole", tile=256, window=256)
    kept = Parts.keep

    def keep(self: Parts, name: str, sections: dict) -> None:
        if name == "tile-00000-00000":
            raise KeyboardInterrupt if fault is KeyboardInterrupt else MachineError(what="the disk is full")
        kept(self, name, sections)

    monkeypatch.setattr(Parts, "keep", keep)
    slide = Closing(slide_of(WORLD))
    caught = []  # holds the traceback, and so all that was under way
    try:
        with slide:
            segment_slide(slide, oracle(WORLD), tmp_path / "cut", options=OPTIONS, tell=events.nobody)  # type: ignore[arg-type]
    except fault as error:
        caught.append(error)
    assert caught and not slide.late.is_set()
    monkeypatch.undo()
    assert contents(run(WORLD, tmp_path / "cut", tile=256, window=256)) == contents(whole)
    assert read_run(tmp_path / "cut").windows == read_run(tmp_path / "whole").windows
    assert read_run(tmp_path / "cut").warnings == read_run(tmp_path / "whole").warnings


@pytest.mark.parametrize("place", [(250, 250, 500, 500), (240, 240, 250, 250)])
def test_what_could_not_be_read_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[int, int, int, int]
) -> None:
    """A disk that failed for a while costs nothing in the end, also of the tiles that were kept meanwhile."""
    whole = run(WORLD, tmp_path / "whole", tile=256, window=256)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("geryon.flows.segment.write_results", interrupted)
        torn_run(tmp_path / "cut", place)
    assert list((tmp_path / "cut" / ".parts").glob("*unreadable-*"))
    assert contents(run(WORLD, tmp_path / "cut", tile=256, window=256)) == contents(whole)
    assert read_run(tmp_path / "cut").windows == read_run(tmp_path / "whole").windows
    assert read_run(tmp_path / "cut").warnings == read_run(tmp_path / "whole").warnings


def interrupted(*args: object) -> None:
    raise KeyboardInterrupt


def test_a_full_disk_while_results_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geryon.store import tables

    def full(*args: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tables.pq.ParquetWriter, "write_table", full)
    with pytest.raises(MachineError, match="No space left"):
        run(WORLD, tmp_path / "cut", tile=256, window=256)
    assert not is_whole(tmp_path / "cut") and not list((tmp_path / "cut").rglob("*.parquet"))
    monkeypatch.undo()
    assert is_whole(run(WORLD, tmp_path / "cut", tile=256, window=256))


def test_a_slide_smaller_than_a_window_and_one_without_tissue(tmp_path: Path) -> None:
    tiny = make_world(40, 50, nuclei=1, glands=0)
    assert is_whole(run(tiny, tmp_path / "tiny"))
    glass = slide_of_image(np.full((700, 600, 3), 245, np.uint8), mpp=0.5, name="glass")
    asked = Options(use_mask=True, cutting=OPTIONS.cutting)
    record = segment_slide(glass, oracle(WORLD), tmp_path / "glass", options=asked, tell=events.nobody)
    assert record.windows["done"] == 0 and all(t.objects == 0 for t in record.tasks.values())
    assert is_whole(tmp_path / "glass")


def test_no_mpp_is_refused_and_named(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    cv2.imwrite(str(image), np.full((64, 64, 3), 200, np.uint8))
    with pytest.raises(InputError, match="--mpp"):
        segment(image, out=tmp_path, model=oracle(WORLD))


def test_an_unknown_task_is_refused_before_any_work(tmp_path: Path) -> None:
    from geryon.nets.model import choose

    with pytest.raises(UsageError, match="'mitoses'"):
        choose(oracle(WORLD).tasks, ["nuclei", "mitoses"])


def test_two_slides_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="same name"):
        each([tmp_path / "a" / "x.svs", tmp_path / "b" / "x.svs"], lambda p: p, out=tmp_path, name_of=lambda p: p.stem)


def test_one_bad_slide_costs_only_itself(tmp_path: Path) -> None:
    def work(path: Path) -> str:
        if path.stem == "bad":
            raise InputError(what="it is no slide", where=str(path), mend="give another")
        return path.stem

    paths = [tmp_path / f"{name}.svs" for name in ("a", "bad", "b")]
    with pytest.raises(SomeFailedError) as failed:
        each(paths, work, out=tmp_path / "out", name_of=lambda p: p.stem)
    assert "1 of 3" in str(failed.value)
    table = (tmp_path / "out" / "failures.csv").read_text(encoding="utf-8")
    assert "bad.svs" in table and "it is no slide" in table
    with pytest.raises(InputError):
        each(paths[1:2], work, out=tmp_path / "out", name_of=lambda p: p.stem)


def test_a_full_machine_stops_the_rest(tmp_path: Path) -> None:
    done: list[str] = []

    def work(path: Path) -> None:
        done.append(path.stem)
        raise MachineError(what="the disk is full")

    with pytest.raises(MachineError):
        each([tmp_path / "a", tmp_path / "b"], work, out=tmp_path, name_of=lambda p: p.stem)
    assert done == ["a"]


def test_a_read_only_folder_is_a_machine_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder", encoding="utf-8")
    with pytest.raises(MachineError):
        run(WORLD, blocked / "out")


def test_run_json_says_where_the_mpp_came_from(tmp_path: Path) -> None:
    folder = run(WORLD, tmp_path / "a")
    document = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert document["status"] == "complete" and document["mpp"] == [0.5, 0.5] and document["mpp_source"] == "given"
    assert read_run(folder).tasks["nuclei"].objects == document["tasks"]["nuclei"]["objects"]
    with open_slide_of(tmp_path) as slide:
        assert slide.mpp_source == "given"


def open_slide_of(folder: Path):  # type: ignore[no-untyped-def]
    image = folder / "b.png"
    cv2.imwrite(str(image), np.full((64, 64, 3), 200, np.uint8))
    return open_slide(image, mpp=0.5)


def picture(path: Path, grey: int = 200) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((256, 256, 3), grey, np.uint8))
    return path


SMALL = make_world(256, 256, nuclei=5, glands=1)


@pytest.mark.parametrize("other", ["slide", "resolution", "model", "mask", "windows"])
def test_finished_results_answer_their_own_question_only(tmp_path: Path, other: str) -> None:
    first, net, asked = picture(tmp_path / "a" / "x.png"), oracle(SMALL), Options(mpp=0.5)
    segment(first, out=tmp_path / "out", model=net, options=asked)
    before = contents(tmp_path / "out")
    mask = picture(tmp_path / "mask.png", 255)
    change = {
        "slide": (picture(tmp_path / "b" / "x.png", 190), net, asked),
        "resolution": (first, net, Options(mpp=0.45)),
        "model": (first, replace(net, sha256="1" * 64), asked),
        "mask": (first, net, replace(asked, mask=mask)),
        "windows": (first, net, replace(asked, cutting=OPTIONS.cutting)),
    }
    path, model, options = change[other]
    with pytest.raises(UsageError, match=f"another {other}.*another --out"):
        segment(path, out=tmp_path / "out", model=model, options=options)
    assert contents(tmp_path / "out") == before


def test_finished_results_are_taken_for_fewer_tasks_and_refused_for_more(tmp_path: Path) -> None:
    path, net = picture(tmp_path / "x.png"), oracle(SMALL)
    few = segment(path, out=tmp_path / "out", model=net, tasks="nuclei", options=Options(mpp=0.5))
    assert list(few.tasks) == ["nuclei"]
    with pytest.raises(UsageError, match="no glands, tissue"):
        segment(path, out=tmp_path / "out", model=net, tasks=["nuclei", "glands", "tissue"], options=Options(mpp=0.5))
    every = segment(path, out=tmp_path / "every", model=net, options=Options(mpp=0.5))
    again = segment(path, out=tmp_path / "every", model=net, tasks=["nuclei"], options=Options(mpp=0.5))
    assert again.tasks == every.tasks
    assert set(segment(path, out=tmp_path / "l", model=net, tasks="lumina", options=Options(mpp=0.5)).tasks) == {
        "glands",
        "lumina",
    }


def test_a_nucleus_of_a_run_without_glands_has_an_empty_gland(tmp_path: Path) -> None:
    path = picture(tmp_path / "x.png")
    segment(path, out=tmp_path / "out", model=oracle(SMALL), tasks="nuclei", options=Options(mpp=0.5))
    table = geryon.read_objects(tmp_path / "out" / "x", "nuclei")
    assert table["gland"].null_count == len(table) > 0


def test_an_old_run_json_does_not_vouch_for_new_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = run(WORLD, tmp_path / "a", tile=256, window=256)
    (folder / "tissue.ome.tif").unlink()

    def full(*args: object, **named: object) -> None:
        raise MachineError(what="no space left")

    monkeypatch.setattr("geryon.flows.finish.write_quality", full)
    with pytest.raises(MachineError):
        run(WORLD, folder, tile=256, window=256)
    assert not (folder / "run.json").exists() and not is_whole(folder)


def test_a_slide_that_can_not_be_read_at_all_is_no_empty_slide(tmp_path: Path) -> None:
    class Mute:
        def __init__(self, slide: Slide) -> None:
            self.slide = slide

        def __getattr__(self, name: str) -> object:
            return getattr(self.slide, name)

        def read(self, box: object, mpp: float) -> np.ndarray:
            raise InputError(what="a tile is damaged", where="mute.svs", mend="copy the file again")

    seen = slide_of(WORLD)
    mute = Mute(seen)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("geryon.flows.segment.low_power", lambda slide: low_power(seen))
        with pytest.raises(InputError, match="none of its .* windows could be read"):
            segment_slide(mute, oracle(WORLD), tmp_path / "a", options=OPTIONS, tell=events.nobody)  # type: ignore[arg-type]
    assert not is_whole(tmp_path / "a")
    mended, whole = (run(WORLD, tmp_path / name, tile=256, window=256) for name in ("a", "b"))
    assert contents(mended) == contents(whole), "a mended file is tried again"


@pytest.mark.parametrize("tile", [0, -64, 1, 300, 224])
def test_a_tile_that_can_not_be_is_refused(tile: int, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--tile"):
        segment(picture(tmp_path / "x.png"), out=tmp_path, model=oracle(SMALL), options=Options(mpp=0.5, tile_px=tile))


def test_a_fault_of_our_own_costs_one_slide_and_is_listed(tmp_path: Path) -> None:
    def work(path: Path) -> str:
        if path.stem == "odd":
            raise ZeroDivisionError("division by zero")
        return path.stem

    paths = [tmp_path / f"{name}.svs" for name in ("a", "odd", "b")]
    with pytest.raises(SomeFailedError, match="1 of 3 inputs failed, the others are done"):
        each(paths, work, out=tmp_path, name_of=lambda p: p.stem)
    assert "ZeroDivisionError" in (tmp_path / "failures.csv").read_text(encoding="utf-8")
    each(paths[:1], work, out=tmp_path, name_of=lambda p: p.stem)
    assert not (tmp_path / "failures.csv").exists(), "all that was asked is done"


def test_failures_are_listed_where_the_machine_gives_out_later(tmp_path: Path) -> None:
    def work(path: Path) -> None:
        raise InputError(what="it is no slide") if path.stem == "a" else MachineError(what="the disk is full")

    with pytest.raises(MachineError):
        each([tmp_path / "a", tmp_path / "b"], work, out=tmp_path, name_of=lambda p: p.stem)
    assert "it is no slide" in (tmp_path / "failures.csv").read_text(encoding="utf-8")


def test_a_copy_is_the_same_slide_and_a_changed_middle_is_not(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(5 << 20)
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    for name, content in (("a", data), ("copy", data), ("changed", bytes(changed)), ("short", data[:-1])):
        (tmp_path / name).write_bytes(content)
    prints = {name: fingerprint(tmp_path / name) for name in ("a", "copy", "changed", "short")}
    assert prints["a"] == prints["copy"] and len(set(prints.values())) == 3
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    (folder / "0").write_bytes(b"one")
    before = fingerprint(folder)
    (folder / "1").write_bytes(b"two")
    assert fingerprint(folder) != before and fingerprint(None) == ""
