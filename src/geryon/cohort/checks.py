"""What can be wrong with a table of slides, each in one sentence, gathered so that all are told at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from geryon.cohort.document import EncoderUsed, TargetDocument
from geryon.cohort.objects import SlideObjects
from geryon.cohort.targets import is_blank
from geryon.errors import GeryonError, InputError, UsageError
from geryon.train.faults import nearest

CLASSED = ("binary", "multiclass", "ordinal")
MOST_LINES = 30


class Faults:
    """Sentences about one table: about what was asked of it, and about what it holds."""

    def __init__(self, where: str) -> None:
        self.where = where
        self._asked: list[str] = []
        self._found: list[str] = []

    def asked(self, sentence: str) -> None:
        """A fault of the command line."""
        self._asked.append(sentence)

    def found(self, sentence: str) -> None:
        """A fault of the table or its slides."""
        self._found.append(sentence)

    def column(self, name: str, columns: Iterable[str]) -> None:
        """A column that is not there."""
        there = list(columns)
        self.asked(f"there is no column {name!r} (there are: {', '.join(there)}){nearest(name, there)}")

    def error(self) -> GeryonError:
        """The one error that tells them all: of input where the table has a fault, else of usage."""
        every = [" ".join(line.split()) for line in (*self._asked, *self._found)]
        lines = every[:MOST_LINES] + ([f"{len(every) - MOST_LINES} more"] if len(every) > MOST_LINES else [])
        kind = InputError if self._found else UsageError
        what = lines[0] if len(lines) == 1 else "\n  ".join([f"{len(every)} faults", *lines])
        return kind(what=what, where=self.where)

    def end(self) -> None:
        """Raise the error where there is a fault."""
        if self._asked or self._found:
            raise self.error()


def few(names: Sequence[str]) -> str:
    """Some names in a sentence.

    >>> few(["a", "b"]), few(list("abcdefg"))
    ('a and b', 'a, b, c, d and 3 more')
    """
    if len(names) <= 5:
        return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))
    return f"{', '.join(names[:4])} and {len(names) - 4} more"


def names(slides: Sequence[str], patients: Sequence[str], faults: Faults) -> None:
    """Slides and patients have names, and no slide stands twice."""
    if nameless := sum(not name for name in slides):
        faults.found(f"the slide is blank in {nameless} row{'s' if nameless > 1 else ''}; name it or delete the row")
    if twice := [name for name, n in Counter(filter(None, slides)).items() if n > 1]:
        faults.found(f"{few(twice)} stand{'s' if len(twice) == 1 else ''} in more than one row; leave one")
    if blank := [slide for slide, patient in zip(slides, patients, strict=True) if slide and not patient]:
        faults.found(f"the patient is blank for {few(blank)}; fill it, or leave the whole column out")


def blanks(column: str, cells: Sequence[str], slides: Sequence[str], faults: Faults) -> None:
    """No label is blank."""
    if found := [slide for slide, cell in zip(slides, cells, strict=False) if is_blank(cell)]:
        faults.found(f"column {column!r} is blank for {few(found)}; fill it or delete the rows")


def folds(given: Sequence[str] | None, slides: Sequence[str], patients: Sequence[str], faults: Faults) -> list[int]:
    """The folds of a table's own column, 1.., by the order of their names; zeros where it has none."""
    if given is None:
        return [0] * len(slides)
    if blank := [slide for slide, cell in zip(slides, given, strict=True) if not cell]:
        faults.found(f"the fold is blank for {few(blank)}; fill it, or leave the whole column out")
    of_patient: dict[str, set[str]] = {}
    for patient, cell in zip(patients, given, strict=True):
        of_patient.setdefault(patient, set()).add(cell)
    if torn := [patient for patient, some in of_patient.items() if len(some) > 1]:
        are = "patients stand" if len(torn) > 1 else "patient stands"
        faults.found(f"the {are} in more than one fold: {few(torn)}; keep all slides of a patient in one")
    order = {name: k for k, name in enumerate(sorted(set(given), key=lambda n: (len(n), n)), start=1)}
    if len(order) < 3:
        faults.found(f"the column of folds holds {len(order)}; give 3 or more: one is asked, one validates")
    return [order[cell] for cell in given]


def twins(identities: Mapping[str, str], faults: Faults) -> None:
    """No slide stands under two names."""
    alike: dict[str, list[str]] = {}
    for name, digest in identities.items():
        alike.setdefault(digest, []).append(name)
    for same in alike.values():
        if len(same) > 1:
            faults.found(f"{few(same)} hold the same codes: one slide under several names; leave one")


