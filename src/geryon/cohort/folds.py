"""Who is in which fold, and which network learns from whom."""

from __future__ import annotations

from collections.abc import Sequence

from geryon.cohort import checks
from geryon.cohort.faults import Faults
from geryon.cohort.learn import Part
from geryon.cohort.slides import Cohort
from geryon.errors import UsageError
from geryon.train.splits import VALIDATION, Item, Split, sides


def folds_for(cohort: Cohort, n: int) -> list[int]:
    """The fold of each slide, 1..: the table's own, or patients dealt to n, each kind of label by itself."""
    if any(slide.fold for slide in cohort.slides):
        return [slide.fold for slide in cohort.slides]
    patients = len(set(cohort.patients))
    if n < 3 or patients < n:
        what = f"{patients} patients can't make {n} folds" if patients < n else f"{n} folds are too few"
        raise UsageError(
            what=what,
            where=cohort.path,
            mend="give --folds from 3 (one is asked, one validates) to the patients' number",
        )
    strata = cohort.kind.stratum(cohort.truth)
    items = [
        Item(source="slides", group=slide.patient, name=slide.name, stratum=stratum)
        for slide, stratum in zip(cohort.slides, strata, strict=True)
    ]
    folds = [0] * len(items)
    for fold in range(n):
        for i, side in enumerate(sides(items, Split(folds=n, fold=fold))):
            folds[i] = fold + 1 if side == VALIDATION else folds[i]
    assert cohort.target is not None
    faults = Faults(cohort.path)
    checks.sides(cohort.target, cohort.truth, cohort.patients, folds, faults)
    faults.end()
    return folds


def thin(cohort: Cohort, folds: Sequence[int]) -> list[str]:
    """Classes and labels with fewer patients than folds: some networks never see or never meet them."""
    assert cohort.target is not None
    found = []
    for what, has in cohort.kind.groups(cohort.target, cohort.truth).items():
        n = len({patient for patient, it in zip(cohort.patients, has, strict=True) if it})
        if n < len(set(folds)):
            found.append(f"{what} has {n} patients, fewer than folds: some networks learn little of it")
    return found


def part_of(folds: Sequence[int], fold: int, seed: int) -> Part:
    """Another fold validates for each seed, so that over the seeds more patients are learnt from."""
    others = [other for other in sorted(set(folds)) if other != fold]
    place = sorted(set(folds)).index(fold)
    validates = others[(place + seed - 1) % len(others)]
    return Part(
        train=tuple(i for i, f in enumerate(folds) if f not in (fold, validates)),
        validation=tuple(i for i, f in enumerate(folds) if f == validates),
        seed=1000 * seed + place,
    )
