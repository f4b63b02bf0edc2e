"""Exported files hold what the tables hold, as QuPath and a spreadsheet read it."""

from __future__ import annotations

import argparse
import csv
import gzip
import io
import json
import uuid
from dataclasses import replace
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely

from geryon.cli import export as command
from geryon.errors import InputError, UsageError
from geryon.events import Advanced, Finished, Started
from geryon.flows.export import export
from geryon.plugins import load
from geryon.store.export import EXPORTERS
from geryon.store.export.exporter import Exporter
from geryon.store.run import RunRecord, TaskDone, write_run
from geryon.store.tables import TableWriter, objects_table, read_objects
from geryon.testing.exporters import ExporterContract, result_folder, squares


class TestGeojson(ExporterContract):
    name = "geojson"

    def centroids(self, path: Path) -> np.ndarray:
        features = json.loads(path.read_text(encoding="utf-8"))["features"]
        polygons = [shapely.geometry.shape(f["geometry"]) for f in features]
        return np.array([(p.centroid.x, p.centroid.y) for p in polygons]).reshape(-1, 2)


class TestCsv(ExporterContract):
    name = "csv"

    def centroids(self, path: Path) -> np.ndarray:
        with path.open(encoding="utf-8", newline="") as file:
            return np.array([(float(r["x_level0"]), float(r["y_level0"])) for r in csv.DictReader(file)]).reshape(-1, 2)


def with_glands(folder: Path) -> RunRecord:
    """Three nuclei, the first in the one gland, whose measure is missing; the gland has no classes."""
    record = result_folder(folder, 3)
    found, classes = squares(3), ("epithelial", "lymphocyte")
    nuclei = objects_table(
        found,
        ids=np.array([1, 2, 3]),
        class_names=classes,
        area_um2=found.area / 4,
        holder=np.array([2**60, 0, 0]),
        holder_name="gland",
        measures={"ratio_1": np.array([0.5, np.nan, np.inf])},
    )
    gland = replace(squares(1), p=np.zeros((1, 0), np.uint8))
    glands = objects_table(gland, ids=np.array([2**60], np.uint64), class_names=(), area_um2=np.array([25.0]))
    for name, table in (("nuclei", nuclei), ("glands", glands)):
        with TableWriter(folder / "objects" / f"{name}.parquet", table.schema, level=1) as writer:
            writer.write(table)
    tasks = {
        "nuclei": replace(record.tasks["nuclei"], within="glands"),
        "glands": TaskDone(kind="unbounded", mpp=2.0, colours=((9, 8, 7),), objects=1),
        "tissue": TaskDone(kind="raster", mpp=16.0),
    }
    files = {name: f"objects/{name.split('/')[1]}.parquet" for name in ("objects/nuclei", "objects/glands")}
    return write_run(folder, replace(record, tasks=tasks, files=files))


def test_geojson_is_what_qupath_reads(tmp_path: Path) -> None:
    record = with_glands(tmp_path / "s")
    (path,) = export(tmp_path / "s", to="geojson")
    assert path == tmp_path / "s" / f"{record.slide}.geojson"
    document = json.loads(path.read_bytes().decode("utf-8"), parse_constant=lambda text: pytest.fail(f"{text} in JSON"))
    assert document["type"] == "FeatureCollection"
    first, second, third, gland = document["features"]
    properties = first["properties"]
    assert [f["properties"]["objectType"] for f in document["features"]] == ["detection"] * 3 + ["annotation"]
    assert properties["classification"] == {"name": "lymphocyte", "color": [0, 0, 200]}
    assert gland["properties"]["classification"] == {"name": "glands", "color": [9, 8, 7]}
    assert properties["measurements"] == {
        "Area µm^2": 25.0,
        "Score": 0.8,
        "Probability epithelial": 0.2,
        "Probability lymphocyte": 0.8,
        "ratio_1": 0.5,
    }
    assert (
        "ratio_1" not in second["properties"]["measurements"] and "ratio_1" not in third["properties"]["measurements"]
    )
    assert properties["metadata"] == {"geryon_id": "1", "task": "nuclei", "gland": gland["id"]}
    assert "gland" not in second["properties"]["metadata"]
    assert first["geometry"]["coordinates"] == [[[5.0, 5.0], [15.0, 5.0], [15.0, 15.0], [5.0, 15.0], [5.0, 5.0]]]
    ids = [f["id"] for f in document["features"]]
    assert len({str(uuid.UUID(i)) for i in ids} & set(ids)) == 4
    assert len(geopandas.read_file(path)) == 4


def test_gzip_holds_the_same(tmp_path: Path) -> None:
    with_glands(tmp_path / "s")
    (plain,), (packed,) = (export(tmp_path / "s", to="geojson", gzip=g) for g in (False, True))
    assert packed.name.endswith(".geojson.gz") and gzip.decompress(packed.read_bytes()) == plain.read_bytes()


