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
"""{(run, seed): what train.experiment.score left}."""


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
        drawn = {run: _draws(experiment, results, run, label) for run in experiment.runs}
        for run, (values, draws) in drawn.items():
            if not len(values):
                continue
            mean, (low, high) = float(np.mean(values)), span(draws)
            others, other_draws = drawn[first]
            paired = run != first and len(others) > 0
            change = span(draws - other_draws) if paired and draws.shape == other_draws.shape else (np.nan, np.nan)
            lines.append(
                Line(
                    measure=label,
                    run=run,
                    value=mean,
                    low=low,
                    high=high,
                    seeds=tuple(float(v) for v in values),
                    difference=mean - float(np.mean(others)) if paired else np.nan,
                    difference_low=change[0],
                    difference_high=change[1],
                )
            )
    return lines


def _draws(experiment: Asked, results: Results, run: str, label: str) -> tuple[np.ndarray, np.ndarray]:
    """Values by seed, and draws [n]: each of a seed drawn at random, the i-th by the same groups in every run."""
    found = [results[run, s]["figures"][label] for s in experiment.seeds if label in results[run, s]["figures"]]
    if not found:
        return np.zeros(0), np.zeros(0)
    table = np.array([f["drawn"] for f in found], float)
    which = np.random.default_rng(0).integers(len(found), size=table.shape[1])
    return np.array([f["value"] for f in found]), table[which, np.arange(table.shape[1])]


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
    return (
        f"| {line.measure} | {line.run} | {line.value:.3f} ({line.low:.3f} to {line.high:.3f}) | {seeds} | {change} |"
    )


def _costs(experiment: Asked, done: Results) -> list[str]:
    """Minutes that this took, and what the full number of steps would on the same machine."""
    spent = sum(r["seconds"] + r["scoring_seconds"] for r in done.values()) / 60
    full = sum(r["seconds"] / max(r["steps"], 1) * experiment.full_steps for r in done.values()) / 3600
    return [
        f"These {len(done)} runs took {spent:.0f} minutes; with {experiment.full_steps} steps each they would take "
        f"{full:.0f} hours on this machine."
    ]
