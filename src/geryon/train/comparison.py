"""What an experiment shows: each run by each measure, against the first run, as a table and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from geryon.atomic import whole_file
from geryon.tasks.intervals import span
from geryon.train import interval_plot

TABLE, PLOT = "table.md", "plot.svg"
Results = Mapping[tuple[str, int], Mapping[str, Any]]
"""{(run, seed): what train.measures.write_result left}."""


class Asked(Protocol):
    """What a comparison needs of an experiment."""

    @property
    def question(self) -> str: ...
    @property
    def runs(self) -> Mapping[str, Any]: ...
    @property
    def seeds(self) -> Sequence[int]: ...
    @property
    def labels(self) -> Sequence[str]:
        """What each measure is called."""

    @property
    def full_steps(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One run by one measure: the mean over seeds, and its difference from the first run."""

    measure: str
    run: str
    value: float
    low: float
    high: float
    seeds: tuple[float, ...]
    difference: float
    difference_low: float
    difference_high: float


def lines_of(experiment: Asked, results: Results) -> list[Line]:
    """All lines that the results allow.

    Intervals are percentiles of bootstrap draws of groups, the same draws for every run, with the seed drawn
    along: they hold what other patients and another seed would do.
    """
    lines = []
    first = next(iter(experiment.runs))
    for label in experiment.labels:
        drawn = {run: _drawn(experiment, results, run, label) for run in experiment.runs}
        for run, own in drawn.items():
            if own is None:
                continue
            other = drawn[first] if run != first else None
            low, high = span(own.draws)
            # Of other images the draws are of other groups: then only the means can be told.
            same = other is not None and other.cases == own.cases
            change = span(own.draws - other.draws) if other is not None and same else (np.nan, np.nan)
            lines.append(
                Line(
                    measure=label,
                    run=run,
                    value=own.mean,
                    low=low,
                    high=high,
                    seeds=own.values,
                    difference=own.mean - other.mean if other is not None and same else np.nan,
                    difference_low=change[0],
                    difference_high=change[1],
                )
            )
    return lines


@dataclass(frozen=True, slots=True)
class _Drawn:
    """One run by one measure, over its seeds."""

    values: tuple[float, ...]
    """By seed; not a number where the figure was not defined, such as the class of objects of which none is found."""
    draws: np.ndarray
    """float64 [n]: each of a seed drawn at random, the i-th by the same groups in every run."""
    cases: frozenset[str]
    """Digests of the names of the images that were looked at."""

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))


def _drawn(experiment: Asked, results: Results, run: str, label: str) -> _Drawn | None:
    found = [results[run, s]["figures"][label] for s in experiment.seeds if label in results[run, s]["figures"]]
    if not found:
        return None
    values = tuple(np.nan if f["value"] is None else float(f["value"]) for f in found)
    n = max(len(f["drawn"]) for f in found)
    table = np.array([f["drawn"] if len(f["drawn"]) == n else [np.nan] * n for f in found], float)
    which = np.random.default_rng(0).integers(len(found), size=n)
    return _Drawn(values, table[which, np.arange(n)], frozenset(f.get("cases", "") for f in found))


def report(experiment: Asked, done: Results, out: Path) -> Path:
    """table.md and plot.svg of the finished runs, with what full size would cost on this machine."""
    lines = lines_of(experiment, done)
    text = [
        f"# {experiment.question}",
        "",
        f"Seeds: {len(experiment.seeds)}; mean over seeds (95 % interval over groups"
        " and seeds); the difference is to the first run, by the same draws.",
        "",
        "| measure | run | value | seeds | difference |",
        "| --- | --- | --- | --- | --- |",
    ]
    text += [_row(line) for line in lines]
    text += ["", *_costs(experiment, done)]
    with whole_file(out / TABLE) as fresh:
        fresh.write_text("\n".join(text) + "\n", encoding="utf-8")
    interval_plot.intervals(
        out / PLOT,
        experiment.question,
        [(line.measure, line.run, line.value, line.low, line.high, line.seeds) for line in lines],
    )
    return out / TABLE


def _row(line: Line) -> str:
    seeds = ", ".join(f"{v:.3f}" for v in line.seeds)
    change = (
        ""
        if np.isnan(line.difference)
        else (f"{line.difference:+.3f} ({line.difference_low:+.3f} to {line.difference_high:+.3f})")
    )
    value = f"{line.value:.3f} ({line.low:.3f} to {line.high:.3f})" if np.isfinite(line.value) else "-"
    return f"| {line.measure} | {line.run} | {value} | {seeds} | {change} |"


def _costs(experiment: Asked, done: Results) -> list[str]:
    """Minutes that this took, and what the full number of steps would on the same machine."""
    spent = sum(r["seconds"] + r["scoring_seconds"] for r in done.values()) / 60
    full = sum(r["seconds"] / max(r["steps"], 1) * experiment.full_steps for r in done.values()) / 3600
    return [
        f"These {len(done)} runs took {spent:.0f} minutes; with {experiment.full_steps} steps each they would take "
        f"{full:.0f} hours on this machine."
    ]
