"""Objects written and read again: the same, by anybody's reader, and never half."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import duckdb
import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from geryon.errors import InputError, MachineError, UsageError
from geryon.space.boxes import Box, Frame
from geryon.space.objects import Objects, Outlines, no_objects, offsets
from geryon.store import tables
from geryon.store.tables import TableWriter, groups_meeting, hilbert, objects_schema, objects_table, read_objects
from geryon.store.wkb import outlines_from_wkb, sizes, wkb_from_outlines
from geryon.testing.exporters import CLASSES, result_folder, squares


def blobs(n: int, seed: int = 0, holes: bool = True) -> Objects:
    """n star-shaped outlines on a quarter-pixel lattice, some with a hole."""
    rng = np.random.default_rng(seed)
    xy = rng.uniform(50, 5000, (n, 2))
    rings, per_object = [], []
    for k in range(n):
        turn = np.linspace(0, 2 * np.pi, int(rng.integers(8, 24)), endpoint=False)
        round_ = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        with_hole = holes and k % 3 == 0
        rings += [xy[k] + round_ * rng.uniform(6, 9)] + [(xy[k] + round_ * 3)[::-1]] * with_hole
        per_object.append(1 + with_hole)
    points = np.round(np.concatenate(rings) * 4) / 4 if rings else np.zeros((0, 2))
    outlines = Outlines(
        points=points,
        ring_at=offsets(np.array([len(r) for r in rings], int)),
        object_at=offsets(np.array(per_object, int)),
    )
    return Objects(
        frame=Frame(name="level0", mpp_x=0.25, mpp_y=0.25, width=6000, height=6000),
        xy=xy,
        outlines=outlines,
        area=rng.uniform(50, 200, n),
        score=rng.integers(0, 256, n).astype(np.uint8),
        p=rng.integers(1, 256, (n, len(CLASSES))).astype(np.uint8),
    )


def table_of(objects: Objects, **more: object) -> pa.Table:
    ids = np.arange(len(objects), dtype=np.uint64) + np.uint64(2**60)
    return objects_table(
        objects, ids=ids, class_names=CLASSES, area_um2=objects.area / 16, **({"holder_name": "gland"} | more)
    )  # type: ignore[arg-type]


def write(path: Path, table: pa.Table, **how: int) -> Path:
    with TableWriter(path, table.schema, **how) as writer:
        writer.write(table)
    return path


rings_of_points = st.lists(
    st.lists(st.tuples(*[st.floats(allow_nan=False, width=64)] * 2), min_size=1, max_size=6), min_size=1, max_size=3
)


@settings(max_examples=60, deadline=None)
@given(st.lists(rings_of_points, max_size=5))
def test_wkb_returns_each_bit(objects: list[list[list[tuple[float, float]]]]) -> None:
    rings = [ring for one in objects for ring in one]
    outlines = Outlines(
        points=np.array([p for ring in rings for p in ring], float).reshape(-1, 2),
        ring_at=offsets(np.array([len(r) for r in rings], int)),
        object_at=offsets(np.array([len(one) for one in objects], int)),
    )
    column = wkb_from_outlines(outlines)
    back = outlines_from_wkb(column)
    assert back.points.tobytes() == outlines.points.tobytes()
    assert back.ring_at.tolist() == outlines.ring_at.tolist()
    assert back.object_at.tolist() == outlines.object_at.tolist()
    assert [len(v.as_py()) for v in column] == sizes(outlines).tolist()
    if len(outlines) > 1:
        np.testing.assert_array_equal(
            outlines_from_wkb(column.slice(1)).points, outlines.points[outlines.ring_at[outlines.object_at[1]] :]
        )


def test_wkb_is_what_shapely_writes() -> None:
    outlines = blobs(30).outlines
    for k, wkb in enumerate(wkb_from_outlines(outlines)):
        outer, *holes = outlines.rings(k)
        polygon = shapely.Polygon(outer, holes)
        assert shapely.is_valid(polygon)
        assert shapely.to_wkb(polygon, byte_order=1) == wkb.as_py()


@pytest.mark.parametrize(
    "spoil", [lambda w: w[:-1], lambda w: b"\x00" + w[1:], lambda w: w + b"x", lambda w: w[:20] + b"\x07" + w[21:]]
)
def test_broken_wkb_is_an_input_error(spoil) -> None:  # type: ignore[no-untyped-def]
    whole = wkb_from_outlines(blobs(1, holes=False).outlines)[0].as_py()
    with pytest.raises(InputError, match="geometry 1"):
        outlines_from_wkb(pa.array([whole, spoil(whole)], pa.binary()))


def test_columns_are_those_of_the_contract() -> None:
    objects = blobs(3)
    holder = np.array([0, 2**60 + 1, 0], np.uint64)
    table = table_of(objects, holder=holder, measures={"roundness_1": np.array([1, np.nan, 3])})
    assert {f.name: str(f.type) for f in table.schema} == {
        "id": "uint64",
        "x": "float",
        "y": "float",
        "bbox": "struct<xmin: float not null, ymin: float not null, xmax: float not null, ymax: float not null>",
        "geometry": "binary",
        "class": "dictionary<values=string, indices=int32, ordered=0>",
        "score": "uint8",
        "p_epithelial": "uint8",
        "p_lymphocyte": "uint8",
        "area_um2": "float",
        "gland": "uint64",
        "roundness_1": "float",
    }
    assert table["gland"].to_pylist() == [None, 2**60 + 1, None]
    assert table["roundness_1"].to_pylist() == [1, None, 3]
    assert "gland" not in table_of(objects).column_names
    plain = objects_table(no_objects(objects.frame, 0), ids=np.zeros(0), class_names=(), area_um2=np.zeros(0))
    assert plain.column_names == ["id", "x", "y", "bbox", "geometry", "score", "area_um2"]


def test_class_is_the_most_probable_and_null_where_nothing_is_known() -> None:
    objects = squares(3)
    objects.p[:] = [[0, 9], [9, 9], [0, 0]]
    assert table_of(objects)["class"].to_pylist() == ["lymphocyte", "epithelial", None]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-1e7, 1e7)] * 2), min_size=3, max_size=9))
def test_bbox_covers_the_outline(points: list[tuple[float, float]]) -> None:
    objects = squares(1)
    outlines = Outlines(points=np.array(points), ring_at=np.array([0, len(points)]), object_at=np.array([0, 1]))
    bbox = tables.bbox_column(
        Objects(**{f: getattr(objects, f) for f in ("frame", "xy", "area", "score", "p")}, outlines=outlines)
    )
    box = bbox[0].as_py()
    assert box["xmin"] <= min(x for x, _ in points) and box["xmax"] >= max(x for x, _ in points)
    assert box["ymin"] <= min(y for _, y in points) and box["ymax"] >= max(y for _, y in points)


@settings(max_examples=15, deadline=None)
@given(n=st.integers(0, 60), rows=st.integers(1, 25), cuts=st.lists(st.integers(0, 60), max_size=4))
def test_what_is_written_is_read_however_it_is_handed_over(tmp_path_factory, n, rows, cuts) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path_factory.mktemp("t")
    table = table_of(blobs(n), holder=np.arange(n) % 3, measures={"a_px": np.arange(n) / 3})
    one = write(folder / "one.parquet", table, rows=rows, level=1)
    edges = [0, *sorted(min(c, n) for c in cuts), n]
    with TableWriter(folder / "many.parquet", table.schema, rows=rows, level=1) as writer:
        for a, b in pairwise(edges):
            writer.write(table.slice(a, b - a))
    assert one.read_bytes() == (folder / "many.parquet").read_bytes()
    back = pq.read_table(one)
    assert back.replace_schema_metadata(None).cast(table.schema).to_pylist() == table.to_pylist()
    assert [pq.read_metadata(one).row_group(k).num_rows for k in range(-(-n // rows))] == [
        min(rows, n - k * rows) for k in range(-(-n // rows))
    ]


def test_row_groups_are_cut_where_outlines_are_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of(squares(10))  # 93 bytes of WKB each
    monkeypatch.setattr(tables, "GEOMETRY_BYTES", 300)
    one = write(tmp_path / "a.parquet", table, level=1)
    with TableWriter(tmp_path / "b.parquet", table.schema, level=1) as writer:
        for k in range(10):
            writer.write(table.slice(k, 1))
    metadata = pq.read_metadata(one)
    assert [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)] == [3, 3, 3, 1]
    assert one.read_bytes() == (tmp_path / "b.parquet").read_bytes()
    monkeypatch.setattr(tables, "GEOMETRY_BYTES", 5)  # less than one object: still one a group, none lost
    assert pq.read_table(write(tmp_path / "c.parquet", table, level=1)).num_rows == 10


def test_geo_metadata_and_layout(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", table_of(squares(5, columns=2)))
    metadata = pq.read_metadata(path)
    geo = json.loads(metadata.metadata[b"geo"])
    assert geo["version"] == "1.1.0" and geo["primary_column"] == "geometry"
    column = geo["columns"]["geometry"]
    assert column["crs"] is None and "crs" in column
    assert (column["encoding"], column["geometry_types"], column["edges"]) == ("WKB", ["Polygon"], "planar")
    assert column["bbox"] == [5.0, 5.0, 35.0, 55.0]
    assert column["covering"]["bbox"]["xmax"] == ["bbox", "xmax"]
    columns = {
        metadata.row_group(0).column(k).path_in_schema: metadata.row_group(0).column(k)
        for k in range(metadata.num_columns)
    }
    assert {c.compression for c in columns.values()} == {"ZSTD"}
    assert columns["bbox.xmin"].statistics.has_min_max and not columns["geometry"].is_stats_set
    assert (
        "bbox"
        not in json.loads(pq.read_metadata(write(tmp_path / "b.parquet", table_of(squares(0)))).metadata[b"geo"])[
            "columns"
        ]["geometry"]
    )


def test_geopandas_and_duckdb_read_it(tmp_path: Path) -> None:
    objects = blobs(200)
    path = write(tmp_path / "a.parquet", table_of(objects), rows=50)
    frame = geopandas.read_parquet(path)
    assert frame.crs is None and frame.geometry.is_valid.all() and len(frame) == 200
    assert frame.geometry[0].interiors and not frame.geometry[1].interiors
    box = (1000, 1000, 3000, 3000)
    some = geopandas.read_parquet(path, bbox=box)
    hits = shapely.intersects(shapely.box(*box), shapely.box(*objects.outlines.boxes().T))
    assert set(some["id"]) == {2**60 + int(k) for k in np.flatnonzero(hits)}
    asked = (
        f"select count(*), min(id), sum(p_epithelial) from '{path}' where bbox.xmin < 3000 and \"class\" = 'epithelial'"
    )
    (count,) = duckdb.connect().execute(asked).fetchall()
    mine = (objects.outlines.boxes()[:, 0] < 3000) & (objects.p.argmax(axis=1) == 0)
    assert count == (mine.sum(), 2**60 + int(np.flatnonzero(mine)[0]), objects.p[mine, 0].sum())


def test_hilbert_walks_each_cell_once_in_steps_of_one() -> None:
    x, y = (a.ravel() for a in np.meshgrid(np.arange(16), np.arange(16)))
    place = hilbert(x, y, 4)
    walk = np.argsort(place)
    assert sorted(place.tolist()) == list(range(256))
    assert (np.abs(np.diff(x[walk])) + np.abs(np.diff(y[walk])) == 1).all()


def test_read_objects_reads_only_the_row_groups_that_meet_the_box(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result_folder(tmp_path / "s", 4000, rows=500)  # 4 rows of nuclei, 20 px apart, 500 a group
    asked: list[int] = []
    real = pq.ParquetFile.read_row_groups
    monkeypatch.setattr(pq.ParquetFile, "read_row_groups", lambda self, g, **k: asked.extend(g) or real(self, g, **k))
    found = read_objects(tmp_path / "s", "nuclei", box=(100, 20, 200, 40), columns=["x", "class"])
    assert asked == [2]
    assert found.column_names == ["x", "class"]
    assert found["x"].to_pylist() == [110.0, 130.0, 150.0, 170.0, 190.0]
    um = Frame(name="um", mpp_x=1, mpp_y=1, width=10_000, height=40)
    assert read_objects(tmp_path / "s", "nuclei", box=Box(um, 50, 10, 100, 20)).num_rows == 5
    assert read_objects(tmp_path / "s", "nuclei", box=(1e6, 1e6, 2e6, 2e6)).num_rows == 0
    assert read_objects(tmp_path / "s", "nuclei").num_rows == 4000
    assert len(groups_meeting(pq.read_metadata(tmp_path / "s/objects/nuclei.parquet"), (0, 0, 1e5, 1e5))) == 8


def test_read_objects_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_objects(tmp_path / "none", "nuclei")
    result_folder(tmp_path / "out" / "s", 3)
    with pytest.raises(InputError, match="its slides: s"):
        read_objects(tmp_path / "out", "nuclei")
    with pytest.raises(InputError, match="choose one of: nuclei"):
        read_objects(tmp_path / "out" / "s", "glands")
    with pytest.raises(UsageError, match="no column 'klass'.*class"):
        read_objects(tmp_path / "out" / "s", "nuclei", columns=["klass"])
    (tmp_path / "out" / "s" / "run.json").unlink()
    (tmp_path / "out" / "s" / ".parts").mkdir()
    with pytest.raises(InputError, match="not finished.*resume"):
        read_objects(tmp_path / "out" / "s", "nuclei")


def test_an_exception_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    table = table_of(squares(20))
    old = write(tmp_path / "a.parquet", table).read_bytes()
    with pytest.raises(RuntimeError, match="stop"), TableWriter(tmp_path / "a.parquet", table.schema, rows=5) as writer:
        writer.write(table)
        raise RuntimeError("stop")
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]
    assert (tmp_path / "a.parquet").read_bytes() == old


def test_a_full_disk_is_a_machine_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **more: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(MachineError, match="No space left.*free some space"):
        write(tmp_path / "a.parquet", table_of(squares(5)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_really_full_device_is_a_machine_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = pq.ParquetWriter
    monkeypatch.setattr(pq, "ParquetWriter", lambda where, *a, **k: real("/dev/full", *a, **k))
    with pytest.raises(MachineError, match="free some space"):
        write(tmp_path / "a.parquet", table_of(blobs(3000, holes=False)), level=1)
    assert list(tmp_path.iterdir()) == []


WRITTEN = """
import sys
from pathlib import Path
from geryon.store.tables import TableWriter, objects_table
from geryon.testing.exporters import CLASSES, squares
import numpy as np
found = squares(50)
table = objects_table(found, ids=np.arange(50), class_names=CLASSES, area_um2=found.area)
with TableWriter(Path(sys.argv[1]), table.schema) as writer:
    writer.write(table)
