"""A run's report: one page of HTML that needs nothing beside it."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geryon.atomic import whole_file
from geryon.cohort import survival
from geryon.cohort.document import SlideModelDocument
from geryon.cohort.plots import Axes, Course, chart
from geryon.cohort.results import MEAN, Answered
from geryon.tasks.probability_metrics import bin_of
from geryon.train.interval_plot import drawn

REPORT = "report.html"
STYLE = (
    "body{font:14px sans-serif;margin:24px;max-width:1300px}table{border-collapse:collapse}"
    "td,th{padding:2px 10px;text-align:left;border-bottom:1px solid #ddd}figure{display:inline-block;margin:8px}"
)
HOW = (
    "Every answer is of a network that saw neither the slide nor its patient. Intervals (95 %) are over drawings of "
    "patients; they do not hold the spread between trainings, which the rings show."
)
UNIT = (0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainings:
    """The validation loss of each network."""

    x: str
    """What it is over: "epoch", say."""
    losses: Mapping[str, Sequence[tuple[float, float]]]
    """{network: [(x, loss)]}"""


def write_report(
    out: Path,
    document: SlideModelDocument,
    answered: tuple[Answered, Answered | None],
    trainings: Trainings,
    notes: Sequence[str],
) -> Path:
    """Write report.html: what was asked, figures with intervals, charts of the kind of question, and the courses."""
    slides, patients = answered
    figures = document.training["figures"]
    shown = patients if patients is not None and "slides" not in figures else slides
    title = f"{', '.join(document.target.columns)} by {document.model}"
    sections = [
        f"<h1>{html.escape(title)}</h1>",
        _facts(document, slides, notes),
        f"<p>{HOW}</p>",
        *(_figures(level, found) for level, found in figures.items()),
        "<h2>Charts</h2>",
        *(f"<figure>{svg}</figure>" for svg in CHARTS.get(document.target.kind, _no_charts)(shown)),
        "<h2>Courses of training</h2>",
        f"<figure>{_courses(trainings)}</figure>",
    ]
    page = [
        "<!doctype html>",
        f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>',
        f"<style>{STYLE}</style></head><body>",
        *sections,
        "</body></html>",
        "",
    ]
    with whole_file(out / REPORT) as fresh:
        fresh.write_text("\n".join(page), encoding="utf-8")
    return out / REPORT


def _facts(document: SlideModelDocument, slides: Answered, notes: Sequence[str]) -> str:
    seeds, folds = ({getattr(m, name) for m in document.members} for name in ("seed", "fold"))
    encoder = document.encoder
    rows = [
        ("question", f"{document.target.kind}: {', '.join(document.target.columns)}"),
        ("classes", ", ".join(document.target.classes)),
        ("slides, patients", f"{len(slides.names)}, {len(set(slides.patients))}"),
        ("folds, seeds", f"{len(folds)}, {len(seeds)}"),
        ("encoder", f"{encoder.name or 'unknown'} ({encoder.code} numbers, {encoder.patch_um:g} µm patches)"),
        ("objects", f"{len(document.objects)} measures" if document.objects else "not used"),
        ("to be known", "; ".join(notes)),
    ]
    return _table([(name, text) for name, text in rows if text])


def _figures(level: str, found: Mapping[str, Any]) -> str:
    rows = [
        (level, name, _nan(value["value"]), _nan(value["low"]), _nan(value["high"]),
         [_nan(seed[name]) for seed in found["seeds"].values()])
        for name, value in found[MEAN].items()
    ]  # fmt: skip
    table = [("figure", "value", "95 % interval", "each seed")]
    table += [
        (n, f"{v:.3f}", f"{a:.3f} to {b:.3f}", ", ".join(f"{s:.3f}" for s in each)) for _, n, v, a, b, each in rows
    ]
    if (p := found.get("log_rank_p")) is not None:
        table.append(("log-rank p of halves by risk", f"{p:.3g}", "", ""))
    # A panel each: figures of different scales can't share an axis.
    svg = drawn("", [(name, name, value, low, high, each) for _, name, value, low, high, each in rows])
    return f"<h2>Figures by {level}</h2>{_table(table)}<figure>{svg}</figure>"


def _table(rows: Sequence[Sequence[str]]) -> str:
    body = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in body) + "</table>"


def _courses(trainings: Trainings) -> str:
    lines = [Course(name=name, points=points, kind="guide") for name, points in trainings.losses.items()]
    return chart(Axes(title="Validation loss of each network", x=trainings.x, y="loss"), lines)


def roc(is_so: np.ndarray, p: np.ndarray) -> list[tuple[float, float]]:
    """The points (false, true positive rate) of the ROC curve from (0, 0) to (1, 1); ties are one step."""
    order = np.argsort(-p, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(p[order]) != 0, True))
    true, false = (np.cumsum(flag[order])[ends] / max(flag.sum(), 1) for flag in (is_so, ~is_so))
    return [(0.0, 0.0), *((float(x), float(y)) for x, y in zip(false, true, strict=True))]


def reliability(is_so: np.ndarray, p: np.ndarray) -> list[tuple[float, float]]:
    """(mean probability, share that was so) of each of the bins of the calibration error that holds something."""
    bins = bin_of(p)
    return [(float(p[bins == k].mean()), float(is_so[bins == k].mean())) for k in np.unique(bins)]


def _ranked(named: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> list[str]:
    """ROC and calibration charts of yes-or-no questions, {name: (is_so, p)}."""
    rocs = [Course(name=name, points=roc(so, p)) for name, (so, p) in named.items()]
    means = [Course(name=name, points=reliability(so, p), kind="dots") for name, (so, p) in named.items()]
    guide = Course(name="", points=[UNIT_START, UNIT_END], kind="guide")
    return [
        chart(Axes(title="ROC", x="false positive rate", y="true positive rate", x_limits=UNIT, y_limits=UNIT),
              [guide, *rocs]),
        chart(Axes(title="Calibration", x="said", y="was so", x_limits=UNIT, y_limits=UNIT), [guide, *means]),
    ]  # fmt: skip


UNIT_START, UNIT_END = (0.0, 0.0), (1.0, 1.0)


def _binary(answered: Answered) -> list[str]:
    return _ranked({answered.target.classes[1]: (answered.truth[:, 0] > 0, answered.mean[:, 0])})


def _classes(answered: Answered) -> list[str]:
    names = enumerate(answered.target.classes)
    return _ranked({name: (answered.truth[:, 0] == k, answered.mean[:, k]) for k, name in names})


def _labels(answered: Answered) -> list[str]:
    names = enumerate(answered.target.columns)
    return _ranked({name: (answered.truth[:, k] > 0, answered.mean[:, k]) for k, name in names})


def _grades(answered: Answered) -> list[str]:
    expected = answered.mean @ np.arange(len(answered.target.classes))
    return [_scatter(answered, expected, "expected grade"), *_classes(answered)]


def _values(answered: Answered) -> list[str]:
    return [_scatter(answered, answered.mean[:, 0], "predicted")]


def _scatter(answered: Answered, said: np.ndarray, name: str) -> str:
    points = [(float(t), float(a)) for t, a in zip(answered.truth[:, 0], said, strict=True)]
    every = [v for point in points for v in point]
    guide = Course(name="", points=[(min(every),) * 2, (max(every),) * 2], kind="guide")
    return chart(Axes(title="Truth and answer", x=answered.target.columns[0], y=name),
                 [guide, Course(name=name, points=points, kind="dots")])  # fmt: skip


def _survival(answered: Answered) -> list[str]:
    time, event, is_high = answered.truth[:, 0], answered.truth[:, 1] > 0, answered.is_high()
    courses = []
    for name, which in (("lower risk", ~is_high), ("higher risk", is_high)):
        if which.any():
            curve = survival.kaplan_meier(time[which], event[which])
            points = [(float(x), float(y)) for x, y in zip(curve.time, curve.alive, strict=True)]
            band = [(float(a), float(b)) for a, b in zip(curve.low, curve.high, strict=True)]
            label = f"{name} (n = {curve.n}, {curve.deaths} events)"
            courses.append(Course(name=label, points=points, kind="steps", band=band))
    axes = Axes(
        title="Kaplan-Meier by predicted risk",
        x=answered.target.columns[0],
        y="without event",
        x_limits=(0.0, float(time.max())),
        y_limits=UNIT,
    )
    return [chart(axes, courses)]


CHARTS = {
    "binary": _binary,
    "multiclass": _classes,
    "ordinal": _grades,
    "multilabel": _labels,
    "regression": _values,
    "survival": _survival,
}


def _no_charts(answered: Answered) -> list[str]:
    return []


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value
