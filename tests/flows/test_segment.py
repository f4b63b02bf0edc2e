"""Segment over an oracle: what tiles, windows, interruptions and seams may not change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely

from geryon.events import Event, Warned
from geryon.flows.across import at_level0
from geryon.flows.plan import Cutting
from geryon.flows.segment import Options, segment_slide
from geryon.nets.model import Model
from geryon.space.boxes import Frame
from geryon.space.drawing import drawn
from geryon.space.objects import Objects, Outlines
from geryon.store.wkb import outlines_from_wkb
from geryon.tasks import metrics
from tests.flows.world import MPP, World, make_world, oracle, slide_of

WORLD = make_world(1700, 900, seed=3, nuclei=250, glands=8)


def run(world: World, folder: Path, tile: int = 512, window: int = 512, net: Model | None = None) -> Path:
    cutting = Cutting(window_px=window, halo_px=32, tile_px=tile)
    slide = slide_of(world)
    segment_slide(slide, net or oracle(world), folder, options=Options(cutting=cutting), tell=lambda event: None)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "run.json")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


def geometries(folder: Path, task: str) -> list[bytes]:
    return sorted(pq.read_table(folder / "objects" / f"{task}.parquet", columns=["geometry"])["geometry"].to_pylist())


def label_map(folder: Path, task: str, mpp: float, shape: tuple[int, int]) -> np.ndarray:
    table = pq.read_table(folder / "objects" / f"{task}.parquet")
    outlines = outlines_from_wkb(table["geometry"]).scaled(MPP / mpp, MPP / mpp)
    frame = Frame(name="task", mpp_x=mpp, mpp_y=mpp, width=shape[1], height=shape[0])
    return drawn(outlines, np.arange(1, len(outlines) + 1), frame.box)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(WORLD, tmp_path_factory.mktemp("reference"), tile=2048, window=512)


@pytest.mark.parametrize("task", ["nuclei", "glands", "lumina"])
def test_finds_what_is_there(reference: Path, task: str) -> None:
    truth = WORLD.maps[task]
    found = label_map(reference, task, 0.5 if task == "nuclei" else 2.0, truth.shape)
    scores = metrics.object_metric(found, truth)
    assert scores["dq"] >= 0.985 and scores["sq"] >= 0.98, scores


@pytest.mark.parametrize("tile", [320, 512, 1024])
def test_tiles_change_nothing(reference: Path, tmp_path: Path, tile: int) -> None:
    """Not in outlines, not in ids, order, scores or classes: in no byte."""
    assert contents(run(WORLD, tmp_path / "run", tile=tile)) == contents(reference)


@pytest.mark.parametrize("window", [256, 1024])
def test_windows_change_nothing_for_an_exact_engine(reference: Path, tmp_path: Path, window: int) -> None:
    assert contents(run(WORLD, tmp_path / "run", window=window)) == contents(reference)


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    assert contents(run(WORLD, tmp_path / "a")) == contents(run(WORLD, tmp_path / "b"))


def test_outlines_are_valid_and_inside_the_slide(reference: Path) -> None:
    height, width = WORLD.shape
    for task in ("nuclei", "glands", "lumina"):
        shapes = shapely.from_wkb(geometries(reference, task))
        assert shapely.is_valid(shapes).all()
        low_x, low_y, high_x, high_y = shapely.total_bounds(shapes)
        assert low_x >= 0 and low_y >= 0 and high_x <= width and high_y <= height


def test_areas_are_those_of_the_outlines_that_are_stored(tmp_path: Path) -> None:
    """A width that is no whole number of the tasks' pixels, so that outlines are cut off at the slide's edge."""
    folder = run(make_world(613, 507, seed=7, nuclei=60, glands=12), tmp_path / "run")
    at_edge = 0
    for task in ("nuclei", "glands", "lumina"):
        table = pq.read_table(folder / "objects" / f"{task}.parquet", columns=["geometry", "area_um2"])
        shapes = shapely.from_wkb(table["geometry"].to_pylist())
        np.testing.assert_allclose(table["area_um2"], shapely.area(shapes) * MPP**2, rtol=1e-6)
        at_edge += int((shapely.bounds(shapes)[:, 2] == 507).sum())
    assert at_edge > 0


def test_outlines_on_the_lattice_have_their_own_area() -> None:
    level0 = Frame(name="level0", mpp_x=0.26, mpp_y=0.26, width=1000, height=1000)
    square = np.array([[1.0, 1.0], [4.0, 1.0], [4.0, 4.0], [1.0, 4.0]])
    outlines = Outlines(points=square, ring_at=np.array([0, 4]), object_at=np.array([0, 1]))
    none = np.zeros((1, 0), np.uint8)
    found = Objects(
        frame=level0.at(2.0),
        xy=square.mean(axis=0)[None],
        outlines=outlines,
        area=np.array([9.0]),
        score=np.zeros(1, np.uint8),
        p=none,
    )
    moved = at_level0(found, level0)
    assert moved.area[0] == shapely.Polygon(moved.outlines.points).area != 9.0 * (2.0 / 0.26) ** 2


def test_nuclei_and_lumina_name_the_gland_that_holds_them(reference: Path) -> None:
    glands = pq.read_table(reference / "objects" / "glands.parquet").to_pandas()
    shapes = dict(zip(glands["id"], shapely.from_wkb(glands["geometry"].to_numpy()), strict=True))
    for task in ("nuclei", "lumina"):
        table = pq.read_table(reference / "objects" / f"{task}.parquet").to_pylist()
        assert any(row["gland"] is not None for row in table)
        for row in table:
            holding = [number for number, shape in shapes.items() if holds(shape, row, task)]
            assert row["gland"] in holding if holding else row["gland"] is None


def holds(gland: shapely.Geometry, row: dict, task: str) -> bool:
    """Nuclei lie in the gland that holds their centroid, lumina in the one that has half of them."""
    if task == "nuclei":
        return gland.intersects(shapely.Point(row["x"], row["y"]))
    lumen = shapely.from_wkb(row["geometry"])
    return lumen.intersection(gland).area >= lumen.area / 2


class Stopped(Exception):
    """The power is cut."""


def dying(net: Model, after: int) -> Model:
    """The same model; the power is cut after so many windows."""

    class Dying:
        def __init__(self, engine: object) -> None:
            self.engine, self.left = engine, after

        def __getattr__(self, name: str) -> object:
            return getattr(self.engine, name)

        def maps(self, images: list, places: list) -> list:
            self.left -= 1
            if self.left < 0:
                raise Stopped
            return self.engine.maps(images, places)  # type: ignore[attr-defined]

    return replace(net, engine=Dying(net.engine))  # type: ignore[arg-type]


@pytest.mark.parametrize("after", [0, 3, 7])
def test_an_interrupted_run_resumes_to_the_same_bytes(tmp_path: Path, after: int) -> None:
    whole = run(WORLD, tmp_path / "whole")
    with pytest.raises(Stopped):
        run(WORLD, tmp_path / "cut", net=dying(oracle(WORLD), after))
    assert not (tmp_path / "cut" / "run.json").exists()
    kept = len(list((tmp_path / "cut" / ".parts").glob("tile-*")))
    assert kept > 0 or after < 7
    again = run(WORLD, tmp_path / "cut")
    assert contents(again) == contents(whole)
    assert not (again / ".parts").exists()


def test_a_resumed_run_does_not_compute_finished_tiles_again(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(WORLD, tmp_path / "cut", tile=256, window=256, net=dying(oracle(WORLD), 24))
    # 28 windows in all: what the kept rows alone looked at is not needed again.
    run(WORLD, tmp_path / "cut", tile=256, window=256, net=dying(oracle(WORLD), 20))


def test_cells_reconcile(reference: Path) -> None:
    from geryon.store.run import read_run

    record = read_run(reference)
    assert record.windows["planned"] == record.windows["done"] + record.windows["no tissue"]
    for task in ("nuclei", "glands", "lumina"):
        rows = pq.read_metadata(reference / "objects" / f"{task}.parquet").num_rows
        assert record.tasks[task].objects == rows


def test_a_hollow_outside_of_glands_is_no_lumen(tmp_path: Path) -> None:
    glands = np.where(WORLD.maps["glands"] == 1, 0, WORLD.maps["glands"])
    fewer = replace(WORLD, maps={**WORLD.maps, "glands": glands})
    found = label_map(run(fewer, tmp_path / "fewer"), "lumina", 2.0, glands.shape)
    lumina = WORLD.maps["lumina"]
    assert (lumina == 1).any() and not found[lumina == 1].any()
    assert found[(lumina > 1)].astype(bool).mean() > 0.9

    said: list[Event] = []
    options = Options(cutting=Cutting(window_px=512, halo_px=32, tile_px=512))
    segment_slide(slide_of(WORLD), oracle(WORLD, ("lumina",)), tmp_path / "alone", options=options, tell=said.append)
    assert any("add the task glands" in event.text for event in said if isinstance(event, Warned))
    assert len(geometries(tmp_path / "alone", "lumina")) >= len(np.unique(lumina)) - 1
