"""What networks said of slides that they had not seen: tables of it, by slide and by patient, and its figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geryon.atomic import whole_file
from geryon.cohort.document import TargetDocument
from geryon.cohort.target import Scored
from geryon.cohort.targets import get_target
from geryon.tasks.weighted_metrics import with_intervals

MEAN = "mean"
"""Name of the answers averaged over seeds."""
SEEDS = "seeds"
"""Name of the figures of each seed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answered:
    """Truth and answers of slides, or of patients."""

    target: TargetDocument
    names: tuple[str, ...]
    patients: tuple[str, ...]
    folds: tuple[int, ...]
    """0 where no fold is known."""
    truth: np.ndarray
    """float64 [n, k]; no column where no truth is known."""
    by_seed: Mapping[int, np.ndarray]
    """{seed: float64 [n, answer]}"""

    @property
    def mean(self) -> np.ndarray:
        """float64 [n, answer], over the seeds."""
        whole: np.ndarray = np.mean(list(self.by_seed.values()), axis=0)
        return whole

    @property
    def scored(self) -> Scored:
        """Truth and the mean answers."""
        return Scored(target=self.target, truth=self.truth, answers=self.mean, folds=np.array(self.folds))

    def figures(self) -> dict[str, Any]:
        """{"mean": {figure: {"value", "low", "high"}}, "seeds": {seed: {figure: value}}}, intervals over patients; and
        the kind's tests, {name: value}."""
        kind, scored, one = get_target(self.target.kind), self.scored, np.ones((1, len(self.names)))
        return {
            MEAN: with_intervals(lambda weights: kind.scores(scored, weights), self.patients),
            SEEDS: {
                str(seed): {
                    name: float(value[0]) for name, value in kind.scores(replace(scored, answers=a), one).items()
                }
                for seed, a in self.by_seed.items()
            },
            **kind.tests(scored),
        }

    def rows(self) -> list[list[str]]:
        """The table with its head: name, patient, fold, truth, mean answers, answers of each seed."""
        target = get_target(self.target.kind)
        answers = target.names(self.target)
        seeds = list(self.by_seed) if len(self.by_seed) > 1 else []
        head = ["slide", "patient", *(["fold"] if any(self.folds) else []), *self._truth_names(), *answers]
        head += [f"{name}_seed{seed}" for seed in seeds for name in answers]
        mean, body = self.mean, []
        for i, name in enumerate(self.names):
            row = [name, self.patients[i], *([str(self.folds[i])] if any(self.folds) else []), *self._truth_cells(i)]
            row += [_told(value) for value in mean[i]]
            body.append(row + [_told(value) for seed in seeds for value in self.by_seed[seed][i]])
        return [head, *body]

    def _truth_names(self) -> list[str]:
        return list(self.target.columns) if self.truth.shape[1] else []

    def _truth_cells(self, i: int) -> list[str]:
        if not self.truth.shape[1]:
            return []
        if self.target.classes:
            return [self.target.classes[int(self.truth[i, 0])]]
        return [f"{value:.10g}" for value in self.truth[i]]


def by_patient(slides: Answered) -> Answered | None:
    """The same of patients, the answers of their slides averaged; None where slides of one patient differ in truth."""
    order = list(dict.fromkeys(slides.patients))
    rows = {name: [i for i, patient in enumerate(slides.patients) if patient == name] for name in order}
    if any(len(np.unique(slides.truth[some], axis=0)) > 1 for some in rows.values()):
        return None
    firsts = [some[0] for some in rows.values()]
    return Answered(
        target=slides.target,
        names=tuple("; ".join(slides.names[i] for i in some) for some in rows.values()),
        patients=tuple(order),
        folds=tuple(slides.folds[i] for i in firsts),
        truth=slides.truth[firsts],
        by_seed={
            seed: np.stack([answers[some].mean(0) for some in rows.values()])
            for seed, answers in slides.by_seed.items()
        },
    )


def write_table(path: Path, rows: Sequence[Sequence[str]]) -> None:
    """Write rows as CSV, whole or not at all."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    with whole_file(path) as fresh:
        fresh.write_text(text.getvalue(), encoding="utf-8")


def _told(value: float) -> str:
    return f"{value:.6g}"
