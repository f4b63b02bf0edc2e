"""Kinds of questions about slides: how labels are read, how logits become answers, what scores them. No torch here.

Truth is float64 [slide, k]: a class number (k = 1), one 0 or 1 a label, a value, or time and event (k = 2). Answers are
float64 [slide, a], a column a name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, softmax

from geryon import plugins
from geryon.cohort.document import TargetDocument
from geryon.errors import UsageError
from geryon.tasks import weighted_metrics
from geryon.tasks.class_metrics import mean_of_known

Scores = dict[str, np.ndarray]
BLANK = ("", "na", "n/a", "nan", "null")
"""What a cell without a label holds, in any case."""
NO, YES = ("0", "0.0", "false", "no", "negative", "-"), ("1", "1.0", "true", "yes", "positive", "+")
FEW = 10
"""A column of numbers with more values than this is taken for a measurement where no kind is given."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """Truth and answers of the same slides, or patients."""

    target: TargetDocument
    truth: np.ndarray
    answers: np.ndarray
    folds: np.ndarray
    """int [slide]: who was answered by the same networks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One kind of question."""

    kind: str
    loss: str
    """In cohort.losses.LOSSES."""
    columns: tuple[int, int]
    """Least and most columns of the table that hold it."""
    classes: Callable[[Sequence[Sequence[str]], Sequence[str]], tuple[str, ...]]
    """(cells [column][row] without blanks, classes asked for) -> classes in order; ValueError says what is wrong."""
    truth: Callable[[Sequence[str], TargetDocument], list[float]]
    """One row's cells -> its truth; ValueError says what is wrong."""
    outputs: Callable[[TargetDocument], int]
    """Logits of a network."""
    names: Callable[[TargetDocument], tuple[str, ...]]
    """Names of the answers."""
    answers: Callable[[np.ndarray], np.ndarray]
    """Logits [slide, outputs] -> answers [slide, a]."""
    scores: Callable[[Scored, np.ndarray], Scores]
    """(what is scored, weights float [m, slide]) -> {figure: [m]}; the first one is the main figure."""
    stratum: Callable[[np.ndarray], list[str]]
    """Truth -> what is to be spread evenly over folds."""
    is_ordered: bool = False
    """Whether logits are cumulative ones of one score."""
    of_patients: bool = False
    """Whether it is asked of patients: their slides' answers are averaged before they are scored."""


def is_blank(cell: str) -> bool:
    """True for a cell that holds no label."""
    return cell.strip().casefold() in BLANK


def number(cell: str) -> float:
    """The finite number in a cell; ValueError else."""
    value = float(cell)
    if not math.isfinite(value):
        raise ValueError(cell)
    return value


def are_numbers(cells: Sequence[str]) -> bool:
    """True where each cell is a finite number."""
    try:
        return bool([number(cell) for cell in cells]) or not cells
    except ValueError:
        return False


def guessed(cells: Sequence[Sequence[str]]) -> str:
    """The kind of question that columns hold [column][row], where the user gives none: multilabel for several columns,
    binary for two values, regression for more than ten numbers or a fraction among them, else multiclass."""
    if len(cells) > 1:
        return "multilabel"
    values = {cell for cell in cells[0] if not is_blank(cell)}
    if len(values) <= 2:
        return "binary"
    if not are_numbers(list(values)):
        return "multiclass"
    return "regression" if len(values) > FEW or any(number(v) % 1 for v in values) else "multiclass"


def in_order(values: set[str]) -> list[str]:
    """Numbers by size, other names by the alphabet.

    >>> in_order({"10", "9"}), in_order({"b", "a"})
    (['9', '10'], ['a', 'b'])
    """
    return sorted(values, key=float) if are_numbers(list(values)) else sorted(values)


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


def _classes(cells: Sequence[Sequence[str]], asked: Sequence[str]) -> tuple[str, ...]:
    there = {cell for cell in cells[0] if not is_blank(cell)}
    if strangers := sorted(there - set(asked)) if asked else []:
        raise ValueError(f"it holds {', '.join(strangers[:5])}, which the classes asked for do not name")
    if missing := [name for name in asked if name not in there]:
        raise ValueError(f"no slide is of the class {missing[0]}")
    if len(there) < 2:
        raise ValueError(f"it holds one class alone ({', '.join(there) or 'none'}): there is nothing to tell apart")
    return tuple(asked or in_order(there))


