"""What an experiment on encoders shows: tables with intervals, and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from geryon.atomic import whole_file
from geryon.tasks.intervals import span
from geryon.train import interval_plot
from geryon.train.encoders.experiment import EncoderExperiment, Try
from geryon.train.encoders.figures import FIGURES, Figure
from geryon.train.encoders.probing import Probed, differences, table

TABLE, PLOT = "table.md", "plot.svg"
Done = Sequence[tuple[Try, Probed]]


def report(experiment: EncoderExperiment, done: Done, out: Path) -> Path:
    """table.md and plot.svg of what is done."""
    lines = [f"# {experiment.question}", "", *_head(experiment)]
    rows: list[interval_plot.Interval] = []
    means = {task: _means(done, task) for task in experiment.probed}
    for figure in FIGURES:
        lines += [f"## {figure}", "", *table([one for some in means.values() for one in some], figures=(figure,)), ""]
        for task, some in means.items():
            for one in some:
                found = one.figures[figure]
                rows.append((f"{task}, {figure}", one.encoder, found.value, *found.low_high, list(found.seeds)))
    lines += _trend(done) if experiment.counts else _count(means)
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


def _means(done: Done, task: str) -> list[Probed]:
    """One of each label, in order: the mean over its trainings."""
    found: dict[str, list[Probed]] = {}
    for one, probed in done:
        if one.task == task:
            found.setdefault(_label(one), []).append(probed)
    return [_mean(label, some) for label, some in found.items()]


def _mean(label: str, some: Sequence[Probed]) -> Probed:
    """The mean of trainings, in each drawing of groups too; its `seeds` are the trainings."""
    figures = {}
    for name in FIGURES:
        each = [p.figures[name] for p in some]
        values = tuple(f.value for f in each)
        drawn = np.mean([f.drawn for f in each], axis=0)
        figures[name] = Figure(value=float(np.mean(values)), seeds=values, drawn=drawn)
    notes = list(dict.fromkeys(p.note for p in some if p.note))
    is_alike = len(_places(some)) == 1
    if not is_alike:
        notes.append("its trainings were scored on unlike places")
    return replace(
        some[0], encoder=label, figures=figures, patches=some[0].patches if is_alike else 0, note="; ".join(notes)
    )


def _places(some: Sequence[Probed]) -> set[tuple[int, int]]:
    """Numbers of patches and groups: more than one where unlike places were scored."""
    return {(p.patches, p.groups) for p in some}


def _count(means: Mapping[str, Sequence[Probed]]) -> list[str]:
    """On how many tasks the first run is ahead of each other encoder, of those where both were scored alike."""
    lines = [
        "## The first run against each other",
        "",
        "| encoder | figure | ahead on | with the whole interval | mean difference |",
    ]
    lines.append("| --- | --- | --- | --- | --- |")
    for figure in FIGURES:
        gaps: dict[str, list[tuple[float, float]]] = {}
        for some in means.values():
            for one in some[1:]:
                gap = differences(some[0], one).get(figure)
                if gap:
                    gaps.setdefault(one.encoder, []).append(gap[:2])
        for label, found in gaps.items():
            ahead, sure = sum(g > 0 for g, _ in found), sum(low > 0 for _, low in found)
            mean = np.mean([g for g, _ in found])
            lines.append(f"| {label} | {figure} | {ahead} of {len(found)} | {sure} of {len(found)} | {mean:+.3f} |")
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
    """The least-squares slope, and in drawings of groups and orders.

    None with fewer than two numbers of tasks, or where unlike places were scored.
    """
    of_seed: dict[int, list[tuple[int, Probed]]] = {}
    for one, probed in done:
        if one.task == task and one.count:
            of_seed.setdefault(one.seed, []).append((one.count, probed))
    if len(_places([p for some in of_seed.values() for _, p in some])) > 1:
        return None
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
