"""The series of needles: which runs, one file that keeps them, a table, a plot, and whether known trends hold."""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geryon import events, plugins
from geryon.atomic import whole_file
from geryon.cohort.needles import GROUP, POOLINGS, Asked, accuracy
from geryon.cohort.plots import Axes, Course, chart
from geryon.errors import InputError, UsageError

RUNS, TABLE, PLOT = "needles.json", "needles.csv", "needles.svg"
Z = 1.96

Key = tuple[float, int, str]
"""Ratio, images to learn from, pooling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What is varied."""

    ratios: tuple[float, ...] = (0.1, 0.01, 0.001, 0.0001)
    train: tuple[int, ...] = (100, 1000)
    pooling: tuple[str, ...] = tuple(POOLINGS)
    seeds: int = 1
    """Runs of each combination, over which the test images are put together."""
    steps: int = 800
    test: int = 600

    def runs(self) -> Iterator[Asked]:
        """All runs, those of few cells first."""
        for ratio in sorted(self.ratios, reverse=True):
            for seed in range(self.seeds):
                for train in self.train:
                    for pooling in self.pooling:
                        how = {"pooling": pooling, "seed": seed, "steps": self.steps, "test": self.test}
                        yield Asked(ratio=ratio, train=train, **how)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Accuracy on test images, with Wilson's interval (J. Am. Stat. Assoc. 22, 1927) of 95 %."""

    accuracy: float
    low: float
    high: float
    images: int

    @property
    def is_learnt(self) -> bool:
        """Better than guessing."""
        return self.low > 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a series has shown so far."""

    points: Mapping[Key, Point]
    trends: tuple[tuple[str, bool | None], ...]
    """What others report, and whether it holds here; None where too little was run to tell."""
    left: int
    """Runs that the time did not allow."""
    folder: Path


def needles(out: Path | str, series: Series, *, minutes: float = math.inf, tell: events.Tell = events.nobody) -> Found:
    """Run what is not yet in OUT/needles.json; write it, OUT/needles.csv and OUT/needles.svg.

    No run begins after so many minutes: the same command goes on with the rest.
    """
    out, started = Path(out), time.monotonic()
    _check(series)
    done = _read(out / RUNS)
    asked = list(series.runs())
    todo = [run for run in asked if _name(run) not in done]
    tell(events.Started(stage="needles", total=len(asked), unit="runs", done=len(asked) - len(todo)))
    for number, run in enumerate(todo):
        if time.monotonic() - started > 60 * minutes:
            left = len(todo) - number
            break
        share = accuracy(run)
        done[_name(run)] = {**asdict(run), "accuracy": share}
        _write(out / RUNS, json.dumps(list(done.values()), indent=1) + "\n")
        note = f"{run.pooling}, {run.train} images, 1/{run.side**2}: {share:.3f}"
        tell(events.Advanced(stage="needles", note=note))
    else:
        left = 0
    points = gathered([done[_name(run)] for run in asked if _name(run) in done])
    found = Found(points=points, trends=tuple(trends(points, series)), left=left, folder=out)
    _write(out / TABLE, _table(points))
    _write(out / PLOT, _plot(points, series))
    tell(events.Finished(stage="needles", seconds=time.monotonic() - started))
    return found


def gathered(runs: Sequence[Mapping[str, Any]]) -> dict[Key, Point]:
    """Runs of one combination put together."""
    right: dict[Key, tuple[float, int]] = {}
    for run in runs:
        key = run["ratio"], run["train"], run["pooling"]
        before = right.get(key, (0.0, 0))
        right[key] = before[0] + run["accuracy"] * run["test"], before[1] + run["test"]
    return {key: wilson(count, n) for key, (count, n) in right.items()}


def wilson(right: float, n: int) -> Point:
    """The share of right answers among n."""
    p, z2 = right / n, Z * Z / n
    middle, half = (p + z2 / 2) / (1 + z2), Z * math.sqrt(p * (1 - p) / n + z2 / 4 / n) / (1 + z2)
    return Point(accuracy=p, low=middle - half, high=middle + half, images=n)


def floor(points: Mapping[Key, Point], train: int, pooling: str) -> float:
    """The smallest ratio down to which all are learnt; infinity where not even the largest is."""
    least = math.inf
    for ratio in sorted({key[0] for key in points}, reverse=True):
        point = points.get((ratio, train, pooling))
        if point is None or not point.is_learnt:
            break
        least = ratio
    return least


def trends(points: Mapping[Key, Point], series: Series) -> Iterator[tuple[str, bool | None]]:
    """What Pawlowski et al. (arXiv 1908.06037) and studies of pooling report, and whether it holds; None for what a
    series does not vary, and for all while runs are missing."""
    whole = all((run.ratio, run.train, run.pooling) in points for run in series.runs())
    many = max(series.train)
    floors = [(floor(points, min(series.train), p), floor(points, many, p)) for p in series.pooling]
    is_varied = whole and min(series.train) < many
    yield "there is a ratio below which nothing is learnt", _has_floor(points, series) if whole else None
    yield "more images never raise that floor", all(b <= a for a, b in floors) if is_varied else None
    yield "more images lower it for some pooling", any(b < a for a, b in floors) if is_varied else None
    above, grows = _above_mean(points, many), _spread_grows(points, many)
    yield "attention and maximum are above the mean where the needle is small", above if whole else None
    yield "poolings differ more at the smallest ratio that is learnt than at the largest", grows if whole else None


def _has_floor(points: Mapping[Key, Point], series: Series) -> bool | None:
    largest, smallest = max(series.ratios), min(series.ratios)
    if smallest == largest:
        return None
    at = {ratio: [p.is_learnt for key, p in points.items() if key[0] == ratio] for ratio in (smallest, largest)}
    return not any(at[smallest]) and any(at[largest])


def _above_mean(points: Mapping[Key, Point], train: int) -> bool | None:
    """At the smallest ratio that some pooling learns."""
    at = _at_smallest_learnt(points, train)
    if not {"attention", "max", "mean"} <= at.keys():
        return None
    return min(at["attention"].accuracy, at["max"].accuracy) > at["mean"].accuracy


def _spread_grows(points: Mapping[Key, Point], train: int) -> bool | None:
    at = _at_smallest_learnt(points, train)
    largest = max((key[0] for key in points), default=0.0)
    top = {p: point for (ratio, n, p), point in points.items() if (ratio, n) == (largest, train)}
    bags = [p for p in at if p in top and p != "cnn"]  # the CNN is no pooling: it sees where cells lie
    if len(bags) < 2 or all(at[p] == top[p] for p in bags):
        return None
    spread = [max(some[p].accuracy for p in bags) - min(some[p].accuracy for p in bags) for some in (at, top)]
    return spread[0] > spread[1]


def _at_smallest_learnt(points: Mapping[Key, Point], train: int) -> dict[str, Point]:
    learnt = [ratio for (ratio, n, _), point in points.items() if n == train and point.is_learnt]
    return {p: point for (ratio, n, p), point in points.items() if learnt and (ratio, n) == (min(learnt), train)}


def _check(series: Series) -> None:
    faults = [f"a ratio of {r:g} (0.00001 to 0.25 can be)" for r in series.ratios if not 1e-5 <= r <= 0.25]
    faults += [f"{n} images to learn from (16 or more)" for n in series.train if n < 16]
    known = plugins.names(POOLINGS, GROUP)
    faults += [f"no pooling {p!r} (there are {', '.join(known)})" for p in series.pooling if p not in known]
    faults += [f"{name} {n}" for name, n in (("seeds", series.seeds), ("steps", series.steps)) if n < 1]
    if faults:
        raise UsageError(what=f"no such series: {'; '.join(faults)}", mend="see geryon slides needles --help")


def _name(run: Asked) -> str:
    return json.dumps(asdict(run), sort_keys=True)


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Earlier runs by what was asked."""
    if not path.exists():
        return {}
    try:
        runs = json.loads(path.read_text(encoding="utf-8"))
        return {
            _name(Asked(**{k: v for k, v in run.items() if k != "accuracy"})): run
            for run in runs
            if run["accuracy"] >= 0
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        what = f"holds no runs of needles: {error}"
        raise InputError(what=what, where=str(path), mend="choose another folder with --out") from error


def _write(path: Path, text: str) -> None:
    with whole_file(path) as fresh:
        fresh.write_text(text, encoding="utf-8")


def _table(points: Mapping[Key, Point]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["ratio", "cells", "train", "pooling", "accuracy", "low", "high", "images"])
    for (ratio, train, pooling), p in points.items():
        cells = Asked(ratio=ratio, train=train, pooling=pooling).side ** 2
        table.writerow(
            [f"{ratio:g}", cells, train, pooling, *(f"{v:.4f}" for v in (p.accuracy, p.low, p.high)), p.images]
        )
    return text.getvalue()


def _plot(points: Mapping[Key, Point], series: Series) -> str:
    """A chart a number of training images, side by side in one SVG."""
    charts = [chart(_axes(series, train), list(_courses(points, series, train))) for train in series.train]
    wide, tall = 400 * len(charts), 320
    placed = [each.replace("<svg ", f'<svg x="{400 * i}" ', 1) for i, each in enumerate(charts)]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{tall}">'
    return "\n".join([head, *placed, "</svg>", ""])


def _axes(series: Series, train: int) -> Axes:
    ends = [math.log10(max(4, Asked(ratio=r, train=train, pooling="").side ** 2)) for r in series.ratios]
    limits = min(ends) - 0.1, max(ends) + 0.1
    title = f"{train} images to learn from"
    return Axes(title=title, x="cells in an image, log10", y="accuracy", x_limits=limits, y_limits=(0.4, 1.0))


def _courses(points: Mapping[Key, Point], series: Series, train: int) -> Iterator[Course]:
    for pooling in series.pooling:
        some = {ratio: p for (ratio, n, name), p in points.items() if (n, name) == (train, pooling)}
        at = [math.log10(Asked(ratio=r, train=train, pooling=pooling).side ** 2) for r in some]
        yield Course(
            name=pooling,
            points=[(x, p.accuracy) for x, p in zip(at, some.values(), strict=True)],
            band=[(p.low, p.high) for p in some.values()],
        )
