"""Tables that a person gives, CSV or Parquet, as columns of text."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from geryon.errors import InputError

PARQUET = (".parquet", ".pq")
DELIMITERS = (",", ";", "\t")


def read_columns(path: Path) -> dict[str, list[str]]:
    """{column: its cells as text, stripped, "" where there is none}; InputError where it is no such table.

    The delimiter of a CSV is whichever of comma, semicolon and tab its first line has most of.
    """
    try:
        names, columns = _parquet(path) if path.suffix.lower() in PARQUET else _csv(path)
    except (OSError, UnicodeDecodeError, csv.Error, pa.ArrowInvalid) as error:
        told = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise InputError(
            what=f"can't be read: {told}", where=str(path), mend="give a CSV in UTF-8 or a Parquet file"
        ) from error
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(what=f"the column {twice[0]!r} stands twice", where=str(path), mend="rename one of them")
    return dict(zip(names, columns, strict=True))


def _csv(path: Path) -> tuple[list[str], list[list[str]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        head = file.readline()
        file.seek(0)
        rows = list(csv.reader(file, delimiter=max(DELIMITERS, key=head.count), strict=True))
    if not rows:
        raise InputError(what="is empty", where=str(path), mend="give a table with a line of column names")
    names, *rest = [[cell.strip() for cell in row] for row in rows]
    lines = [(number, row) for number, row in enumerate(rest, start=2) if any(row)]
    wrong = [f"line {number} has {len(row)} cells" for number, row in lines if len(row) != len(names)]
    if wrong:
        more = f" (and {len(wrong) - 1} more lines)" if len(wrong) > 1 else ""
        mend = f"give {len(names)}, as many as columns"
        raise InputError(what=f"{wrong[0]}{more}", where=str(path), mend=mend)
    return names, [[row[k] for _, row in lines] for k in range(len(names))]


def _parquet(path: Path) -> tuple[list[str], list[list[str]]]:
    table = pq.read_table(path)
    return list(table.column_names), [[_text(value) for value in column.to_pylist()] for column in table.columns]


def _text(value: Any) -> str:
    """Whole numbers without a point: a column of 0 and 1 is of floats where another tool had a gap in it."""
    if value is None:
        return ""
    return f"{value:.0f}" if isinstance(value, float) and value.is_integer() else str(value).strip()
