"""Who learns, who validates, who is held out: by group, so that no patient stands on two sides.

Groups are ranked by a digest of their names, so one more group does not shuffle the others. Where a source gives
strata (a grade, the commonest class of a case), each is spread over the sides by itself. The split is saved with the
run (split_file).
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Protocol

from geryon.train.augment_settings import STRICT
from geryon.train.faults import Fault
from geryon.train.settings import SettingsError

TRAIN, VALIDATION, HELD_OUT, LEFT_OUT = SIDES = ("train", "validation", "held out", "left out")


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """What is kept away from training."""

    __pydantic_config__ = STRICT

    validation: float = 0.15
    """Part of each source's groups (patients) that only validates; 0 trains on all."""
    folds: int = 0
    """Instead of a part: cut each source's groups into so many folds; 0: no folds."""
    fold: int = 0
    """The fold that validates, 0 to folds - 1; the others are learnt from."""
    train_only: tuple[str, ...] = ()
    """Sources that are learnt from whole: nothing of them validates."""
    seed: int = 0
    """Of the choice of groups."""
    held_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """{source: groups or names of cases} that neither train nor validate; "testA*" stands for all that begin so.

    {file: held_out.yaml} reads the same from a file beside the recipe, which may name other sources too.
    The model's document lists them, so that figures can be measured on them later.
    """

    def __post_init__(self) -> None:
        checks = (
            (not 0 <= self.validation < 1, f"validation is {self.validation}, must be in 0..1"),
            (self.folds < 0 or self.folds == 1, f"folds is {self.folds}, must be 0 or at least 2"),
            (not 0 <= self.fold < max(self.folds, 1), f"fold is {self.fold}, must be 0 to {max(self.folds, 1) - 1}"),
        )
        faults = [text for bad, text in checks if bad]
        if faults:
            raise SettingsError(what="; ".join(faults), where="split", mend="change them in the recipe")

    @property
    def validates(self) -> bool:
        """True where something is to validate."""
        return self.folds > 0 or self.validation > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class First:
    """How many groups of a source are learnt from, where a recipe limits them."""

    groups: Mapping[str, int] = field(default_factory=dict)
    seed: int = 0
    """Of the choice of groups."""


NO_LIMIT = First()


