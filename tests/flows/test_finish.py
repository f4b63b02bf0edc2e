"""The end of a run that does not end well: nobody waits for ever, the fault is named, what was kept is taken over."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from geryon import events
from geryon.errors import MachineError
from geryon.flows import finish, writing
from geryon.flows.plan import Cell, Cutting
from geryon.flows.segment import Options, segment_slide
from geryon.store.parts import Parts
from geryon.tasks.task import Task
from tests.flows.test_segment import contents
from tests.flows.world import make_world, oracle, slide_of

WORLD = make_world(700, 600, seed=1, nuclei=60, glands=4)
OPTIONS = Options(cutting=Cutting(window_px=256, halo_px=32, tile_px=256))


def run(folder: Path, tell: events.Tell = events.nobody) -> Path:
    segment_slide(slide_of(WORLD), oracle(WORLD), folder, options=OPTIONS, tell=tell)
    return folder


class Deaf(Exception):
    """The listener has gone."""


def test_a_listener_that_fails_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the file of the glands too, when that of the nuclei is begun and waits for them, with all its tiles read."""
    reader, is_begun = finish._reader, threading.Event()
    monkeypatch.setattr(finish, "_reader", lambda work, parts, is_over: reader(work, parts, threading.Event()))

    def tell(event: events.Event) -> None:
        if isinstance(event, events.Started) and event.stage == "write nuclei":
            is_begun.set()
        if isinstance(event, events.Started) and event.stage == "write glands":
            assert is_begun.wait(30)
            raise Deaf

    caught: list[BaseException] = []

    def attempt() -> None:
        try:
            run(tmp_path / "cut", tell)
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive() and isinstance(caught[0], Deaf)
    assert contents(run(tmp_path / "cut")) == contents(run(tmp_path / "whole"))


def test_a_part_that_is_damaged_at_the_end_is_named_and_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Parts.keep

    def keep(self: Parts, name: str, sections: Any) -> None:
        kept(self, name, sections)
        if name == "tile-00001-00001":
            path = self.folder / f"{name}.part"
            spoilt = bytearray(path.read_bytes())
            spoilt[len(spoilt) // 2] ^= 4
            path.write_bytes(spoilt)

    with monkeypatch.context() as patch, pytest.raises(MachineError, match="part was damaged; run the same command"):
        patch.setattr(Parts, "keep", keep)
        run(tmp_path / "cut")
    assert contents(run(tmp_path / "cut")) == contents(run(tmp_path / "whole"))


def test_writers_stop_when_one_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The raster's writer has begun and would read all nine tiles."""
    begun = threading.Event()
    read: list[Cell] = []

    def of_glands(*args: object) -> None:
        assert begun.wait(30)
        raise MachineError(what="the disk is full")

    reader = finish._reader

    def slow(*given: Any) -> Any:
        found, is_over = reader(*given), given[2]

        def each(cell: Cell, task: Task) -> Any:
            if task.name == "tissue":
                read.append(cell)
                begun.set()
                is_over.wait(30)
            return found(cell, task)

        return each

    monkeypatch.setattr(writing, "_write_objects", of_glands)
    monkeypatch.setattr(finish, "_reader", slow)
    with pytest.raises(MachineError, match="the disk is full"):
        run(tmp_path / "cut")
    assert len(read) == 1


def test_a_system_that_does_not_tell_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "win32":
        assert finish.peak_memory_bytes() > 1 << 20
    monkeypatch.setitem(sys.modules, "resource", None)
    assert finish.peak_memory_bytes() == 0
