"""Finished tables by row: who lies where, and columns added without touching what is there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from geryon.space.boxes import Box, Frame
from geryon.space.objects import Outlines
from geryon.store.rows import add_measures, measures_of, numbered_outlines, unmeasured
from geryon.store.run import RunRecord
from geryon.store.tables import read_objects
from geryon.testing.exporters import result_folder, squares


def left_edges(outlines: Outlines) -> dict[str, np.ndarray]:
    return {"left_px": outlines.boxes()[:, 0]}


@pytest.fixture
def record(tmp_path: Path) -> RunRecord:
    """4 rows of 1000 nuclei of 10 x 10 px, 20 px apart, 500 a row group."""
    return result_folder(tmp_path / "s", 4000, rows=500)


def test_rows_of_a_place_keep_their_numbers(record: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda self, g, **k: asked.append(g) or real(self, g, **k))
    box = Box(record.frame, 9985, 21, 10055, 39)  # over the edge of two row groups
    numbers, outlines = numbered_outlines(record, "nuclei", box)
    assert numbers.tolist() == [1499, 1500, 1501, 1502] and asked == [2, 3]
    np.testing.assert_array_equal(outlines.points, squares(4000).outlines.take(numbers).points)
    um = Frame(name="um", mpp_x=1, mpp_y=1, width=10_000, height=40)
    assert numbered_outlines(record, "nuclei", Box(um, 4992.5, 10.5, 5027.5, 19.5))[0].tolist() == numbers.tolist()
    nowhere, none = numbered_outlines(record, "nuclei", Box(record.frame, 1e6, 0, 2e6, 1))
    assert len(nowhere) == len(none) == 0


def test_columns_are_added_and_all_else_stays(record: RunRecord) -> None:
    before = read_objects(record.folder, "nuclei")  # type: ignore[arg-type]
    assert measures_of(record, "nuclei") == ()
    add_measures(record, "nuclei", ["left_px"], left_edges)
    after = read_objects(record.folder, "nuclei")  # type: ignore[arg-type]
    assert measures_of(record, "nuclei") == ("left_px",)
    assert after.drop_columns(["left_px"]).equals(before) and str(after.schema.field("left_px").type) == "float"
    np.testing.assert_array_equal(after["left_px"].to_numpy(), squares(4000).outlines.boxes()[:, 0])
    metadata = pq.read_metadata(record.paths["objects/nuclei"])
    assert b"geo" in metadata.metadata


def test_the_order_of_adding_leaves_no_trace_and_a_second_time_replaces(tmp_path: Path) -> None:
    def both(outlines: Outlines) -> dict[str, np.ndarray]:
        return left_edges(outlines) | {"a_px": np.arange(len(outlines))}

    one, two, three = (result_folder(tmp_path / name, 70) for name in "abc")
    add_measures(one, "nuclei", ["left_px", "a_px"], both)
    add_measures(two, "nuclei", ["left_px"], both)
    add_measures(two, "nuclei", ["a_px"], both)
    add_measures(three, "nuclei", ["a_px", "left_px"], lambda o: {k: v * 2 for k, v in both(o).items()})
    add_measures(three, "nuclei", ["left_px", "a_px"], both)
    assert measures_of(one, "nuclei") == ("a_px", "left_px")
    (expected, *others) = [r.paths["objects/nuclei"].read_bytes() for r in (one, two, three)]
    assert all(other == expected for other in others)


def test_nan_is_null_and_counted(record: RunRecord) -> None:
    def some(outlines: Outlines) -> dict[str, np.ndarray]:
        left = outlines.boxes()[:, 0]
        return {"left_px": np.where(left < 100, np.nan, left), "right_px": left}

    add_measures(record, "nuclei", ["left_px", "right_px"], some)
    assert unmeasured(record, "nuclei", ["left_px", "right_px"]) == 20
    assert unmeasured(record, "nuclei", ["right_px"]) == 0 == unmeasured(record, "nuclei", [])
    assert read_objects(record.folder, "nuclei")["left_px"].null_count == 20  # type: ignore[arg-type]


def test_an_empty_table_gets_its_columns(tmp_path: Path) -> None:
    record = result_folder(tmp_path / "s", 0)
    add_measures(record, "nuclei", ["left_px"], left_edges)
    assert measures_of(record, "nuclei") == ("left_px",) and unmeasured(record, "nuclei", ["left_px"]) == 0


def test_a_stop_in_the_middle_leaves_the_old_table(record: RunRecord) -> None:
    old, groups = record.paths["objects/nuclei"].read_bytes(), []

    def stops(outlines: Outlines) -> dict[str, np.ndarray]:
        groups.append(len(outlines))
        if len(groups) == 3:
            raise KeyboardInterrupt
        return left_edges(outlines)

    with pytest.raises(KeyboardInterrupt):
        add_measures(record, "nuclei", ["left_px"], stops)
    assert groups == [500, 500, 500], "a row group at a time"
    assert record.paths["objects/nuclei"].read_bytes() == old
    assert [p.name for p in record.paths["objects/nuclei"].parent.iterdir()] == ["nuclei.parquet"]
