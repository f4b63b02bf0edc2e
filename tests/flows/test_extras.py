"""Label maps and measures: what they say, and that a finished slide gets them whole or not at all."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import shapely
import tifffile
from skimage.draw import polygon2mask

import geryon
from geryon import events
from geryon.cli import main
from geryon.errors import InputError, MachineError, UsageError
from geryon.flows import extras, labels, stain
from geryon.flows import measure as measures
from geryon.flows.export import export
from geryon.flows.plan import Cutting
from geryon.flows.segment import Options, segment
from geryon.flows.writing import ID_STEP
from geryon.slides.reader import open_slide
from geryon.slides.stains import UNIT_STAINS
from geryon.space.boxes import Box
from geryon.space.drawing import inside
from geryon.space.objects import Outlines
from geryon.store.parts import Parts
from geryon.store.run import NAME, RunRecord, is_whole, read_run
from geryon.store.wkb import outlines_from_wkb
from geryon.testing.measures import MeasureContract
from tests.conftest import ROOT
from tests.flows.test_segment import Stopped, contents, dying
from tests.flows.world import MPP, World, make_world, oracle

TASKS = ("nuclei", "glands", "lumina")
ALL = {"labels": True, "measures": ("shape", "stain")}
WORLD = make_world(700, 620, seed=1, nuclei=60, glands=4)
CUTTING = Cutting(window_px=256, halo_px=32, tile_px=256)


class TestShape(MeasureContract):
    measure = measures.SHAPE


class TestStain(MeasureContract):
    measure = stain.STAIN


def stained(world: World) -> np.ndarray:
    """RGB of known optical density: each nucleus its own haematoxylin, half of it more; eosin all around."""
    number = world.maps["nuclei"]
    upper = np.arange(world.shape[0])[:, None] % 16 < 8
    haematoxylin = np.where(number > 0, 0.2 + number % 5 * 0.15 + 0.1 * upper, 0.0)
    eosin = np.where(number > 0, 0.05 * (number % 3), 0.3)
    light = 255 * 10 ** -(np.stack([haematoxylin, eosin], axis=2) @ UNIT_STAINS[:, :2].T)
    return np.rint(light).astype(np.uint8)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("slide") / "world.png"
    cv2.imwrite(str(path), stained(WORLD)[..., ::-1])
    return path


@pytest.fixture(scope="module")
def plain(picture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT of a run without any extra."""
    out = tmp_path_factory.mktemp("plain")
    segmented(picture, out)
    return out


