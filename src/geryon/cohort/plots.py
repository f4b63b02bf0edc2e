"""Small charts as SVG: lines, steps, bands and dots over two axes, which any browser shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from geryon.train.interval_plot import COLOURS

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 400, 320, 56, 14, 30, 46
TICKS = 5
MIDDLE, END = 'text-anchor="middle"', 'text-anchor="end"'

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """One line of a chart."""

    name: str
    points: Sequence[Point]
    kind: str = "line"
    """"line", "steps" (a value holds up to the next point), "dots" or "guide" (thin and grey, not in the legend)."""
    band: Sequence[tuple[float, float]] = ()
    """Low and high at each point, drawn as a shade behind it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """What a chart is drawn over; limits follow the points where they are not given."""

    title: str
    x: str
    y: str
    x_limits: Point | None = None
    y_limits: Point | None = None


def chart(axes: Axes, courses: Sequence[Course]) -> str:
    """The chart as one SVG."""
    points = [point for course in courses for point in course.points if all(map(math.isfinite, point))]
    x0, x1 = axes.x_limits or _limits([x for x, _ in points])
    y0, y1 = axes.y_limits or _limits([y for _, y in points])

    def place(point: Point) -> str:
        x = LEFT + (point[0] - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)
        y = HEIGHT - BOTTOM - (point[1] - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)
        return f"{x:.1f},{y:.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        _text(LEFT, 18, axes.title, 'font-weight="bold"'),
        _text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, axes.x, MIDDLE),
        f'<g transform="translate(14 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)">{_text(0, 0, axes.y, MIDDLE)}</g>',
    ]
    for k in range(TICKS):
        x, y = (low + (high - low) * k / (TICKS - 1) for low, high in ((x0, x1), (y0, y1)))
        parts += [_grid(place((x, y0)), place((x, y1))), _grid(place((x0, y)), place((x1, y)))]
        across, up = float(place((x, y)).split(",")[0]), float(place((x, y)).split(",")[1])
        parts += [_text(across, HEIGHT - BOTTOM + 14, f"{x:.3g}", MIDDLE)]
        parts += [_text(LEFT - 4, up + 4, f"{y:.3g}", END)]
    named = [course for course in courses if course.kind != "guide"]
    for course in courses:
        colour = "#999999" if course.kind == "guide" else COLOURS[named.index(course) % len(COLOURS)]
        parts += _drawn(course, colour, place)
    if len(named) > 1:
        parts += [
            _text(WIDTH - RIGHT - 6, TOP + 14 + 14 * k, course.name, f'{END} style="fill:{COLOURS[k % len(COLOURS)]}"')
            for k, course in enumerate(named)
        ]
    return "\n".join([*parts, "</svg>", ""])


def _drawn(course: Course, colour: str, place: Callable[[Point], str]) -> list[str]:
    finite = [p for p in course.points if all(map(math.isfinite, p))]
    if course.kind == "dots":
        ends = [place(p).split(",") for p in finite]
        return [f'<circle cx="{x}" cy="{y}" r="3" fill="{colour}" fill-opacity="0.6"/>' for x, y in ends]
    parts = []
    if course.band:
        xs = [x for x, _ in course.points]
        low, high = ([(x, b[k]) for x, b in zip(xs, course.band, strict=True)] for k in (0, 1))
        low, high = ([p for p in some if math.isfinite(p[1])] for some in (low, high))
        low, high = (_steps(some) if course.kind == "steps" else some for some in (low, high))
        parts.append(f'<path d="{_path([*high, *low[::-1]], place)}" fill="{colour}" fill-opacity="0.15"/>')
    line = _steps(finite) if course.kind == "steps" else finite
    wide = 1 if course.kind == "guide" else 2
    parts.append(f'<path d="{_path(line, place)}" fill="none" stroke="{colour}" stroke-width="{wide}"/>')
    return parts


def _steps(points: Sequence[Point]) -> list[Point]:
    out: list[Point] = list(points[:1])
    for (_, y), (x1, y1) in zip(points, points[1:], strict=False):
        out += [(x1, y), (x1, y1)]
    return out


def _path(points: Sequence[Point], place: Callable[[Point], str]) -> str:
    return "M" + " L".join(place(p) for p in points) if points else "M0,0"


def _limits(values: Sequence[float]) -> Point:
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = (high - low) * 0.04 or 0.5
    return low - room, high + room


def _grid(a: str, b: str) -> str:
    (x1, y1), (x2, y2) = a.split(","), b.split(",")
    return f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#dddddd"/>'


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" fill="#333" {style}>{escape(text)}</text>'