def _two(cells: Sequence[Sequence[str]], asked: Sequence[str]) -> tuple[str, ...]:
    found = _classes(cells, asked)
    if len(found) != 2:
        told = ", ".join(found[:5]) + (", ..." if len(found) > 5 else "")
        raise ValueError(f"it holds {len(found)} classes ({told}), not two; give --target multiclass or ordinal")
    return found


def _ordered(cells: Sequence[Sequence[str]], asked: Sequence[str]) -> tuple[str, ...]:
    found = _classes(cells, asked)
    if not asked and not are_numbers(found):
        raise ValueError(f"its classes ({', '.join(found[:5])}) have no order; give it: --classes least,...,most")
    if len(found) < 3:
        raise ValueError("it holds two classes, which have no order to learn; give --target binary")
    return found


def _none(cells: Sequence[Sequence[str]], asked: Sequence[str]) -> tuple[str, ...]:
    if asked:
        raise UsageError(what="--classes is for binary, multiclass and ordinal targets", mend="leave it out")
    return ()


def _class_number(row: Sequence[str], target: TargetDocument) -> list[float]:
    return [float(target.classes.index(row[0]))]


def _flags(row: Sequence[str], target: TargetDocument) -> list[float]:
    return [_flag(cell) for cell in row]


def _flag(cell: str) -> float:
    told = cell.strip().casefold()
    if told not in (*NO, *YES):
        raise ValueError(f"{cell!r} is neither 0 nor 1")
    return float(told in YES)


def _value(row: Sequence[str], target: TargetDocument) -> list[float]:
    try:
        return [number(row[0])]
    except ValueError:
        raise ValueError(f"{row[0]!r} is no number") from None


def _time_and_event(row: Sequence[str], target: TargetDocument) -> list[float]:
    (time,) = _value(row[:1], target)
    if time <= 0:
        raise ValueError(f"the time {row[0]} is not above 0")
    try:
        return [time, _flag(row[1])]
    except ValueError:
        raise ValueError(f"the event {row[1]!r} is neither 0 nor 1") from None


def _cumulative(logits: np.ndarray) -> np.ndarray:
    """Probability of each grade from P(grade > k), which falls with k."""
    above = np.pad(expit(logits), ((0, 0), (1, 1)), constant_values=((0, 0), (1, 0)))
    return above[:, :-1] - above[:, 1:]


def _p(target: TargetDocument) -> tuple[str, ...]:
    return tuple(f"p_{name}" for name in target.classes)


def _score_binary(of: Scored, weights: np.ndarray) -> Scores:
    truth, answers = of.truth, of.answers
    so, p = truth[:, 0] > 0, answers[:, 0]
    return {
        "auc": weighted_metrics.auc(so, p, weights),
        "balanced_accuracy": weighted_metrics.balanced_accuracy(truth[:, 0], p >= 0.5, weights),
        "brier": weighted_metrics.mean((p - so) ** 2, weights),
        "ece": weighted_metrics.calibration_error(so, p, weights),
    }


def _score_classes(of: Scored, weights: np.ndarray) -> Scores:
    truth, answers, target = of.truth, of.answers, of.target
    true, found = truth[:, 0].astype(int), answers.argmax(1)
    each = {name: weighted_metrics.auc(true == k, answers[:, k], weights) for k, name in enumerate(target.classes)}
    return {
        "auc": mean_of_known(np.stack(list(each.values()), -1)),
        "balanced_accuracy": weighted_metrics.balanced_accuracy(true, found, weights),
        "brier": weighted_metrics.mean(((answers - np.eye(len(target.classes))[true]) ** 2).sum(1), weights),
        "ece": weighted_metrics.calibration_error(true == found, answers.max(1), weights),
        **{f"auc/{name}": values for name, values in each.items()},
    }