def test_csv_has_one_file_a_task_and_its_units(tmp_path: Path) -> None:
    with_glands(tmp_path / "s")
    nuclei, glands = export(tmp_path / "s", to="csv", out=tmp_path)
    assert [p.name for p in (nuclei, glands)] == ["slide é.nuclei.csv", "slide é.glands.csv"]
    rows = list(csv.DictReader(io.StringIO(nuclei.read_text(encoding="utf-8"))))
    assert rows[0] == {
        "id": "1",
        "x_level0": "10",
        "y_level0": "10",
        "x_um": "5",
        "y_um": "5",
        "class": "lymphocyte",
        "score": "0.8",
        "p_epithelial": "0.2",
        "p_lymphocyte": "0.8",
        "area_um2": "25",
        "gland": str(2**60),
        "ratio_1": "0.5",
    }
    assert rows[1]["gland"] == "" and rows[1]["ratio_1"] == ""
    assert len(read_objects(tmp_path / "s", "glands")) == len(glands.read_text(encoding="utf-8").splitlines()) - 1


@pytest.mark.parametrize(
    ("to", "out", "tasks", "made"),
    [
        ("csv", "x.csv", ["nuclei"], ["x.csv"]),
        ("csv", "x.csv", None, ["x.nuclei.csv", "x.glands.csv"]),
        ("csv", "new/x.txt", ["glands"], ["new/x.txt"]),
        ("geojson", "x.json", None, ["x.json"]),
        ("geojson", "v1.2", ["nuclei"], ["v1.2/slide é.geojson"]),
        ("geojson", "new", None, ["new/slide é.geojson"]),
        ("geojson", "new.json/", None, ["new.json/slide é.geojson"]),
        ("csv", "new/", ["glands"], ["new/slide é.glands.csv"]),
        ("csv", "x.csv.gz", None, ["x.nuclei.csv.gz", "x.glands.csv.gz"]),
    ],
)
def test_files_lie_where_asked(tmp_path: Path, to: str, out: str, tasks: list[str] | None, made: list[str]) -> None:
    with_glands(tmp_path / "s")
    paths = export(tmp_path / "s", to=to, out=f"{tmp_path}/{out}", tasks=tasks)
    assert [str(p.relative_to(tmp_path)) for p in paths] == made
    assert all(p.is_file() for p in paths)


@pytest.mark.parametrize(
    ("out", "packed", "made"),
    [("x.geojson", True, "x.geojson.gz"), ("x.geojson.gz", True, "x.geojson.gz"), ("x.json.gz", False, "x.json.gz")],
)
def test_what_is_compressed_is_named_so(tmp_path: Path, out: str, packed: bool, made: str) -> None:
    with_glands(tmp_path / "s")
    (path,) = export(tmp_path / "s", to="geojson", out=tmp_path / out, gzip=packed)
    assert path == tmp_path / made and sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == [made]
    assert len(json.loads(gzip.decompress(path.read_bytes()))["features"]) == 4


def test_pixels_and_um_of_a_csv_have_one_origin(tmp_path: Path) -> None:
    record = result_folder(tmp_path / "s", 5)
    for canvas in (False, True):
        (path,) = export(tmp_path / "s", to="csv", canvas=canvas)
        for row in csv.DictReader(io.StringIO(path.read_text(encoding="utf-8"))):
            for axis, mpp in zip("xy", record.mpp, strict=True):
                assert float(row[f"{axis}_um"]) == pytest.approx(mpp * float(row[f"{axis}_level0"]), abs=1e-3)


def test_what_lies_within_others_is_a_detection(tmp_path: Path) -> None:
    """QuPath does not hold annotations by the hundred thousand, and lumina come in such numbers."""
    record = with_glands(tmp_path / "s")
    lumina = replace(record.tasks["glands"], within="glands")
    files = {**record.files, "objects/lumina": "objects/glands.parquet"}
    write_run(tmp_path / "s", replace(record, tasks={**record.tasks, "lumina": lumina}, files=files))
    (path,) = export(tmp_path / "s", to="geojson", tasks=("glands", "lumina"))
    glands, lumina_ = json.loads(path.read_bytes())["features"]
    assert [f["properties"]["objectType"] for f in (glands, lumina_)] == ["annotation", "detection"]
    assert lumina_["properties"]["classification"] == {"name": "lumina", "color": [9, 8, 7]}


def test_progress_and_faults_are_told(tmp_path: Path) -> None:
    with_glands(tmp_path / "s")
    told: list[object] = []
    export(tmp_path / "s", to="csv", tell=told.append)
    assert isinstance(told[0], Started) and told[0].total == 4 and isinstance(told[-1], Finished)
    assert sum(e.n for e in told if isinstance(e, Advanced)) == 4
    with pytest.raises(UsageError, match="csv, geojson"):
        export(tmp_path / "s", to="docx")
    with pytest.raises(UsageError, match="'tissue'.*nuclei, glands"):
        export(tmp_path / "s", to="csv", tasks=["tissue"])
    with pytest.raises(InputError):
        export(tmp_path, to="csv")


def test_every_exporter_of_the_table_loads() -> None:
    assert all(isinstance(load(path), Exporter) for path in EXPORTERS.values())


def test_the_command_exports_and_names_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with_glands(tmp_path / "s")
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    args = ["--to", "csv", "--out", str(tmp_path / "n.csv"), "--task", "nuclei"]
    assert command.run(parser.parse_args([str(tmp_path / "s"), *args])) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "n.csv")
    assert (tmp_path / "n.csv").is_file()
