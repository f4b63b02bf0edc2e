"""The kinds of questions about slides, a value each. No torch here."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from scipy.special import expit, softmax

from geryon import plugins
from geryon.cohort import charts, labels, learnable, scores, survival
from geryon.cohort.document import TargetDocument
from geryon.cohort.target import LABELS, Target

FEW = 10
"""A column of numbers with more values than this is taken for a measurement where no kind is given."""


def guessed(cells: Sequence[Sequence[str]]) -> str:
    """The kind of question that columns hold [column][row], where the user gives none: multilabel for several columns,
    binary for two values, regression for more than ten numbers or a fraction among them, else multiclass."""
    if len(cells) > 1:
        return "multilabel"
    values = {cell for cell in cells[0] if not labels.is_blank(cell)}
    if len(values) <= 2:
        return "binary"
    if not labels.are_numbers(list(values)):
        return "multiclass"
    return "regression" if len(values) > FEW or any(labels.number(v) % 1 for v in values) else "multiclass"


def asked_by(options: Collection[str]) -> str:
    """The kind that is asked by these fields of question.Question, or by some of them; "" for labels alone."""
    named = set(options) - set(LABELS)
    return next((name for name in TARGETS if named & set(get_target(name).options)), "")


def get_target(kind: str) -> Target:
    """The kind of question of that name, as a model's file gives it; UsageError lists those there are."""
    target: Target = plugins.look_up(TARGETS, GROUP, kind)
    return target


GROUP = "geryon.slide_targets"
TARGETS = {
    "binary": "geryon.cohort.targets:BINARY",
    "multiclass": "geryon.cohort.targets:MULTICLASS",
    "ordinal": "geryon.cohort.targets:ORDINAL",
    "multilabel": "geryon.cohort.targets:MULTILABEL",
    "regression": "geryon.cohort.targets:REGRESSION",
    "survival": "geryon.cohort.targets:SURVIVAL",
}


def _cumulative(logits: np.ndarray) -> np.ndarray:
    """Probability of each grade from P(grade > k), which falls with k."""
    above = np.pad(expit(logits), ((0, 0), (1, 1)), constant_values=((0, 0), (1, 0)))
    return above[:, :-1] - above[:, 1:]


def _p(target: TargetDocument) -> tuple[str, ...]:
    return tuple(f"p_{name}" for name in target.classes)


def _by_class(truth: np.ndarray) -> list[str]:
    return ["+".join(f"{v:g}" for v in row) for row in truth]


def _by_quarter(truth: np.ndarray) -> list[str]:
    return [str(k) for k in np.searchsorted(np.quantile(truth[:, 0], (0.25, 0.5, 0.75)), truth[:, 0])]


def _by_event(truth: np.ndarray) -> list[str]:
    late = truth[:, 0] > np.median(truth[:, 0])
    return [f"{event:g}{'late' if is_late else 'early'}" for event, is_late in zip(truth[:, 1], late, strict=True)]


def _asked_classes(target: TargetDocument) -> int:
    return len(target.classes)


BINARY = Target(
    kind="binary",
    loss="binary",
    columns=(1, 1),
    classes=labels.two_classes,
    truth=labels.class_number,
    groups=learnable.by_class,
    outputs=lambda t: 1,
    names=lambda t: (f"p_{t.classes[1]}",),
    answers=expit,
    scores=scores.of_yes_or_no,
    charts=charts.of_yes_or_no,
    stratum=_by_class,
)
MULTICLASS = Target(
    kind="multiclass",
    loss="multiclass",
    columns=(1, 1),
    classes=labels.any_classes,
    truth=labels.class_number,
    groups=learnable.by_class,
    outputs=_asked_classes,
    names=_p,
    answers=lambda logits: softmax(logits, 1),
    scores=scores.of_classes,
    charts=charts.of_classes,
    stratum=_by_class,
)
ORDINAL = Target(
    kind="ordinal",
    loss="ordinal",
    columns=(1, 1),
    classes=labels.ordered_classes,
    truth=labels.class_number,
    groups=learnable.by_class,
    outputs=lambda t: len(t.classes) - 1,
    names=_p,
    answers=_cumulative,
    scores=scores.of_grades,
    charts=charts.of_grades,
    stratum=_by_class,
    is_ordered=True,
)
MULTILABEL = Target(
    kind="multilabel",
    loss="multilabel",
    columns=(1, 1000),
    classes=labels.no_classes,
    truth=labels.flags,
    groups=learnable.by_flag,
    outputs=lambda t: len(t.columns),
    names=lambda t: tuple(f"p_{name}" for name in t.columns),
    answers=expit,
    scores=scores.of_labels,
    charts=charts.of_labels,
    stratum=_by_class,
)
REGRESSION = Target(
    kind="regression",
    loss="regression",
    columns=(1, 1),
    classes=labels.no_classes,
    truth=labels.value,
    faults=learnable.values_differ,
    outputs=lambda t: 1,
    names=lambda t: (f"predicted_{t.columns[0]}",),
    answers=lambda logits: logits,
    scores=scores.of_values,
    charts=charts.of_values,
    stratum=_by_quarter,
    is_scaled=True,
)
SURVIVAL = Target(
    kind="survival",
    loss="survival",
    columns=(2, 2),
    options=("time", "event"),
    classes=labels.no_classes,
    truth=labels.time_and_event,
    faults=learnable.patients_die,
    fold_faults=learnable.patients_die_in_folds,
    outputs=lambda t: 1,
    names=lambda t: ("log_hazard",),
    answers=lambda logits: logits,
    scores=scores.of_risks,
    tests=scores.halves_differ,
    charts=charts.of_risks,
    stratum=_by_event,
    is_relative=True,
    of_patients=True,
    check_parts=survival.lifelines,
)