@pytest.fixture(scope="module")
def fresh(picture: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """OUT of a run with all of them."""
    out = tmp_path_factory.mktemp("fresh")
    segmented(picture, out, **ALL)
    return out


@pytest.fixture
def out(plain: Path, tmp_path: Path) -> Path:
    """OUT of a finished run without any extra, to be added to."""
    return Path(shutil.copytree(plain, tmp_path / "out"))


def segmented(picture: Path, out: Path, **asked: object) -> RunRecord:
    return segment(picture, out=out, model=oracle(WORLD), options=Options(mpp=MPP, cutting=CUTTING, **asked))  # type: ignore[arg-type]


def completed(picture: Path, out: Path, **asked: object) -> RunRecord:
    """The same of a finished slide: the network must not be asked."""
    mute = dying(oracle(WORLD), 0)
    return segment(picture, out=out, model=mute, options=Options(mpp=MPP, cutting=CUTTING, **asked))  # type: ignore[arg-type]


def label_map(out: Path, task: str) -> np.ndarray:
    labels_: np.ndarray = tifffile.imread(out / "world" / "labels" / f"{task}.ome.tif")
    return labels_


# What they say


@pytest.mark.parametrize("task", TASKS)
def test_a_label_map_holds_row_number_plus_one_where_the_outline_is(fresh: Path, task: str) -> None:
    record = read_run(fresh / "world")
    mpp, seen = record.tasks[task].mpp, label_map(fresh, task)
    assert seen.dtype == np.int32 and seen.shape == tuple(-(-n * MPP // mpp) for n in WORLD.shape)
    table = geryon.read_objects(fresh / "world", task)
    assert len(table) == record.tasks[task].objects > 0
    assert set(np.unique(seen)) == set(range(len(table) + 1))
    for row, (number, wkb) in enumerate(zip(table["id"].to_pylist(), table["geometry"].to_pylist(), strict=True)):
        polygon = shapely.from_wkb(wkb)
        drawn = np.zeros(seen.shape, bool)
        for ring in (polygon.exterior, *polygon.interiors):
            drawn ^= polygon2mask(seen.shape, np.array(ring.coords)[:, ::-1] * MPP / mpp - 0.5)
        mine = seen == row + 1
        assert (mine & drawn).sum() / (mine | drawn).sum() >= 0.98
        assert number % ID_STEP + 1 == row + 1, "as docs/formats.md says"


@pytest.mark.parametrize("task", TASKS)
def test_a_label_map_opens_elsewhere(fresh: Path, task: str) -> None:
    record = read_run(fresh / "world")
    assert record.files[f"labels/{task}"] == f"labels/{task}.ome.tif"
    with tifffile.TiffFile(record.paths[f"labels/{task}"]) as file:
        pixels = ElementTree.fromstring(file.ome_metadata or "").find(".//{*}Pixels")
        assert file.pages[0].is_tiled and file.pages[0].compression != 1
    assert pixels is not None and float(pixels.attrib["PhysicalSizeX"]) == record.tasks[task].mpp
    assert pixels.attrib["PhysicalSizeXUnit"] == "µm" and pixels.attrib["Type"] == "int32"


def test_a_map_is_drawn_a_strip_of_tiles_at_a_time(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []
    real = labels.numbered_outlines
    monkeypatch.setattr(
        labels, "numbered_outlines", lambda r, t, box: asked.append((box.ymin, box.ymax)) or real(r, t, box)
    )
    monkeypatch.setattr(labels, "TILE_PX", 64)
    tiles = list(labels.label_tiles(read_run(fresh / "world"), "nuclei"))
    rows, columns = -(-WORLD.shape[0] // 64), -(-WORLD.shape[1] // 64)
    assert len(tiles) == rows * columns and any(tile is None for tile in tiles)
    strip = 64 * labels.STRIP_TILES
    assert len(asked) == -(-WORLD.shape[0] // strip) > 1 and all(high - low <= strip for low, high in asked)
    pieces = [np.zeros((64, 64), np.int32) if tile is None else tile for tile in tiles]
    whole = np.zeros((rows * 64, columns * 64), np.int32)
    for k, piece in enumerate(pieces):
        y, x = 64 * (k // columns), 64 * (k % columns)
        whole[y : y + piece.shape[0], x : x + piece.shape[1]] = piece
    np.testing.assert_array_equal(whole[: WORLD.shape[0], : WORLD.shape[1]], label_map(fresh, "nuclei"))


def test_shape_is_in_um(fresh: Path) -> None:
    table = geryon.read_objects(fresh / "world", "nuclei")
    polygons = shapely.from_wkb(table["geometry"].to_pylist())
    perimeter = shapely.length(shapely.get_exterior_ring(polygons)) * MPP
    np.testing.assert_allclose(table["perimeter_um"], perimeter, rtol=1e-6)
    # Of an ellipse the area is π/4 times both axes; nuclei are drawn as ellipses, some cut by the slide's edge.
    area = np.pi / 4 * table["major_axis_um"].to_numpy() * table["minor_axis_um"].to_numpy()
    np.testing.assert_allclose(area, table["area_um2"], rtol=0.1)


def test_stain_of_nuclei_is_what_they_were_painted_with(fresh: Path) -> None:
    table, seen = geryon.read_objects(fresh / "world", "nuclei"), label_map(fresh, "nuclei")
    true = WORLD.maps["nuclei"]
    upper = np.broadcast_to(np.arange(true.shape[0])[:, None] % 16 < 8, true.shape)
    checked = 0
    for row, found in enumerate(table.to_pylist()):
        mine = seen == row + 1
        (number,) = set(np.unique(true[mine])) - {0}
        if (true[mine] != number).any():
            continue
        share = upper[mine].mean()
        checked += 1
        # Grey values are whole numbers: half of one is 0.01 of density at most here, a little more once unmixed.
        assert found["haematoxylin_od"] == pytest.approx(0.2 + number % 5 * 0.15 + 0.1 * share, abs=0.02)
        assert found["haematoxylin_sd_od"] == pytest.approx(0.1 * np.sqrt(share * (1 - share)), abs=0.015)
        assert found["eosin_od"] == pytest.approx(0.05 * (number % 3), abs=0.02)
        assert found["eosin_sd_od"] < 0.02
    assert checked > 50


@pytest.mark.parametrize("task", TASKS)
def test_stain_is_that_of_the_label_map_at_the_tasks_own_resolution(picture: Path, fresh: Path, task: str) -> None:
    seen = label_map(fresh, task)
    with open_slide(picture, mpp=MPP) as slide:
        mpp = read_run(fresh / "world").tasks[task].mpp
        image = slide.read(slide.frame.at(mpp).box.whole(), mpp)
    density = np.linalg.solve(UNIT_STAINS, -np.log10(np.maximum(image, 1) / 255.0).reshape(-1, 3).T)
    table = geryon.read_objects(fresh / "world", task)
    for name, values in zip(("haematoxylin", "eosin"), density, strict=False):
        mine = [values[seen.ravel() == row + 1] for row in range(len(table))]
        np.testing.assert_allclose(table[f"{name}_od"], [v.mean() for v in mine], atol=1e-4)
        np.testing.assert_allclose(table[f"{name}_sd_od"], [v.std() for v in mine], atol=1e-4)


class Watched:
    """A slide that remembers how much was read at once."""

    def __init__(self, slide: object, refuses: Callable[[object], bool] = lambda box: False) -> None:
        self.slide, self.refuses, self.shapes = slide, refuses, list[tuple[int, int]]()

    def __getattr__(self, name: str) -> object:
        return getattr(self.slide, name)

    def read(self, box: object, mpp: float) -> np.ndarray:
        if self.refuses(box):
            raise InputError(what="a tile is damaged", where="torn.svs", mend="copy the file again")
        image: np.ndarray = self.slide.read(box, mpp)  # type: ignore[attr-defined]
        self.shapes.append(image.shape[:2])
        return image


@pytest.mark.parametrize("task", ["nuclei", "glands"])
def test_the_slide_is_read_in_blocks_whose_size_changes_nothing(
    picture: Path, fresh: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = geryon.read_objects(fresh / "world", task)
    monkeypatch.setattr(stain, "BLOCK_PX", 48)
    with open_slide(picture, mpp=MPP) as opened:
        slide = Watched(opened)
        place = measures.Place(slide=slide, mpp=read_run(fresh / "world").tasks[task].mpp)  # type: ignore[arg-type]
        found = stain.stain_of(outlines_from_wkb(table["geometry"]), place)
    assert len(slide.shapes) > 4
    assert max(side for shape in slide.shapes for side in shape) <= 48
    area = np.prod(np.ceil(np.array(WORLD.shape) * MPP / place.mpp))
    assert sum(h * w for h, w in slide.shapes) <= area, "no place is read twice"
    for name in stain.COLUMNS:
        np.testing.assert_allclose(found[name], table[name], rtol=1e-5, atol=1e-6)


def test_few_blocks_are_held_at_once(picture: Path, fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = most = 0
    monkeypatch.setattr(stain, "BLOCK_PX", 48)
    table = geryon.read_objects(fresh / "world", "nuclei", columns=["geometry"])

    class Counted(Watched):
        def read(self, box: object, mpp: float) -> np.ndarray:
            nonlocal held, most
            held += 1
            most = max(most, held)
            return super().read(box, mpp)

    def used(outlines: Outlines, box: Box) -> tuple[np.ndarray, np.ndarray]:
        nonlocal held
        held -= 1
        return inside(outlines, box)

    monkeypatch.setattr(stain, "inside", used)
    with open_slide(picture, mpp=MPP) as opened:
        place = measures.Place(slide=Counted(opened), mpp=0.5)  # type: ignore[arg-type]
        stain.stain_of(outlines_from_wkb(table["geometry"]), place)
    assert held == 0 and most <= stain.READERS + 1


def test_an_unreadable_place_costs_its_objects_one_measure_and_is_told(
    picture: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stain, "BLOCK_PX", 100)
    told: list[events.Event] = []
    asked = extras.Extras(measures=("shape", "stain"))
    with open_slide(picture, mpp=MPP) as opened:
        torn = Watched(opened, refuses=lambda box: box.frame.mpp_x == MPP and box.xmin <= 300 <= box.xmax)  # type: ignore[attr-defined]
        record = extras.complete(torn, read_run(out / "world"), asked, told.append)  # type: ignore[arg-type]
    assert any(isinstance(e, events.Warned) and "damaged" in e.text for e in told)
    table = geryon.read_objects(out / "world", "nuclei")
    lost = table["eosin_od"].null_count
    assert 0 < lost < len(table) / 2 and table["perimeter_um"].null_count == 0
    assert record.warnings == read_run(out / "world").warnings == (f"{lost} nuclei have no stain",)
    assert extras.has_all(record, asked)
    before = contents(out / "world")
    completed(picture, out, measures=asked.measures)
    assert contents(out / "world") == before


def test_tiles_change_no_measure(picture: Path, fresh: Path, tmp_path: Path) -> None:
    def rows(out: Path, task: str) -> list[tuple[object, ...]]:
        table = geryon.read_objects(out / "world", task)
        names = [n for m in (measures.SHAPE, stain.STAIN) for n in m.columns]
        return sorted(zip(table["geometry"].to_pylist(), *(table[n].to_pylist() for n in names), strict=True))

    options = Options(mpp=MPP, cutting=replace(CUTTING, tile_px=512), measures=("shape", "stain"))
    segment(picture, out=tmp_path, model=oracle(WORLD), options=options)
    for task in TASKS:
        assert rows(tmp_path, task) == rows(fresh, task)


# When they are added


def test_a_fresh_run_twice_has_the_same_bytes(picture: Path, fresh: Path, tmp_path: Path) -> None:
    segmented(picture, tmp_path, **ALL)
    assert contents(tmp_path / "world") == contents(fresh / "world")


@pytest.mark.parametrize(
    "steps",
    [
        [ALL],
        [{"labels": True}, {"measures": ("stain",)}, {"measures": ("shape",)}],
        [{"measures": ("shape",), "labels": True}, {"measures": ("stain", "shape")}],
    ],
)
def test_a_finished_slide_gets_them_without_the_network(
    picture: Path, fresh: Path, out: Path, steps: list[dict[str, object]]
) -> None:
    first = read_run(out / "world")
    for asked in steps:
        record = completed(picture, out, **asked)
        assert record == read_run(out / "world") and is_whole(out / "world")
    assert contents(out / "world") == contents(fresh / "world")
    assert record.files == read_run(fresh / "world").files
    assert (record.tasks, record.command, record.model) == (first.tasks, first.command, first.model)
    assert not (out / "world" / ".parts").exists()


def test_what_is_there_is_not_touched(picture: Path, fresh: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(fresh, tmp_path / "out"))
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in out.rglob("*") if p.is_file()}
    for asked in (ALL, {"measures": ("shape",)}, {}):
        assert completed(picture, out, **asked) == read_run(out / "world")
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in out.rglob("*") if p.is_file()}


def test_only_what_is_missing_is_made(picture: Path, out: Path) -> None:
    completed(picture, out, measures=("shape",))
    (out / "world" / "labels").mkdir()
    old = {p: p.stat().st_mtime_ns for p in (out / "world").rglob("*.parquet")}
    completed(picture, out, labels=True, measures=("shape",))
    assert old == {p: p.stat().st_mtime_ns for p in (out / "world").rglob("*.parquet")}
    (out / "world" / "labels" / "glands.ome.tif").unlink()
    kept = {p: p.stat().st_mtime_ns for p in (out / "world" / "labels").iterdir()}
    assert is_whole(out / "world"), "a map can be drawn again: no reason to run the network"
    completed(picture, out)
    assert (out / "world" / "labels" / "glands.ome.tif").is_file()
    assert kept.items() <= {p: p.stat().st_mtime_ns for p in (out / "world" / "labels").iterdir()}.items()


def stop_at(monkeypatch: pytest.MonkeyPatch, module: object, name: str, call: int) -> None:
    """The power is cut at that call of the function."""
    real, left = getattr(module, name), [call]

    def stopping(*args: object, **more: object) -> object:
        left[0] -= 1
        if left[0] < 0:
            raise Stopped
        return real(*args, **more)

    monkeypatch.setattr(module, name, stopping)


STOPS = [
    (measures.shapes, "shapes", 0),
    (measures.shapes, "shapes", 1),
    (stain, "stain_densities", 2),
    (measures, "unmeasured", 0),
    (labels, "write_labels", 0),
    (labels, "write_labels", 2),
    (labels, "drawn", 3),
]


@pytest.mark.parametrize(("module", "name", "call"), [*STOPS, (extras, "write_run", 0)])
def test_a_stop_while_adding_leaves_a_finished_run_and_a_repeat_the_rest(
    picture: Path, fresh: Path, out: Path, monkeypatch: pytest.MonkeyPatch, module: object, name: str, call: int
) -> None:
    record, tables = read_run(out / "world"), {t: geryon.read_objects(out / "world", t) for t in TASKS}
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_at(patch, module, name, call)
        completed(picture, out, **ALL)
    assert read_run(out / "world") == record and is_whole(out / "world")
    for task, table in tables.items():
        now = geryon.read_objects(out / "world", task)
        assert now.select(table.column_names).equals(table)
        assert set(now.column_names) - set(table.column_names) in (
            set(),
            {n for m in (measures.SHAPE, stain.STAIN) for n in m.columns},
        )
    again = completed(picture, out, **ALL)
    assert contents(out / "world") == contents(fresh / "world")
    assert again.files == read_run(fresh / "world").files


@pytest.mark.parametrize(("module", "name", "call"), STOPS[1::2])
def test_a_stop_at_the_end_of_a_fresh_run_leaves_it_unfinished(
    picture: Path, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: object, name: str, call: int
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stop_at(patch, module, name, call)
        segmented(picture, tmp_path, **ALL)
    assert not (tmp_path / "world" / NAME).exists()
    segmented(picture, tmp_path, **ALL)
    assert contents(tmp_path / "world") == contents(fresh / "world")


KILLED = """
import os, signal, sys
from geryon.flows import measure
from tests.flows.test_extras import ALL, completed
from pathlib import Path
real, calls = measure.shapes.shapes, []

def deadly(outlines):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(outlines)

measure.shapes.shapes = deadly
completed(Path(sys.argv[1]), Path(sys.argv[2]), **ALL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_killed_while_adding_a_repeat_gives_the_same(picture: Path, fresh: Path, out: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(picture), str(out)], cwd=ROOT, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert (out / "world" / ".parts" / "lock").is_file() and is_whole(out / "world")
    assert list((out / "world" / "objects").glob(".*.writing"))
    completed(picture, out, **ALL)
    assert contents(out / "world") == contents(fresh / "world")


def test_two_processes_do_not_add_at_once(picture: Path, out: Path) -> None:
    with Parts(out / "world", key="somebody else's"), pytest.raises(MachineError, match="is working on this slide"):
        completed(picture, out, labels=True)


def test_another_slide_of_that_name_is_refused(out: Path, tmp_path: Path) -> None:
    other = tmp_path / "world.png"
    cv2.imwrite(str(other), np.full((300, 300, 3), 200, np.uint8))
    before = contents(out / "world")
    for asked in ({"labels": True}, {}):
        with pytest.raises(UsageError, match="another slide.*another --out"):
            completed(other, out, **asked)
    assert contents(out / "world") == before


def test_another_mpp_is_refused(picture: Path, out: Path) -> None:
    mute = dying(oracle(WORLD), 0)
    with pytest.raises(UsageError, match="another resolution"):
        segment(picture, out=out, model=mute, options=Options(mpp=0.25, measures=("stain",)))


def test_a_run_without_objects_gets_empty_ones(tmp_path: Path) -> None:
    world = make_world(300, 300, nuclei=0, glands=0)
    world = replace(world, maps={k: v * (k == "tissue") for k, v in world.maps.items()})
    path = tmp_path / "world.png"
    cv2.imwrite(str(path), np.full((300, 300, 3), 200, np.uint8))
    options = Options(mpp=MPP, cutting=CUTTING, labels=True, measures=("shape", "stain"))
    segment(path, out=tmp_path, model=oracle(world), options=options)
    assert not label_map(tmp_path, "nuclei").any()
    assert set(stain.COLUMNS) < set(geryon.read_objects(tmp_path / "world", "nuclei").column_names)


# Where they go


def test_exports_and_readers_carry_them(fresh: Path, tmp_path: Path) -> None:
    folder = fresh / "world"
    columns = {n for m in (measures.SHAPE, stain.STAIN) for n in m.columns}
    table = geryon.read_objects(folder, "nuclei", columns=["id", *sorted(columns)])
    rows = {row["id"]: row for row in table.to_pylist()}
    assert {str(table.schema.field(name).type) for name in columns} == {"float"}
    (made,) = export(folder, to="csv", out=tmp_path / "n.csv", tasks=["nuclei"])
    with made.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            assert {n: float(row[n]) for n in columns} == pytest.approx({n: rows[int(row["id"])][n] for n in columns})
    (made,) = export(folder, to="geojson", out=tmp_path / "n.geojson", tasks=["nuclei"])
    features = json.loads(made.read_text(encoding="utf-8"))["features"]
    assert len(features) == len(rows) > 0
    for feature in features:
        found = feature["properties"]["measurements"]
        expected = rows[int(feature["properties"]["metadata"]["geryon_id"])]
        assert {n: found[n] for n in columns} == pytest.approx({n: expected[n] for n in columns}, abs=1e-5)


def test_the_command_adds_them(picture: Path, fresh: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for flow in ("segment", "segment_all"):
        monkeypatch.setattr(f"geryon.flows.{flow}.load_model", lambda name, **more: dying(oracle(WORLD), 0))
    monkeypatch.setattr("geryon.flows.segment.cutting_of", lambda net, **more: CUTTING)
    words = ["segment", str(picture), "--out", str(out), "--mpp", str(MPP), "--quiet"]
    assert main([*words, "--labels", "--measures", "shape,stain"]) == 0
    assert contents(out / "world") == contents(fresh / "world")


@pytest.mark.parametrize("asked", ["shape,colour", "colour"])
def test_an_unknown_measure_is_refused_before_any_work(
    asked: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["segment", "no-such-slide.svs", "--out", str(tmp_path), "--measures", asked]) == 2
    told = capsys.readouterr().err
    assert "'colour'" in told and "shape, stain" in told
    with pytest.raises(UsageError, match="'colour', 'size'.*shape, stain"):
        Options(measures=("colour", "shape", "size"))
    assert list(tmp_path.iterdir()) == []
