"""What can be wrong with a table of slides, each in one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from geryon.cohort.document import EncoderUsed, TargetDocument
from geryon.cohort.faults import Faults, few
from geryon.cohort.labels import is_blank
from geryon.cohort.learnable import least_left
from geryon.cohort.objects import SlideObjects
from geryon.cohort.targets import get_target


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
            faults.found(f"{few(same)} hold the same codes or objects: one slide under several names; leave one")


def encoders(used: Mapping[str, EncoderUsed], faults: Faults) -> EncoderUsed | None:
    """What made the volumes; a fault for those that something else made than most."""
    if not used:
        return None
    made = Counter(used.values())
    common = max(made, key=lambda one: sum(n for other, n in made.items() if not one.differences(other)))
    others: dict[str, list[str]] = {}
    for name, each in used.items():
        if differences := common.differences(each):
            others.setdefault(", ".join(differences), []).append(name)
    for what, slides in others.items():
        most = f"{common.name or 'one encoder'}, {common.patch_um:g} µm patches every {common.stride_um:g} µm"
        faults.found(
            f"volumes of different encoders: {few(slides)} with {what} (most are of {most}); "
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
    """The labels of these rows can be learnt; those that are blank or wrong are not looked at."""
    kind, known = get_target(target.kind), [i for i in rows if not np.isnan(values[i]).any()]
    whose = [patients[i] for i in known]
    for what, has in kind.groups(target, values[known]).items():
        _enough(what, {patient for patient, it in zip(whose, has, strict=True) if it}, faults)
    for sentence in kind.faults(target, values[known], whose):
        faults.found(sentence)


def sides(
    target: TargetDocument, values: np.ndarray, patients: Sequence[str], of_slide: Sequence[int], faults: Faults
) -> None:
    """Whatever two folds are asked and validate, there is something to learn from."""
    slides = Counter(of_slide)
    if (left := least_left(slides)) < 2:
        told = f"{len(of_slide)} slides in {len(slides)} folds leave {left} to learn from"
        faults.found(f"{told}, beside the fold that is asked and the one that validates; give more slides or folds")
    if not np.isnan(values).any():
        for sentence in get_target(target.kind).fold_faults(target, values, patients, of_slide):
            faults.found(sentence)


def _enough(what: str, patients: set[str], faults: Faults) -> None:
    if len(patients) == 1:
        faults.found(
            f"{what} has one patient ({next(iter(patients))}), who can't be both learnt from and asked; "
            "leave the class out or join it with another"
        )
    elif not patients:
        faults.found(f"{what} has no patient; there is nothing to tell apart")
