"""The course of a run as one page of small charts, drawn as SVG: log.csv and validation.csv become curves.html."""

from __future__ import annotations

import csv
import html
import math
from collections.abc import Sequence
from pathlib import Path

from geryon.atomic import whole_file
from geryon.train.curves import LOG, VALIDATION

CURVES = "curves.html"
WIDTH, HEIGHT, MARGIN = 360, 200, 44
MOST_POINTS = 500
"""Longer courses are shown by every n-th point."""
STYLE = (
    "body{font:14px sans-serif;margin:24px}figure{display:inline-block;margin:8px}figcaption{font-weight:bold}"
    "text{font-size:11px;fill:#555}path{fill:none;stroke:#1f5fa8;stroke-width:1.5}line{stroke:#ccc}"
)

Point = tuple[float, float]


def write_curves(out: Path, title: str) -> Path | None:
    """Write the page of the run in the folder `out`; None where it has no course yet."""
    charts = [
        chart(f"{path.stem}: {name}", points)
        for path in (out / LOG, out / VALIDATION)
        for name, points in courses(path)
        if len(points) > 1
    ]
    if not charts:
        return None
    page = "\n".join(
        [
            "<!doctype html>",
            f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>',
            f"<style>{STYLE}</style></head><body>",
            f"<h1>{html.escape(title)}</h1>",
            *charts,
            "</body></html>",
            "",
        ]
    )
    with whole_file(out / CURVES) as fresh:
        fresh.write_text(page, encoding="utf-8")
    return out / CURVES


def courses(path: Path) -> list[tuple[str, list[Point]]]:
    """(name, [(step, value)]) of each course, in the file's order; values that are none are left out.

    A file has a column a course, or a row a value: then `figure` names the course (validation.csv).
    """
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        head, *rows = [row for row in csv.reader(file) if row] or [[]]
    if not head or head[0] != "step":
        return []
    if head[1:] == ["figure", "value"]:
        by_name: dict[str, list[Point]] = {}
        for row in (row for row in rows if len(row) == 3):
            by_name.setdefault(row[1], []).append((_number(row[0]), _number(row[2])))
        return [(name, [p for p in points if all(map(math.isfinite, p))]) for name, points in by_name.items()]
    found = []
    for k, name in enumerate(head[1:], start=1):
        pairs = [(_number(row[0]), _number(row[k])) for row in rows if len(row) > k]
        found.append((name, [(x, y) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]))
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def chart(name: str, points: Sequence[Point]) -> str:
    """One figure of HTML: a line over steps, with the ends of both axes in numbers."""
    shown = points[:: -(-len(points) // MOST_POINTS)]
    xs, ys = [x for x, _ in shown], [y for _, y in shown]
    low, high = min(ys), max(ys)
    wide, tall = (xs[-1] - xs[0]) or 1.0, (high - low) or 1.0

    def place(x: float, y: float) -> str:
        across = MARGIN + (x - xs[0]) / wide * (WIDTH - MARGIN - 10)
        return f"{across:.1f},{10 + (high - y) / tall * (HEIGHT - 40):.1f}"

    bottom = HEIGHT - 30
    return "\n".join(
        [
            f"<figure><figcaption>{html.escape(name)}</figcaption>",
            f'<svg width="{WIDTH}" height="{HEIGHT}" role="img">',
            f'<line x1="{MARGIN}" y1="{bottom}" x2="{WIDTH - 10}" y2="{bottom}"/>',
            f'<line x1="{MARGIN}" y1="10" x2="{MARGIN}" y2="{bottom}"/>',
            f'<path d="M{" L".join(place(x, y) for x, y in shown)}"/>',
            f'<text x="{MARGIN - 4}" y="16" text-anchor="end">{high:.3g}</text>',
            f'<text x="{MARGIN - 4}" y="{bottom}" text-anchor="end">{low:.3g}</text>',
            f'<text x="{MARGIN}" y="{HEIGHT - 14}">{xs[0]:g}</text>',
            f'<text x="{WIDTH - 10}" y="{HEIGHT - 14}" text-anchor="end">step {xs[-1]:g}</text>',
            "</svg></figure>",
        ]
    )
