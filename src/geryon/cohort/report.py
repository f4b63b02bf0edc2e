"""A run's report: one page of HTML that needs nothing beside it."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geryon.atomic import whole_file
from geryon.cohort.document import EncoderUsed, SlideModelDocument
from geryon.cohort.plots import Axes, Course, chart
from geryon.cohort.results import MEAN, SEEDS, Answered
from geryon.cohort.targets import get_target
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
        *(f"<figure>{svg}</figure>" for svg in get_target(document.target.kind).charts(shown.scored)),
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
    rows = [
        ("question", f"{document.target.kind}: {', '.join(document.target.columns)}"),
        ("classes", ", ".join(document.target.classes)),
        ("slides, patients", f"{len(slides.names)}, {len(set(slides.patients))}"),
        ("folds, seeds", f"{len(folds)}, {len(seeds)}"),
        ("encoder", _told(document.encoder)),
        ("codes computed in", ", ".join(document.precisions)),
        ("objects", f"{len(document.objects)} measures" if document.objects else "not used"),
        ("to be known", "; ".join(notes)),
    ]
    return _table([(name, text) for name, text in rows if text])


def _told(encoder: EncoderUsed | None) -> str:
    if encoder is None:
        return "not used"
    return f"{encoder.name or 'unknown'} ({encoder.code} numbers, {encoder.patch_um:g} µm patches)"


def _figures(level: str, found: Mapping[str, Any]) -> str:
    rows = [
        (level, name, _nan(value["value"]), _nan(value["low"]), _nan(value["high"]),
         [_nan(seed[name]) for seed in found[SEEDS].values()])
        for name, value in found[MEAN].items()
    ]  # fmt: skip
    table = [("figure", "value", "95 % interval", "each seed")]
    table += [
        (n, f"{v:.3f}", f"{a:.3f} to {b:.3f}", ", ".join(f"{s:.3f}" for s in each)) for _, n, v, a, b, each in rows
    ]
    table += [(name, f"{_nan(p):.3g}", "", "") for name, p in found.items() if name not in (MEAN, SEEDS)]
    # A panel each: figures of different scales can't share an axis.
    svg = drawn("", [(name, name, value, low, high, each) for _, name, value, low, high, each in rows])
    return f"<h2>Figures by {level}</h2>{_table(table)}<figure>{svg}</figure>"


def _table(rows: Sequence[Sequence[str]]) -> str:
    body = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in body) + "</table>"


def _courses(trainings: Trainings) -> str:
    lines = [Course(name=name, points=points, kind="guide") for name, points in trainings.losses.items()]
    return chart(Axes(title="Validation loss of each network", x=trainings.x, y="loss"), lines)


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value
