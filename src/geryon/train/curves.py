"""The course of a run as two plain tables: log.csv (losses) and validation.csv (figures)."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path

from geryon.atomic import whole_file

LOG, VALIDATION = "log.csv", "validation.csv"


def rewind(path: Path, step: int) -> None:
    """Drop rows beyond `step`: a resumed run writes them again."""
    if not path.exists():
        return
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    kept = rows[:1] + [row for row in rows[1:] if row and row[0].isdigit() and int(row[0]) <= step]
    with whole_file(path) as fresh:
        _write(fresh, kept, "w")


def append(path: Path, row: Mapping[str, object]) -> None:
    """Add one row; the first gives the header, and later ones must have its columns."""
    rows: list[Iterable[object]] = [row.values()]
    _write(path, rows if path.exists() else [row.keys(), *rows], "a")


def _write(path: Path, rows: Iterable[Iterable[object]], mode: str) -> None:
    with path.open(mode, newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
