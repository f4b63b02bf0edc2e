"""What labels must hold to be learnt from: the functions behind Target.groups, faults and fold_faults."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from geryon.cohort.document import TargetDocument
from geryon.cohort.faults import few


def by_class(target: TargetDocument, truth: np.ndarray) -> dict[str, np.ndarray]:
    """The slides of each class."""
    return {f"the class {name!r}": truth[:, 0] == k for k, name in enumerate(target.classes)}


def by_flag(target: TargetDocument, truth: np.ndarray) -> dict[str, np.ndarray]:
    """The slides with 0 and with 1 of each label."""
    every = [(k, name, value) for k, name in enumerate(target.columns) for value in (0, 1)]
    return {f"column {name!r}: the value {value}": truth[:, k] == value for k, name, value in every}


def values_differ(target: TargetDocument, truth: np.ndarray, patients: Sequence[str]) -> list[str]:
    """A number must not be the same everywhere."""
    if len(np.unique(truth[:, 0])) != 1:
        return []
    return [f"column {target.columns[0]!r} holds one value alone; there is nothing to learn"]


def patients_die(target: TargetDocument, truth: np.ndarray, patients: Sequence[str]) -> list[str]:
    """Two patients must have an event, and each patient one time."""
    found: list[str] = []
    dead = {patient for patient, event in zip(patients, truth[:, 1], strict=True) if event}
    if not dead and len(truth):
        found.append(f"column {target.columns[1]!r}: all are censored (no event is 1); survival can't be learnt")
    elif len(dead) == 1:
        found.append(f"column {target.columns[1]!r}: one patient alone has an event; survival can't be learnt")
    told: dict[str, set[tuple[float, ...]]] = {}
    for patient, row in zip(patients, truth, strict=True):
        told.setdefault(patient, set()).add(tuple(row))
    if torn := [patient for patient, rows in told.items() if len(rows) > 1]:
        found.append(f"slides of a patient differ in time or event: {few(torn)}; a patient has one of each")
    return found


def patients_die_in_folds(
    target: TargetDocument, truth: np.ndarray, patients: Sequence[str], folds: Sequence[int]
) -> list[str]:
    """Each fold validates, and Cox's loss of slides without an event is 0, whatever is said of them."""
    dead = {(p, f) for p, f, event in zip(patients, folds, truth[:, 1], strict=True) if event}
    events = Counter(dict.fromkeys(folds, 0))
    events.update(fold for _, fold in dead)
    if len(dead) < 2:
        return []  # told of the whole table
    if without := [str(fold) for fold, n in sorted(events.items()) if not n]:
        folds_are = f"the fold {few(without)} has" if len(without) == 1 else f"the folds {few(without)} have"
        return [
            f"column {target.columns[1]!r}: {folds_are} no event ({len(dead)} patients have one in all), and each fold "
            "validates; make fewer folds, or give more patients with an event"
        ]
    if (left := least_left(events)) < 2:
        return [
            f"column {target.columns[1]!r}: {len(dead)} patients with an event in {len(events)} folds leave {left} to "
            "learn from, beside the fold that is asked and the one that validates; give more patients with an event"
        ]
    return []


def least_left(counts: Mapping[int, int]) -> int:
    """What is left without the two folds that hold most."""
    return sum(sorted(counts.values())[:-2])
