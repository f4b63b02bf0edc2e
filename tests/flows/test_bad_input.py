"""Bad input and bad machines: one sentence, the right exit code, finished work kept."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from geryon import events
from geryon.errors import InputError, MachineError, SomeFailedError, UsageError
from geryon.flows.many import each
from geryon.flows.plan import Cutting
from geryon.flows.segment import Options, segment, segment_slide
from geryon.slides.array import slide_of_image
from geryon.slides.reader import open_slide
from geryon.store.run import is_whole, read_run
from tests.flows.test_segment import contents, run
from tests.flows.world import make_world, oracle, slide_of

WORLD = make_world(700, 600, seed=1, nuclei=60, glands=4)
OPTIONS = Options(cutting=Cutting(window_px=256, halo_px=32, tile_px=256))


class Torn:
    """A slide with one place that can't be read."""

    def __init__(self, world_slide: object) -> None:
        self.slide = world_slide

    def __getattr__(self, name: str) -> object:
        return getattr(self.slide, name)

    def read(self, box: object, mpp: float) -> np.ndarray:
        at = box.to(self.slide.frame)  # type: ignore[attr-defined]
        if at.xmin <= 300 <= at.xmax and at.ymin <= 300 <= at.ymax and at.width < 500:
            raise InputError(what="a tile is damaged", where="torn.svs (tile at 300, 300)", mend="copy the file again")
        return self.slide.read(box, mpp)  # type: ignore[attr-defined]


def test_an_unreadable_place_costs_its_windows_and_is_told(tmp_path: Path) -> None:
    told: list[events.Event] = []
    record = segment_slide(Torn(slide_of(WORLD)), oracle(WORLD), tmp_path / "a", options=OPTIONS, tell=told.append)  # type: ignore[arg-type]
    left_out = record.windows["unreadable"]
    assert left_out >= 1
    assert record.windows["planned"] == record.windows["done"] + record.windows["no tissue"] + left_out
    assert any(isinstance(e, events.Warned) and "damaged" in e.text for e in told)
    assert is_whole(tmp_path / "a") and record.tasks["nuclei"].objects > 0


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
