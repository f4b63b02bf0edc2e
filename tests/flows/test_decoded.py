"""When a tile is decoded, and how many windows are held for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from geryon.flows import segment
from geryon.flows.plan import Cell, Cutting, Plan, make_plan
from geryon.nets.model import Model
from geryon.nets.mosaic import Mosaic
from tests.flows.world import make_world, oracle, slide_of

WORLD = make_world(700, 2600, nuclei=1, glands=1)
SHAPES = [(700, 2600), (2600, 700), (1500, 1600)]


def plan_of(net: Model, shape: tuple[int, int], tile_px: int, window_px: int = 256) -> Plan:
    level0 = slide_of(make_world(*shape, nuclei=1, glands=1)).frame
    cutting = Cutting(window_px=window_px, halo_px=32, tile_px=tile_px)
    return make_plan(level0, 0.5, net, has_tissue=lambda box: True, cutting=cutting)


def maps_of(net: Model, plan: Plan, cells: list[Cell]) -> Iterator[tuple[Cell, dict[str, np.ndarray]]]:
    for cell in cells:
        rows, columns = plan.window(cell).outer.shape
        empty = {
            f"{t.name}/{m.name}": np.zeros((rows // s, columns // s, m.channels), np.uint8)
            for t in net.tasks
            for m in t.maps
            for s in [round(t.mpp * m.coarse / net.mpp)]
        }
        yield cell, empty


@pytest.fixture
def most_held(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Holds the most windows that a mosaic has held."""
    most = [0]

    class Counting(Mosaic):
        def put(self, cell: Cell, maps: dict[str, np.ndarray]) -> None:
            super().put(cell, maps)
            most[0] = max(most[0], len(self.blocks))

    monkeypatch.setattr(segment, "Mosaic", Counting)
    return most


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """On any machine: how many windows are held follows its cores."""
    monkeypatch.setattr(segment, "usable_cores", lambda: 2)


def windows_ahead(net: Model) -> int:
    return segment.WINDOWS_AHEAD * max(segment.usable_cores(), net.engine.lanes * net.engine.batch)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("tile_px", [256, 512])
def test_windows_held_follow_the_shorter_side(most_held: list[int], shape: tuple[int, int], tile_px: int) -> None:
    net = oracle(WORLD, ("glands",))
    plan = plan_of(net, shape, tile_px)
    ahead = windows_ahead(net)
    most = plan.most_windows(ahead)
    done = [tile for tile, _ in segment.decoded(net, plan, plan.cells, maps_of(net, plan, plan.needed(plan.cells)))]
    assert sorted(done) == list(plan.cells)
    assert most_held[0] <= most
    lines = 2 if tile_px == 256 else 3
    assert most <= lines * min(plan.windows.rows, plan.windows.columns) + lines + 1 + ahead


def test_windows_do_not_pile_up_before_a_slow_tile(most_held: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    net = oracle(WORLD, ("glands",))
    plan = plan_of(net, (300, 12000), 256)
    most = plan.most_windows(windows_ahead(net))
    assert len(plan.kept) > 2 * most
    slow = threading.Event()

    def decode(net: Model, plan: Plan, mosaic: Mosaic, tile: Cell) -> dict:
        if tile == (0, 0):
            slow.wait(0.5)
        return {}

    monkeypatch.setattr(segment, "decode", decode)
    assert len(list(segment.decoded(net, plan, plan.cells, maps_of(net, plan, plan.needed(plan.cells))))) == 94
    assert most - 1 <= most_held[0] <= most


def test_tiles_that_wait_are_not_decoded_when_a_run_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    net = oracle(WORLD, ("glands",))
    plan = plan_of(net, (300, 12000), 256)
    begun: list[Cell] = []

    def decode(net: Model, plan: Plan, mosaic: Mosaic, tile: Cell) -> dict:
        begun.append(tile)
        threading.Event().wait(0.2)
        return {}

    def maps() -> Iterator[tuple[Cell, dict[str, np.ndarray]]]:
        yield from maps_of(net, plan, plan.needed(plan.cells)[:9])
        raise KeyboardInterrupt

    monkeypatch.setattr(segment, "decode", decode)
    with pytest.raises(KeyboardInterrupt):
        list(segment.decoded(net, plan, plan.cells, maps()))
    assert len(begun) <= segment.usable_cores()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_tile_starts_with_the_last_window_that_it_looks_at(
    shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next window comes only when all tiles that can be decoded are: a run that waited for more would hang here."""
    net = oracle(WORLD, ("glands",))
    plan = plan_of(net, shape, 256)
    looked_at = plan.looked_at(plan.cells)
    finished: dict[Cell, threading.Event] = {tile: threading.Event() for tile in plan.cells}

    def decode(net: Model, plan: Plan, mosaic: Mosaic, tile: Cell) -> dict:
        assert set(looked_at[tile]) - {(0, 1)} <= set(mosaic.blocks)
        finished[tile].set()
        return {}

    def maps() -> Iterator[tuple[Cell, dict[str, np.ndarray] | None]]:
        come: set[Cell] = set()
        for cell, found in maps_of(net, plan, plan.needed(plan.cells)):
            yield cell, None if cell == (0, 1) else found  # one can't be read
            come.add(cell)
            for tile, windows in looked_at.items():
                if come.issuperset(windows):
                    assert finished[tile].wait(10), f"{tile} waits for more than {windows}"

    monkeypatch.setattr(segment, "decode", decode)
    assert len(list(segment.decoded(net, plan, plan.cells, maps()))) == len(plan.cells)
