"""What a kind of question about slides is made of. No torch here.

Truth is float64 [slide, k]: a class number (k = 1), one 0 or 1 a label, a value, or time and event (k = 2). Answers are
float64 [slide, a], a column a name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from geryon.cohort.document import TargetDocument

LABELS = ("labels",)
"""What most kinds are asked by, see Target.options."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """Truth and answers of the same slides, or patients."""

    target: TargetDocument
    truth: np.ndarray
    answers: np.ndarray
    folds: np.ndarray
    """int [slide]: who was answered by the same networks."""


Scores = dict[str, np.ndarray]


def _no_groups(target: TargetDocument, truth: np.ndarray) -> Mapping[str, np.ndarray]:
    return {}


def _no_faults(target: TargetDocument, truth: np.ndarray, patients: Sequence[str]) -> list[str]:
    return []


def _no_fold_faults(
    target: TargetDocument, truth: np.ndarray, patients: Sequence[str], folds: Sequence[int]
) -> list[str]:
    return []


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One kind of question."""

    kind: str
    loss: str
    """In cohort.losses.LOSSES."""
    columns: tuple[int, int]
    """Least and most columns of the table that hold it."""
    options: tuple[str, ...] = LABELS
    """Fields of question.Question that name these columns, in order."""
    classes: Callable[[Sequence[Sequence[str]], Sequence[str]], tuple[str, ...]]
    """(cells [column][row] without blanks, classes asked for) -> classes in order; ValueError says what is wrong."""
    truth: Callable[[Sequence[str], TargetDocument], list[float]]
    """One row's cells -> its truth; ValueError says what is wrong."""
    groups: Callable[[TargetDocument, np.ndarray], Mapping[str, np.ndarray]] = _no_groups
    """Truth -> {what: bool [slide]}: of each, patients must be both learnt from and asked."""
    faults: Callable[[TargetDocument, np.ndarray, Sequence[str]], list[str]] = _no_faults
    """(truth, patient of each slide) -> why it can't be learnt, a sentence each."""
    fold_faults: Callable[[TargetDocument, np.ndarray, Sequence[str], Sequence[int]], list[str]] = _no_fold_faults
    """The same, with the fold of each slide: why these folds won't do."""
    outputs: Callable[[TargetDocument], int]
    """Logits of a network."""
    names: Callable[[TargetDocument], tuple[str, ...]]
    """Names of the answers."""
    answers: Callable[[np.ndarray], np.ndarray]
    """Logits [slide, outputs] -> answers [slide, a]."""
    scores: Callable[[Scored, np.ndarray], Scores]
    """(what is scored, weights float [m, slide]) -> {figure: [m]}; the first one is the main figure."""
    tests: Callable[[Scored], Mapping[str, float]] = lambda of: {}
    """Figures without an interval, such as p values."""
    charts: Callable[[Scored], list[str]] = lambda of: []
    """Pictures for the report, as SVG."""
    stratum: Callable[[np.ndarray], list[str]]
    """Truth -> what is to be spread evenly over folds."""
    is_ordered: bool = False
    """Whether logits are cumulative ones of one score."""
    is_scaled: bool = False
    """Whether truth is a number in a unit of its own, which networks learn standardised."""
    is_relative: bool = False
    """Whether answers have no zero of their own, only differences."""
    of_patients: bool = False
    """Whether it is asked of patients: their slides' answers are averaged before they are scored."""
    check_parts: Callable[[], object] = lambda: None
    """MissingPartError where an optional package that it needs is absent."""