class Placed(Protocol):
    """A case or sample, as far as a split must know it."""

    @property
    def source(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def stratum(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """The same as a value."""

    source: str
    group: str
    name: str
    stratum: str = ""


def case_name(sample: str) -> str:
    """The name of a sample's case: samples of other sizes have theirs appended.

    >>> case_name("train_1 x0.85"), case_name("train_1")
    ('train_1', 'train_1')
    """
    return re.sub(r" x\d+(\.\d+)?(e[+-]?\d+)?$", "", sample)


def sides(items: Sequence[Placed], split: Split, first: First = NO_LIMIT) -> list[str]:
    """The side of each item, one of SIDES; all items of one source and group are on the same, or held out by name.

    `first` limits the groups that are learnt from; what validates does not depend on it.
    """
    away = [is_held_out(item, split) for item in items]
    validating: set[tuple[str, str]] = set()
    limited: set[tuple[str, str]] = set()
    for source in sorted({item.source for item in items}):
        mine = [item for item, out in zip(items, away, strict=True) if item.source == source and not out]
        if mine and source not in split.train_only:
            validating |= {(source, group) for group in chosen(source, _strata(mine), split)}
        if mine and source in first.groups:
            rest = _strata(item for item in mine if (source, item.group) not in validating)
            limited |= {(source, group) for group in _dealt(source, rest, first.seed)[first.groups[source] :]}

    def side(item: Placed, out: bool) -> str:
        who = item.source, item.group
        return HELD_OUT if out else VALIDATION if who in validating else LEFT_OUT if who in limited else TRAIN

    return [side(item, out) for item, out in zip(items, away, strict=True)]


def is_held_out(item: Placed, split: Split) -> bool:
    """True for what the recipe keeps away from training and validation, by group or by name."""
    return any(
        fnmatchcase(item.group, each) or fnmatchcase(case_name(item.name), each)
        for each in split.held_out.get(item.source, ())
    )


def chosen(source: str, strata: Mapping[str, str], split: Split) -> set[str]:
    """The groups of a source ({group: stratum}) that validate."""
    ranked = _ranked(source, strata, split.seed)
    if split.folds:
        # One stratum after the other, dealt like cards: neither folds nor strata differ by more than one group.
        return set([group for name in sorted(ranked) for group in ranked[name]][split.fold :: split.folds])
    if split.validation == 0 or len(strata) < 2:
        return set()
    n = min(len(strata) - 1, max(1, round(split.validation * len(strata))))
    return set(_dealt(source, strata, split.seed)[:n])


def _ranked(source: str, strata: Mapping[str, str], seed: int) -> dict[str, list[str]]:
    """{stratum: its groups, in the order of the seed}"""
    ranked: dict[str, list[str]] = {}
    for group in sorted(strata, key=lambda g: _rank(seed, source, g)):
        ranked.setdefault(strata[group], []).append(group)
    return ranked


def _dealt(source: str, strata: Mapping[str, str], seed: int) -> list[str]:
    """All groups in an order of which any beginning has its part of each stratum."""
    ranked = _ranked(source, strata, seed)
    places = {g: ((i + 0.5) / len(groups), name) for name, groups in ranked.items() for i, g in enumerate(groups)}
    return sorted(places, key=lambda g: places[g])


def _strata(items: Iterable[Placed]) -> dict[str, str]:
    """The stratum of each group: the commonest of its items that have one."""
    counts: dict[str, Counter[str]] = {}
    for item in items:
        counts.setdefault(item.group, Counter())[item.stratum] += bool(item.stratum)
    return {group: min(count, key=lambda s: (-count[s], s)) for group, count in counts.items()}


def _rank(seed: int, source: str, group: str) -> str:
    return hashlib.sha256(f"{seed}/{source}/{group}".encode()).hexdigest()


def faults(items: Sequence[Placed], split: Split) -> list[Fault]:
    """Sources that the split leaves nothing of on a side that it should have."""
    found = []
    placed = sides(items, split)
    for source in dict.fromkeys(item.source for item in items):
        mine = [(i.group, side) for i, side in zip(items, placed, strict=True) if i.source == source]
        groups = {group for group, side in mine if side != HELD_OUT}
        what, mend = _nothing_left(source, {side for _, side in mine}, groups, split)
        if what:
            found.append(Fault(source=source, what=what, mend=mend, is_input=False))
    return found


def _nothing_left(source: str, there: set[str], groups: set[str], split: Split) -> tuple[str, str]:
    if not groups:
        return "the split leaves nothing of it: all is held out", "shorten its list in split.held_out, or leave it out"
    if source in split.train_only or not split.validates:
        return "", ""
    other = f"or write split.train_only: [{source}]"
    if split.folds > len(groups):
        return f"the split has {split.folds} folds and the source {len(groups)} groups", f"lower split.folds, {other}"
    if there >= {TRAIN, VALIDATION}:
        return "", ""
    side = VALIDATION if VALIDATION not in there else TRAIN
    return f"the split leaves nothing for {side}: it has {len(groups)} group", f"add cases of other groups, {other}"


def unmatched(items: Sequence[Placed], split: Split) -> list[str]:
    """What split.held_out names and no group or case of its source is called."""
    empty = []
    for source, names in split.held_out.items():
        mine = [text for i in items if i.source == source for text in (i.group, case_name(i.name))]
        empty += [f"{source} {name}" for name in names if mine and not any(fnmatchcase(text, name) for text in mine)]
    return empty


def torn(items: Sequence[Placed], split: Split) -> list[str]:
    """Groups of which some cases are held out by name and others are not: figures on those are not of new patients."""
    seen: dict[tuple[str, str], set[bool]] = {}
    for item in items:
        seen.setdefault((item.source, item.group), set()).add(is_held_out(item, split))
    return [f"{source} {group}" for (source, group), both in sorted(seen.items()) if len(both) == 2]


def away_from_both(
    own: Mapping[str, Sequence[str]], learnt: Iterable[str], before: Mapping[str, Sequence[str]], seen: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """{source: groups} that neither a training nor the one that it began with has learnt from.

    `own` and `before` are what each held out, `learnt` and `seen` the sources that each learnt from.
    """
    learnt, seen = set(learnt), set(seen)
    found = {name: tuple(groups) for name, groups in before.items() if name not in learnt}
    for name, groups in own.items():
        # What only the new training left out was seen by the old one.
        kept = set(before.get(name, ())) if name in seen else set(groups)
        found[name] = tuple(group for group in groups if group in kept)
    return found
