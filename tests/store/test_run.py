"""run.json: written last, read as it was, and its absence explained."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path

import pytest

from geryon.errors import InputError
from geryon.store.run import KINDS, NAME, ModelUsed, RunRecord, TaskDone, is_whole, read_run, write_run

RECORD = RunRecord(
    version="1.2.3",
    command=("geryon", "segment", "a.svs"),
    model=ModelUsed(name="geryon-s", sha256="ab" * 32, licence="open"),
    slide="ä b",
    size_level0=(1000, 500),
    mpp=(0.25, 0.251),
    mpp_source="scanner",
    question={"slide": "ab" * 32},
    stain={"method": "macenko", "applied": True},
    tasks={
        "nuclei": TaskDone(
            kind="bounded",
            mpp=0.5,
            classes=("x", "y"),
            colours=((1, 2, 3), (4, 5, 6)),
            within="glands",
            objects=3,
            counts={"x": 1, "y": 2},
            dropped={"too small": 4},
        ),
        "tissue": TaskDone(kind="raster", mpp=16.0),
    },
    files={"objects/nuclei": "objects/nuclei.parquet", "tissue": "tissue.ome.tif"},
    origin_level0=(3, 4),
    reader="openslide",
    engine="oracle",
    tissue_mm2=1.5,
    quality={"blur": 0.1},
    windows={"planned": 3, "done": 2, "no tissue": 1},
    seconds={"look": 0.5},
    peak_memory_bytes=123,
    warnings=("careful",),
)


def test_a_record_returns(tmp_path: Path) -> None:
    written = write_run(tmp_path / "s", RECORD)
    assert read_run(tmp_path / "s") == written == replace(RECORD, folder=tmp_path / "s")
    assert all(getattr(RECORD, f.name) for f in fields(RunRecord) if f.name != "folder"), "the test fills each field"
    document = json.loads((tmp_path / "s" / NAME).read_text(encoding="utf-8"))
    assert document["status"] == "complete" and document["schema"] == 1 and "folder" not in document
    assert written.object_tasks == ("nuclei",)
    assert written.counts == {"nuclei": {"x": 1, "y": 2}, "tissue": {}}
    assert written.paths["tissue"] == tmp_path / "s" / "tissue.ome.tif"
    assert (written.frame.name, written.frame.mpp_y, written.frame.height) == ("level0", 0.251, 500)
    assert set(KINDS.values()) == {"bounded", "unbounded", "raster"}


def test_whole_means_all_files_are_there(tmp_path: Path) -> None:
    assert not is_whole(tmp_path)
    write_run(tmp_path, RECORD)
    assert not is_whole(tmp_path)
    for path in read_run(tmp_path).paths.values():
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert is_whole(tmp_path)
    write_run(tmp_path, replace(RECORD, status="interrupted"))
    assert not is_whole(tmp_path)


def test_no_number_that_json_does_not_know(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_run(tmp_path, replace(RECORD, tissue_mm2=math.nan))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no JSON"),
        ("[]", "no record"),
        ('{"schema": 99, "version": "9"}', "newer Geryon"),
        ('{"schema": 1}', "missing"),
        ("\xff", "JSON"),
    ],
)
def test_other_files_are_told_apart(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / NAME).write_text(text, encoding="latin-1")
    with pytest.raises(InputError, match=says):
        read_run(tmp_path)
    assert not is_whole(tmp_path)
