"""What an experiment on encoders shows: tables with intervals, and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from geryon.atomic import whole_file
from geryon.tasks.intervals import span
from geryon.train import interval_plot
from geryon.train.encoders.figures import FIGURES
from geryon.train.encoders.probing import Probed

if TYPE_CHECKING:
    from geryon.train.encoders.experiment import EncoderExperiment, Try

TABLE, PLOT = "table.md", "plot.svg"
Done = Sequence[tuple["Try", Probed]]


def report(experiment: EncoderExperiment, done: Done, out: Path) -> Path:
    """table.md and plot.svg of what is done."""
    lines = [f"# {experiment.question}", "", *_head(experiment)]
    rows: list[interval_plot.Interval] = []
    for figure in FIGURES:
        lines += [
            f"## {figure}",
            "",
            "| left out | encoder | value | seeds | difference |",
            "| --- | --- | --- | --- | --- |",
        ]
        for task in experiment.probed:
            told, drawn = _of_task(done, task, figure)
            lines += told
            rows += [(f"{task}, {figure}", *row) for row in drawn]
        lines.append("")
    lines += _trend(done) if experiment.counts else _count(experiment, done)
    with whole_file(out / TABLE) as fresh:
        fresh.write_text("\n".join(lines) + "\n", encoding="utf-8")
    interval_plot.intervals(out / PLOT, experiment.question, rows)
    return out / TABLE


def _head(experiment: EncoderExperiment) -> list[str]:
    probe = experiment.probe
    return [
        f"Probes on frozen codes: groups in {probe.folds} folds, each left out once, {len(probe.seeds)} probes a "
        f"fold, at most {probe.patches} patches. Value: mean over trainings and probes (95 % interval over groups); "
        "seeds: each training; the difference is to the first, by the same draws.",
        "",
    ]


def _label(one: Try) -> str:
    return f"{one.label}, {one.count} task{'s' if one.count > 1 else ''}" if one.count else one.label


def _means(done: Done, task: str, figure: str) -> dict[str, tuple[list[float], np.ndarray]]:
    """{label: figure of each training, mean over trainings in each drawing of groups}"""
    found: dict[str, list[Probed]] = {}
    for one, probed in done:
        if one.task == task:
            found.setdefault(_label(one), []).append(probed)
    return {
        label: ([p.figures[figure].value for p in some], np.mean([p.figures[figure].drawn for p in some], axis=0))
        for label, some in found.items()
    }


def _of_task(
    done: Done, task: str, figure: str
) -> tuple[list[str], list[tuple[str, float, float, float, list[float]]]]:
    lines, rows = [], []
    means = _means(done, task, figure)
    first = next(iter(means.values()), None)
    for label, (values, drawn) in means.items():
        low, high = span(drawn)
        change = ""
        if first is not None and first[1] is not drawn:
            less = span(drawn - first[1])
            change = f"{np.mean(values) - np.mean(first[0]):+.3f} ({less[0]:+.3f} to {less[1]:+.3f})"
        seeds = ", ".join(f"{v:.3f}" for v in values)
        lines.append(f"| {task} | {label} | {np.mean(values):.3f} ({low:.3f} to {high:.3f}) | {seeds} | {change} |")
        rows.append((label, float(np.mean(values)), low, high, values))
    return lines, rows


def _count(experiment: EncoderExperiment, done: Done) -> list[str]:
    """On how many tasks the first run is ahead of each other encoder."""
    lines = [
        "## The first run against each other",
        "",
        "| encoder | figure | ahead on | with the whole interval | mean difference |",
    ]
    lines.append("| --- | --- | --- | --- | --- |")
    for figure in FIGURES:
        gaps: dict[str, list[tuple[float, float]]] = {}
        for task in experiment.probed:
            means = _means(done, task, figure)
            first = next(iter(means.items()), None)
            for label, (values, drawn) in means.items() if first else ():
                if first and label != first[0]:
                    gap = float(np.mean(first[1][0]) - np.mean(values))
                    gaps.setdefault(label, []).append((gap, span(first[1][1] - drawn)[0]))
        for label, some in gaps.items():
            ahead, sure = sum(g > 0 for g, _ in some), sum(low > 0 for _, low in some)
            mean = np.mean([g for g, _ in some])
            lines.append(f"| {label} | {figure} | {ahead} of {len(some)} | {sure} of {len(some)} | {mean:+.3f} |")
    return lines


def _trend(done: Done) -> list[str]:
    """What one task more brings: the slope over the number of tasks, by task and over all."""
    lines = ["## What one task more brings", "", "| left out | figure | slope (95 % interval over groups and orders) |"]
    lines.append("| --- | --- | --- |")
    for figure in FIGURES:
        every = {}
        for task in dict.fromkeys(one.task for one, _ in done):
            slopes = _slopes(done, task, figure)
            if slopes is not None:
                every[task] = slopes
        for task, (value, drawn) in every.items():
            low, high = span(drawn)
            lines.append(f"| {task} | {figure} | {value:+.4f} ({low:+.4f} to {high:+.4f}) |")
        if len(every) > 1:
            low, high = span(np.mean([drawn for _, drawn in every.values()], axis=0))
            mean = np.mean([value for value, _ in every.values()])
            lines.append(f"| mean | {figure} | {mean:+.4f} ({low:+.4f} to {high:+.4f}) |")
    return lines


def _slopes(done: Done, task: str, figure: str) -> tuple[float, np.ndarray] | None:
    """The least-squares slope, and in drawings of groups and orders; None with fewer than two numbers of tasks."""
    of_seed: dict[int, list[tuple[int, Probed]]] = {}
    for one, probed in done:
        if one.task == task and one.count:
            of_seed.setdefault(one.seed, []).append((one.count, probed))
    values, drawn = [], []
    for some in of_seed.values():
        counts = np.array([count for count, _ in some], float)
        if len(set(counts)) > 1:
            along = (counts - counts.mean()) / np.square(counts - counts.mean()).sum()
            values.append(float(along @ [p.figures[figure].value for _, p in some]))
            drawn.append(along @ np.stack([p.figures[figure].drawn for _, p in some]))
    if not values:
        return None
    table = np.stack(drawn)
    which = np.random.default_rng(0).integers(len(table), size=(len(table), table.shape[1]))
    return float(np.mean(values)), np.take_along_axis(table, which, axis=0).mean(axis=0)
