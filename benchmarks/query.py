"""What do questions to a finished table cost: a box, a column, counts by class?

    python -m benchmarks.query [--nuclei 1000000] [--rounds 5]

A table of nuclei as a run writes it, without a slide. Boxes lie all over the tissue. Where DuckDB is installed the
same counts are asked of it.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import interleaved, say, skip
from benchmarks.store import CLASSES, nuclei, table_of, write
from geryon.space.objects import Objects
from geryon.store.run import ModelUsed, RunRecord, TaskDone, write_run
from geryon.store.tables import LEVEL, read_objects

BOX_PX = 2048
BOXES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nuclei", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "a"
        objects = nuclei(args.nuclei, grid=0.25)
        stored(objects, folder)
        del objects
        calls = questions(folder)
        for question, taken in interleaved(calls, args.rounds).items():
            times = BOXES if "box" in question else 1
            size = {"nuclei": args.nuclei, "box_px": BOX_PX}
            say("query", question, **taken.each(times), unit="s", size=size)
    if importlib.util.find_spec("duckdb") is None:
        skip("query", "counts by class, by DuckDB", "DuckDB is not installed", nuclei=args.nuclei)


def stored(objects: Objects, folder: Path) -> None:
    """A finished run that holds these nuclei and nothing else."""
    (folder / "objects").mkdir(parents=True)
    write(table_of(objects), folder / "objects" / "nuclei.parquet", LEVEL)
    width = round(objects.frame.width)
    record = RunRecord(
        version="0",
        command=(),
        model=ModelUsed(name="none"),
        slide="a",
        size_level0=(width, width),
        mpp=(0.5, 0.5),
        mpp_source="benchmark",
        tasks={"nuclei": TaskDone(kind="bounded", mpp=0.5, classes=CLASSES, objects=len(objects))},
        files={"objects/nuclei": "objects/nuclei.parquet"},
    )
    write_run(folder, record)


def questions(folder: Path) -> dict[str, Callable[[], Any]]:
    """Name -> a call that asks it of the table."""
    whole = read_objects(folder, "nuclei", columns=["x", "y"])
    low, high = (np.array([f(whole[c].to_numpy()) for c in "xy"]) for f in (np.min, np.max))
    corners = np.random.default_rng(0).uniform(low, high - BOX_PX, (BOXES, 2))

    def boxes(columns: list[str] | None) -> int:
        found = [
            read_objects(folder, "nuclei", box=(x, y, x + BOX_PX, y + BOX_PX), columns=columns) for x, y in corners
        ]
        return sum(len(table) for table in found)

    def counts() -> dict[str, int]:
        of = read_objects(folder, "nuclei", columns=["class"])["class"].value_counts()
        return {each["values"].as_py(): each["counts"].as_py() for each in of}

    calls: dict[str, Callable[[], Any]] = {
        "a box, every column": partial(boxes, None),
        "a box, places and classes": partial(boxes, ["x", "y", "class"]),
        "counts by class": counts,
        "places of all": partial(read_objects, folder, "nuclei", columns=["x", "y"]),
    }
    if importlib.util.find_spec("duckdb") is not None:
        calls["counts by class, by DuckDB"] = partial(by_duckdb, folder)
    return calls


def by_duckdb(folder: Path) -> list[tuple[Any, ...]]:
    import duckdb

    path = folder / "objects" / "nuclei.parquet"
    with duckdb.connect() as connection:
        return connection.execute("select class, count(*) from read_parquet(?) group by class", [str(path)]).fetchall()


if __name__ == "__main__":
    main()
