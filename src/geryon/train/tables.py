"""Figures as text: lines of aligned columns, Markdown, CSV and JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import fields

from geryon.train.protocols import Row

HEAD = ("source", "images of", "task", "metric", "by", "value", "95 % interval", "images", "objects", "protocol")


def table(rows: Sequence[Row]) -> str:
    """Figures as lines of aligned columns, each protocol once below."""
    lines = [HEAD, *cells(rows)]
    keep = [i for i in range(len(HEAD)) if i != 1 or any(line[1] for line in lines[1:])]
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEAD))]
    body = ["  ".join(line[i].ljust(widths[i]) for i in keep).rstrip() for line in lines]
    return "\n".join([*body, "", *(f"[{i}] {text}" for i, text in enumerate(protocols(rows), start=1))])


def markdown(rows: Sequence[Row]) -> list[str]:
    """The same as lines of Markdown."""
    if not rows:
        return ["none", ""]
    lines = [HEAD, tuple("---" for _ in HEAD), *cells(rows)]
    body = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return [*body, "", *(f"{i}. {text}" for i, text in enumerate(protocols(rows), start=1)), ""]


def cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """One line of words a row, its protocol by number."""
    texts = protocols(rows)
    return [
        (
            row.source,
            " ".join(filter(None, (row.split, row.stratum))),
            row.task,
            row.metric,
            row.by,
            number(row.value),
            "" if math.isnan(row.low) else f"{number(row.low)} to {number(row.high)}",
            str(row.images),
            str(row.objects),
            f"[{texts.index(row.protocol) + 1}]",
        )
        for row in rows
    ]


def protocols(rows: Sequence[Row]) -> list[str]:
    """Each protocol once, in order."""
    return list(dict.fromkeys(row.protocol for row in rows))


def number(value: float) -> str:
    """Three decimals below ten, one above; a dash where nothing is defined."""
    if math.isnan(value):
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def comma_separated(rows: Sequence[Row]) -> str:
    """All fields of all rows as CSV; what is not defined is empty."""
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(field.name for field in fields(Row) if field.name != "drawn")
    for row in rows:
        out.writerow("" if isinstance(v, float) and math.isnan(v) else v for v in row.facts().values())
    return text.getvalue()