def _score_grades(of: Scored, weights: np.ndarray) -> Scores:
    truth, answers, target = of.truth, of.answers, of.target
    expected = answers @ np.arange(len(target.classes))
    found = answers.argmax(1)
    return {
        "kappa_quadratic": weighted_metrics.quadratic_kappa(truth[:, 0].astype(int), found, weights),
        "spearman": weighted_metrics.spearman(truth[:, 0], expected, weights),
        "balanced_accuracy": weighted_metrics.balanced_accuracy(truth[:, 0], found, weights),
        "mae_grades": weighted_metrics.mean(np.abs(truth[:, 0] - expected), weights),
    }


def _score_labels(of: Scored, weights: np.ndarray) -> Scores:
    truth, answers, target = of.truth, of.answers, of.target
    each = {
        name: weighted_metrics.auc(truth[:, k] > 0, answers[:, k], weights) for k, name in enumerate(target.columns)
    }
    return {
        "auc": mean_of_known(np.stack(list(each.values()), -1)),
        "brier": weighted_metrics.mean(((answers - truth) ** 2).mean(1), weights),
        **{f"auc/{name}": values for name, values in each.items()},
        **{
            f"ece/{name}": weighted_metrics.calibration_error(truth[:, k] > 0, answers[:, k], weights)
            for k, name in enumerate(target.columns)
        },
    }


def _score_values(of: Scored, weights: np.ndarray) -> Scores:
    truth, answers = of.truth, of.answers
    return {
        "spearman": weighted_metrics.spearman(truth[:, 0], answers[:, 0], weights),
        "pearson": weighted_metrics.pearson(truth[:, 0], answers[:, 0], weights),
        "mae": weighted_metrics.mean(np.abs(truth[:, 0] - answers[:, 0]), weights),
    }


def _score_risk(of: Scored, weights: np.ndarray) -> Scores:
    # Networks of other folds count risks from another zero and in other steps, so pairs are of one fold.
    time, event = of.truth[:, 0], of.truth[:, 1] > 0
    return {"c_index": weighted_metrics.c_index(time, event, of.answers[:, 0], weights, of.folds)}


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
    classes=_two,
    truth=_class_number,
    outputs=lambda t: 1,
    names=lambda t: (f"p_{t.classes[1]}",),
    answers=expit,
    scores=_score_binary,
    stratum=_by_class,
)
MULTICLASS = Target(
    kind="multiclass",
    loss="multiclass",
    columns=(1, 1),
    classes=_classes,
    truth=_class_number,
    outputs=_asked_classes,
    names=_p,
    answers=lambda logits: softmax(logits, 1),
    scores=_score_classes,
    stratum=_by_class,
)
ORDINAL = Target(
    kind="ordinal",
    loss="ordinal",
    columns=(1, 1),
    classes=_ordered,
    truth=_class_number,
    outputs=lambda t: len(t.classes) - 1,
    names=_p,
    answers=_cumulative,
    scores=_score_grades,
    stratum=_by_class,
    is_ordered=True,
)
MULTILABEL = Target(
    kind="multilabel",
    loss="multilabel",
    columns=(1, 1000),
    classes=_none,
    truth=_flags,
    outputs=lambda t: len(t.columns),
    names=lambda t: tuple(f"p_{name}" for name in t.columns),
    answers=expit,
    scores=_score_labels,
    stratum=_by_class,
)
REGRESSION = Target(
    kind="regression",
    loss="regression",
    columns=(1, 1),
    classes=_none,
    truth=_value,
    outputs=lambda t: 1,
    names=lambda t: (f"predicted_{t.columns[0]}",),
    answers=lambda logits: logits,
    scores=_score_values,
    stratum=_by_quarter,
)
SURVIVAL = Target(
    kind="survival",
    loss="survival",
    columns=(2, 2),
    classes=_none,
    truth=_time_and_event,
    outputs=lambda t: 1,
    names=lambda t: ("log_hazard",),
    answers=lambda logits: logits,
    scores=_score_risk,
    stratum=_by_event,
    of_patients=True,
)