sys.exit("pandas" in sys.modules or "pyarrow.compute" in sys.modules)
"""


def test_writing_imports_no_pandas(tmp_path: Path) -> None:
    """Half a second and 40 MB for nothing, where it is installed."""
    subprocess.run([sys.executable, "-c", WRITTEN, str(tmp_path / "a.parquet")], check=True, timeout=60)


KILLED = """
import sys
from itertools import pairwise
from pathlib import Path
from geryon.store.tables import TableWriter, objects_table
from geryon.testing.exporters import CLASSES, squares
import numpy as np
found = squares(500)
table = objects_table(found, ids=np.arange(500), class_names=CLASSES, area_um2=found.area)
with TableWriter(Path(sys.argv[1]), table.schema, rows=500, level=1) as writer:
    while True:
        writer.write(table)
        print("written", flush=True)
"""


def test_killed_while_writing_nothing_looks_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline().strip() == b"written"
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    process.stdout.close()
    left = list(tmp_path.iterdir())
    assert left and not path.exists() and all(p.name.endswith(".writing") for p in left)
    write(path, table_of(squares(3)))  # the next run sweeps it up
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


def test_schema_without_rows_is_that_of_the_table() -> None:
    assert table_of(squares(0), holder=np.zeros(0)).schema == objects_schema(CLASSES, holder_name="gland")
