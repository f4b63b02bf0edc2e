"""Pictures of figures as SVG, which any browser shows and no library has to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from geryon.atomic import whole_file

Interval = tuple[str, str, float, float, float, Sequence[float]]
"""Panel, label, value, low, high, single values (seeds)."""
AXIS, RIGHT, LINE, HEAD = 510, 30, 22, 34
LETTER_PX = 6.6
"""Of a label, on the wide side: no browser is asked for its font."""
COLOURS = ("#1b6ca8", "#c1440e", "#3a7d44", "#7b4b94", "#b8860b", "#555555")


def intervals(path: Path, title: str, rows: Sequence[Interval]) -> Path:
    """Write the picture of `drawn`."""
    with whole_file(path) as fresh:
        fresh.write_text(drawn(title, rows), encoding="utf-8")
    return path


def drawn(title: str, rows: Sequence[Interval]) -> str:
    """One panel a measure, one line a run: dot at the mean, bar over the interval, small rings at the seeds; as SVG."""
    panels = list(dict.fromkeys(row[0] for row in rows))
    labels = list(dict.fromkeys(row[1] for row in rows))
    left = round(40 + LETTER_PX * max((len(label) for label in labels), default=0))
    wide = left + AXIS + RIGHT
    parts = [_text(10, 20, title, 14, "bold")]
    y = HEAD
    for panel in panels:
        some = [row for row in rows if row[0] == panel]
        parts.append(_text(10, y + 14, panel, 12, "bold"))
        parts += _panel(some, y + 20, labels, left)
        y += 20 + LINE * len(some) + 30
    svg = f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{y + 6}" font-family="sans-serif">'
    return "\n".join([svg, f'<rect width="{wide}" height="{y + 6}" fill="white"/>', *parts, "</svg>", ""])


def _panel(rows: Sequence[Interval], top: int, labels: Sequence[str], left: int) -> list[str]:
    numbers = [v for row in rows for v in (*row[2:5], *row[5]) if math.isfinite(v)]
    low, high = (min(numbers), max(numbers)) if numbers else (0.0, 1.0)
    room = max(high - low, 1e-3) * 0.08
    low, high = low - room, high + room

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * AXIS

    bottom = top + LINE * len(rows)
    parts = []
    for i in range(5):
        value = low + (high - low) * i / 4
        parts.append(f'<line x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{top}" y2="{bottom}" stroke="#dddddd"/>')
        parts.append(_text(x(value) - 12, bottom + 14, f"{value:.3f}", 10))
    for n, (_, label, value, least, most, single) in enumerate(rows):
        y, colour = top + LINE * n + LINE / 2, COLOURS[labels.index(label) % len(COLOURS)]
        parts.append(_text(20, y + 4, label, 12))
        if math.isfinite(least) and math.isfinite(most):
            ends = f'x1="{x(least):.1f}" x2="{x(most):.1f}" y1="{y}" y2="{y}"'
            parts.append(f'<line {ends} stroke="{colour}" stroke-width="2"/>')
        for one in single:
            parts.append(f'<circle cx="{x(one):.1f}" cy="{y}" r="3" fill="none" stroke="{colour}"/>')
        if math.isfinite(value):
            parts.append(f'<circle cx="{x(value):.1f}" cy="{y}" r="5" fill="{colour}"/>')
    return parts


def _text(x: float, y: float, text: str, size: int, weight: str = "normal") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}">{escape(text)}</text>'
