"""Bad input and bad machines: one sentence, the right exit code, finished work kept."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from geryon import events
from geryon.errors import InputError, MachineError, SomeFailedError, UsageError
from geryon.flows.many import each
from geryon.flows.plan import Cutting
from geryon.flows.segment import Options, segment, segment_slide
from geryon.nets.model import Model
from geryon.slides.array import slide_of_image
from geryon.slides.reader import Slide, open_slide
from geryon.space.boxes import Box
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


def test_a_full_disk_while_results_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from geryon.store import tables

    def full(*args: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tables.pq.ParquetWriter, "write_table", full)
    with pytest.raises((MachineError, OSError)):
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