def encoders(used: Mapping[str, EncoderUsed], faults: Faults) -> EncoderUsed | None:
    """What made the volumes; a fault for those that something else made than most."""
    if not used:
        return None
    common = Counter(used.values()).most_common(1)[0][0]
    others: dict[str, list[str]] = {}
    for name, each in used.items():
        if differences := common.differences(each):
            others.setdefault(", ".join(differences), []).append(name)
    for what, slides in others.items():
        made = f"{common.name or 'one encoder'}, {common.patch_um:g} µm patches every {common.stride_um:g} µm"
        faults.found(
            f"volumes of different encoders: {few(slides)} with {what} (most are of {made}); "
            "compress all slides with one encoder and setting"
        )
    return common


def objects(found: Mapping[str, SlideObjects], faults: Faults) -> None:
    """All objects are of one model and of the same tasks and classes."""
    if not found:
        return
    made_by = Counter(each.made_by for each in found.values()).most_common(1)[0][0]
    if others := [name for name, each in found.items() if each.made_by != made_by]:
        faults.found(f"objects of {few(others)} were found by another model than most ({made_by}); segment them alike")
    known = Counter(tuple(each.measures) for each in found.values()).most_common(1)[0][0]
    if others := [name for name, each in found.items() if tuple(each.measures) != known]:
        faults.found(f"objects of {few(others)} are of other tasks or classes than most; segment them alike")


def truth(
    target: TargetDocument, values: np.ndarray, patients: Sequence[str], rows: Sequence[int], faults: Faults
) -> None:
    """The labels can be learnt: every class has two patients, someone died, numbers differ."""
    known = [i for i in rows if not np.isnan(values[i]).any()]
    if target.kind in CLASSED:
        for k, name in enumerate(target.classes):
            _enough(f"the class {name!r}", {patients[i] for i in known if values[i, 0] == k}, faults)
    elif target.kind == "multilabel":
        for k, column in enumerate(target.columns):
            for value in (0, 1):
                whose = {patients[i] for i in known if values[i, k] == value}
                _enough(f"column {column!r}: the value {value}", whose, faults)
    elif target.kind == "regression":
        if len({float(values[i, 0]) for i in known}) == 1:
            faults.found(f"column {target.columns[0]!r} holds one value alone; there is nothing to learn")
    elif target.kind == "survival":
        _survival(target, values[known], [patients[i] for i in known], faults)


def sides(
    target: TargetDocument, values: np.ndarray, patients: Sequence[str], of_slide: Sequence[int], faults: Faults
) -> None:
    """Whatever two folds are asked and validate, there is something to learn from, and with an event to choose by
    (Cox's loss of slides without one is 0, whatever is said of them)."""
    slides = Counter(of_slide)
    if (left := _least_left(slides)) < 2:
        told = f"{len(of_slide)} slides in {len(slides)} folds leave {left} to learn from"
        faults.found(f"{told}, beside the fold that is asked and the one that validates; give more slides")
    if target.kind != "survival" or np.isnan(values).any():
        return
    dead = {(p, f) for p, f, event in zip(patients, of_slide, values[:, 1], strict=True) if event}
    events = Counter(dict.fromkeys(slides, 0))
    events.update(fold for _, fold in dead)
    if len(dead) < 2:
        return  # told of the whole table
    if without := [str(fold) for fold, n in sorted(events.items()) if not n]:
        folds_are = f"the fold {few(without)} has" if len(without) == 1 else f"the folds {few(without)} have"
        faults.found(
            f"column {target.columns[1]!r}: {folds_are} no event ({len(dead)} patients have one in all), and each fold "
            "validates; make fewer folds, or give more patients with an event"
        )
    elif (left := _least_left(events)) < 2:
        faults.found(
            f"column {target.columns[1]!r}: {len(dead)} patients with an event in {len(events)} folds leave {left} to "
            "learn from, beside the fold that is asked and the one that validates; give more patients with an event"
        )


def _least_left(counts: Mapping[int, int]) -> int:
    """What is left without the two folds that hold most."""
    return sum(sorted(counts.values())[:-2])


def _enough(what: str, patients: set[str], faults: Faults) -> None:
    if len(patients) == 1:
        faults.found(
            f"{what} has one patient ({next(iter(patients))}), who can't be both learnt from and asked; "
            "leave the class out or join it with another"
        )
    elif not patients:
        faults.found(f"{what} has no patient; there is nothing to tell apart")


def _survival(target: TargetDocument, values: np.ndarray, patients: Sequence[str], faults: Faults) -> None:
    dead = {patient for patient, event in zip(patients, values[:, 1], strict=True) if event}
    if not dead and len(values):
        faults.found(f"column {target.columns[1]!r}: all are censored (no event is 1); survival can't be learnt")
    elif len(dead) == 1:
        faults.found(f"column {target.columns[1]!r}: one patient alone has an event; survival can't be learnt")
    told: dict[str, set[tuple[float, ...]]] = {}
    for patient, row in zip(patients, values, strict=True):
        told.setdefault(patient, set()).add(tuple(row))
    if torn := [patient for patient, rows in told.items() if len(rows) > 1]:
        faults.found(f"slides of a patient differ in time or event: {few(torn)}; a patient has one of each")
