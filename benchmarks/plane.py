"""What does accuracy cost: which network, in which engine, finds how much for how many core seconds a mm²?

    python -m benchmarks.plane [--lines bench.jsonl ...] [--out docs/images/plane.svg]

Draws lines that `forward`, `cerberus_window`, `topology --cost` and `accuracy` wrote before: core seconds a mm² of the
network alone (windows with their halo) against nuclei PQ on the images of CoNSeP that a model holds out. Networks
without a measured accuracy stand as vertical lines at what they cost.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.machine import say, skip

WIDE, HIGH, LEFT, BOTTOM, TOP = 760, 420, 70, 60, 50
PQ = (0.30, 0.60)
COST = (0.5, 2000.0)
"""Core seconds a mm², on a logarithmic axis."""
UNTRAINED, WINDOW_MM2 = "a window on one core, ", (1024 * 0.0005) ** 2
ACCURACY = ("nuclei pq", "consep")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=Path, nargs="+", default=[Path("bench.jsonl")])
    parser.add_argument("--out", type=Path, default=Path("docs/images/plane.svg"))
    args = parser.parse_args()
    lines = [json.loads(text) for path in args.lines if path.is_file() for text in path.read_text().splitlines()]
    costs, found = costs_of(lines), accuracies(lines)
    if not costs:
        skip("plane", "accuracy against cost", "no line of `forward` in " + ", ".join(map(str, args.lines)))
        return
    args.out.write_text(drawn(costs, found), encoding="utf-8")
    for (model, how), cost in costs.items():
        value, low, high = found.get(model, (None, None, None))
        size = {"model": model, "engine": how}
        say("plane", "core seconds a mm²", value=cost, unit="core s/mm²", size=size, pq=value, low_pq=low, high_pq=high)


def costs_of(lines: Sequence[dict[str, Any]]) -> dict[tuple[str, str], float]:
    """{(network, engine and precision): core seconds a mm²}, the last line of each."""
    costs = {}
    for line in lines:
        if line["benchmark"] == "forward" and line["question"] == "a window by one caller" and line["value"]:
            costs[line["size"]["model"], f"{line['size']['engine']}, {line['precision']}"] = line["core_seconds"]
        if line["benchmark"] == "cerberus_window" and line["question"].startswith("a mm²") and line["value"]:
            costs["Cerberus", line["question"].removeprefix("a mm², ")] = line["core_seconds"]
        if line["benchmark"] == "topology" and line["question"].startswith(UNTRAINED) and line["value"]:
            costs[line["question"].removeprefix(UNTRAINED), "torch, untrained"] = line["core_seconds"] / WINDOW_MM2
    return costs


def accuracies(lines: Sequence[dict[str, Any]]) -> dict[str, tuple[float, float, float]]:
    """{model: PQ and its interval}."""
    return {
        line["size"]["by"]: (line["value"], line["low"], line["high"])
        for line in lines
        if line["benchmark"] == "accuracy" and (line["question"], line["size"].get("source")) == ACCURACY
    }


def drawn(costs: dict[tuple[str, str], float], found: dict[str, tuple[float, float, float]]) -> str:
    """The picture as SVG."""
    parts = [f'<rect width="{WIDE}" height="{HIGH}" fill="white"/>']
    parts.append(text(LEFT, 24, "Nuclei PQ (CoNSeP, held out) against core seconds a mm², network alone", 15))
    for power in range(math.ceil(math.log10(COST[0])), math.floor(math.log10(COST[1])) + 1):
        at = x(10.0**power)
        parts.append(line_of(at, TOP, at, HIGH - BOTTOM, "#dddddd"))
        parts.append(text(at - 8, HIGH - BOTTOM + 18, f"{10**power:g}", 12))
    for step in range(7):
        value = PQ[0] + step * 0.05
        parts.append(line_of(LEFT, y(value), WIDE - 20, y(value), "#eeeeee"))
        parts.append(text(LEFT - 38, y(value) + 4, f"{value:.2f}", 12))
    parts.append(text(WIDE / 2 - 60, HIGH - 16, "core seconds a mm² (log)", 12))
    for number, ((model, how), cost) in enumerate(sorted(costs.items(), key=lambda item: item[1])):
        at, label = x(cost), f"{model}: {how} ({cost:.3g})"
        if model in found:
            value, low, high = found[model]
            colour = "#1b6ca8" if model == "geryon-s" else "#c1440e"
            parts.append(line_of(at, y(low), at, y(high), colour))
            parts.append(f'<circle cx="{at:.1f}" cy="{y(value):.1f}" r="5" fill="{colour}"/>')
        else:
            colour = "#777777"
            parts.append(line_of(at, TOP, at, HIGH - BOTTOM, colour, dashes="4 3"))
        parts.append(
            f'<text transform="translate({at - 4:.1f},{HIGH - BOTTOM - 8 - 12 * (number % 2):.1f}) rotate(-90)" '
            f'font-size="11" fill="{colour}">{escape(label)}</text>'
        )
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDE}" height="{HIGH}" font-family="sans-serif">'
    return "\n".join([head, *parts, "</svg>", ""])


def x(cost: float) -> float:
    share = (math.log10(cost) - math.log10(COST[0])) / (math.log10(COST[1]) - math.log10(COST[0]))
    return LEFT + share * (WIDE - LEFT - 20)


def y(pq: float) -> float:
    return HIGH - BOTTOM - (pq - PQ[0]) / (PQ[1] - PQ[0]) * (HIGH - BOTTOM - TOP)


def line_of(x0: float, y0: float, x1: float, y1: float, colour: str, dashes: str = "") -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return (
        f'<line x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}" stroke="{colour}" stroke-width="1.5"{dashed}/>'
    )


def text(at_x: float, at_y: float, words: str, size: int) -> str:
    return f'<text x="{at_x:.1f}" y="{at_y:.1f}" font-size="{size}">{escape(words)}</text>'


if __name__ == "__main__":
    main()
