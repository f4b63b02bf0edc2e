"""GeoJSON that QuPath opens: one Feature an object, with class, colour and measurements.

The layout is that of QuPath's own QuPathTypeAdapters (version 0.4 and later).
"""

from __future__ import annotations

import gzip
import io
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from geryon.atomic import whole_file
from geryon.space.objects import Outlines
from geryon.store.export.exporter import Exporter, ExportSettings, batches, shift_level0
from geryon.store.run import RunRecord, TaskDone
from geryon.store.wkb import outlines_from_wkb

_OURS = uuid.UUID("7d0c7f0e-2f0a-5a39-9d0b-6f2f0f1f6c11")
_GREY = (128, 128, 128)
_OWN = ("id", "x", "y", "bbox", "geometry", "class", "score", "area_um2")


def write(record: RunRecord, path: Path, settings: ExportSettings) -> None:
    """Write one FeatureCollection with the objects of all asked tasks, in level0 pixels."""
    shift = np.array(shift_level0(record, settings), float)
    with ExitStack() as stack:
        temporary = stack.enter_context(whole_file(path))
        binary: Any = stack.enter_context(temporary.open("wb"))
        if settings.gzip:  # without name and time, so that the same objects give the same bytes
            binary = stack.enter_context(
                gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=binary, mtime=0)
            )
        _write_features(binary, record, settings, shift)


def _write_features(binary: BinaryIO | gzip.GzipFile, record: RunRecord, settings: ExportSettings, shift: Any) -> None:
    text = io.TextIOWrapper(binary, encoding="utf-8", newline="\n")  # type: ignore[arg-type]
    text.write('{"type": "FeatureCollection", "features": [')
    comma = "\n"
    for name in settings.tasks:
        kind = settings.object_type(record.tasks[name])
        for table in batches(record, name, tell=settings.tell):
            for feature in _features(table, record, name, kind, shift):
                text.write(comma + json.dumps(feature, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
                comma = ",\n"
    text.write("\n]}\n")
    text.flush()
    text.detach()


def _features(table: pa.Table, record: RunRecord, name: str, kind: str, shift: np.ndarray) -> Iterator[dict[str, Any]]:
    task = record.tasks[name]
    outlines = outlines_from_wkb(table["geometry"])
    outlines = Outlines(points=outlines.points + shift, ring_at=outlines.ring_at, object_at=outlines.object_at)
    measured = _measurements(table)
    labels = _labels(task, name)
    classes = table["class"].to_pylist() if "class" in table.column_names else [None] * table.num_rows
    holder, holders = _holders(table)
    for i, number in enumerate(table["id"].to_pylist()):
        metadata = {"geryon_id": str(number), "task": name}
        if holders[i]:
            metadata[holder] = feature_id(record.slide, holders[i])
        label = labels.get(classes[i])
        yield {
            "type": "Feature",
            "id": feature_id(record.slide, number),
            "geometry": {"type": "Polygon", "coordinates": _closed(outlines.rings(i))},
            "properties": {
                "objectType": kind,
                **({"classification": label} if label else {}),
                "measurements": {key: values[i] for key, values in measured.items() if values[i] is not None},
                "metadata": metadata,
            },
        }


def write_regions(
    path: Path, outlines: Outlines, *, slide: str, label: Label, measures: Mapping[str, Sequence[float]]
) -> None:
    """Write annotations of one class around regions, in level0 pixels; `measures` are numbers of each region."""
    features = [
        {
            "type": "Feature",
            "id": feature_id(f"{slide}/{label.name}", i + 1),
            "geometry": {"type": "Polygon", "coordinates": _closed(outlines.rings(i))},
            "properties": {
                "objectType": "annotation",
                "classification": {"name": label.name, "color": list(label.colour)},
                "measurements": {name: round(float(values[i]), 6) for name, values in measures.items()},
            },
        }
        for i in range(len(outlines))
    ]
    with whole_file(path) as temporary:
        text = json.dumps({"type": "FeatureCollection", "features": features}, ensure_ascii=False, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Label:
    """A class as QuPath shows it."""

    name: str
    colour: tuple[int, int, int]


def feature_id(slide: str, number: int) -> str:
    """The UUID of an object: the same for each export of the same slide.

    >>> feature_id("a", 1) == feature_id("a", 1) != feature_id("b", 1)
    True
    """
    return str(uuid.uuid5(_OURS, f"{slide}/{number}"))


def _closed(rings: list[np.ndarray]) -> list[list[list[float]]]:
    return [[*points, points[0]] for points in (ring.tolist() for ring in rings)]


def _holders(table: pa.Table) -> tuple[str, list[int]]:
    """Name of the column of holders ("gland") and the holder's id of each row, 0 for none."""
    names = [f.name for f in table.schema if f.type == pa.uint64() and f.name != "id"]
    return (names[0], table[names[0]].fill_null(0).to_pylist()) if names else ("", [0] * table.num_rows)


def _labels(task: TaskDone, name: str) -> dict[str | None, dict[str, Any]]:
    """QuPath's classification of each class; of the task itself where it has none."""
    colours = task.colours or (_GREY,)
    if not task.classes:
        return {None: {"name": name, "color": list(colours[0])}}
    return {c: {"name": c, "color": list(colours[k % len(colours)])} for k, c in enumerate(task.classes)}


def _measurements(table: pa.Table) -> dict[str, list[float | None]]:
    """Name in QuPath -> values; None where a number is missing, for QuPath can't read NaN (qupath#1293)."""
    columns = {"Area µm^2": _rounded(table["area_um2"], 1.0, 3), "Score": _rounded(table["score"], 1 / 255, 4)}
    for field in table.schema:
        if field.name.startswith("p_"):
            columns[f"Probability {field.name[2:]}"] = _rounded(table[field.name], 1 / 255, 4)
        elif pa.types.is_float32(field.type) and field.name not in _OWN:
            columns[field.name] = _rounded(table[field.name], 1.0, 6)
    return columns


def _rounded(column: pa.ChunkedArray, factor: float, digits: int) -> list[float | None]:
    values = column.cast(pa.float64()).to_numpy(zero_copy_only=False) * factor
    return [
        v if finite else None for v, finite in zip(np.round(values, digits).tolist(), np.isfinite(values), strict=True)
    ]


EXPORTER = Exporter(suffix=".geojson", one_file=True, write=write, also_named=(".json",))
