"""What every exporter must do; subclass it in a test and say how its files are read."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from geryon.errors import InputError
from geryon.space.boxes import Frame
from geryon.space.objects import Objects, Outlines
from geryon.store.export.exporter import ExportSettings, get_exporter
from geryon.store.run import ModelUsed, RunRecord, TaskDone, write_run
from geryon.store.tables import TableWriter, objects_schema, objects_table

CLASSES = ("epithelial", "lymphocyte")


def squares(n: int, columns: int = 1000) -> Objects:
    """n nuclei of 10 x 10 px in level0, on a grid, in rows of `columns`."""
    xy = np.stack([np.arange(n) % columns, np.arange(n) // columns], axis=1) * 20.0 + 10.0
    corners = np.array([[-5, -5], [5, -5], [5, 5], [-5, 5]], float)
    return Objects(
        frame=Frame(name="level0", mpp_x=0.5, mpp_y=0.5, width=20.0 * columns, height=20.0 * (n // columns + 1)),
        xy=xy,
        outlines=Outlines(
            points=(xy[:, None] + corners).reshape(-1, 2), ring_at=np.arange(n + 1) * 4, object_at=np.arange(n + 1)
        ),
        area=np.full(n, 100.0),
        score=np.full(n, 204, np.uint8),
        p=np.tile(np.array([[51, 204]], np.uint8), (n, 1)),
    )


def result_folder(folder: Path, n: int, *, rows: int = 50_000) -> RunRecord:
    """The results of a run that found the n nuclei of `squares`, ids from 1."""
    table = objects_schema(CLASSES).empty_table()
    with TableWriter(folder / "objects" / "nuclei.parquet", table.schema, rows=rows, level=1) as writer:
        if n:
            found = squares(n)
            ids = np.arange(1, n + 1, dtype=np.uint64)
            writer.write(objects_table(found, ids=ids, class_names=CLASSES, area_um2=found.area / 4))
    nuclei = TaskDone(
        kind="bounded", mpp=0.5, classes=CLASSES, colours=((200, 0, 0), (0, 0, 200)), objects=n, counts={CLASSES[1]: n}
    )
    record = RunRecord(
        version="0",
        command=("geryon", "segment"),
        model=ModelUsed(name="oracle"),
        slide="slide é",
        size_level0=(20_000, 20 * (n // 1000 + 1)),
        mpp=(0.5, 0.5),
        mpp_source="given",
        tasks={"nuclei": nuclei},
        files={"objects/nuclei": "objects/nuclei.parquet"},
        origin_level0=(7, 11),
    )
    return write_run(folder, record)


class ExporterContract:
    """Coordinates return; an empty slide is fine; memory does not grow with the rows; a failure leaves nothing."""

    name: str
    """As in EXPORTERS."""
    many = 8_000

    def centroids(self, path: Path) -> np.ndarray:
        """float64 [n, 2]: x, y in level0 of every object in the file, in its order."""
        raise NotImplementedError

    def write(self, record: RunRecord, path: Path, gzip: bool = False, canvas: bool = False) -> Path:
        path = path.with_name(path.name + get_exporter(self.name).suffix)
        get_exporter(self.name).write(record, path, ExportSettings(tasks=("nuclei",), gzip=gzip, canvas=canvas))
        return path

    def test_coordinates_return(self, tmp_path: Path) -> None:
        record = result_folder(tmp_path / "slide", 1500, rows=400)
        path = self.write(record, tmp_path / "out")
        np.testing.assert_allclose(self.centroids(path), squares(1500).xy, atol=0.01)

    def test_canvas_adds_the_origin(self, tmp_path: Path) -> None:
        path = self.write(result_folder(tmp_path / "slide", 3), tmp_path / "out", canvas=True)
        np.testing.assert_allclose(self.centroids(path), squares(3).xy + [7, 11], atol=0.01)

    def test_an_empty_slide_gives_a_readable_file(self, tmp_path: Path) -> None:
        path = self.write(result_folder(tmp_path / "slide", 0), tmp_path / "out")
        assert self.centroids(path).shape == (0, 2)

    def test_same_objects_same_bytes(self, tmp_path: Path) -> None:
        record = result_folder(tmp_path / "slide", 50)
        first, second = self.write(record, tmp_path / "a", gzip=True), self.write(record, tmp_path / "b", gzip=True)
        assert first.read_bytes() == second.read_bytes()

    def test_many_rows_take_bounded_memory(self, tmp_path: Path) -> None:
        peaks = []
        for n in (self.many // 4, self.many):
            record = result_folder(tmp_path / f"slide{n}", n, rows=2_000)
            tracemalloc.start()
            self.write(record, tmp_path / f"out{n}")
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] < 1.5 * peaks[0] + 1e6

    def test_a_failure_leaves_no_file(self, tmp_path: Path) -> None:
        record = result_folder(tmp_path / "slide", 10)
        damaged = tmp_path / "slide" / "objects" / "nuclei.parquet"
        damaged.write_bytes(damaged.read_bytes()[:-8])
        (tmp_path / "to").mkdir()
        with pytest.raises(InputError):
            self.write(record, tmp_path / "to" / "out")
        assert list((tmp_path / "to").iterdir()) == []
