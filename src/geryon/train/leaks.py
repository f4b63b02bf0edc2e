"""Where what is measured was learnt before: sets that hold images of one another, patients on both sides of a split.

Each function returns plain sentences, one a leak; stories hand them on as warnings. Sets of the same hospital may
share patients without sharing images: no table tells, so that stands in the sources' traps, not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Any, Protocol

from geryon import plugins
from geryon.train.source import SOURCES, Source, get_source

MOST_NAMED = 8
"""Groups that a sentence names; of more it gives the number."""


class Grouped(Protocol):
    """What a sample of a pack says of itself."""

    @property
    def source(self) -> str:
        """Name of its source."""

    @property
    def name(self) -> str:
        """Of the image, unique in its source."""

    @property
    def group(self) -> str:
        """The patient, slide or case."""


def family(source: Source) -> set[str]:
    """The names of the sources whose images stand in this one, itself and what those hold included."""
    known, found, todo = plugins.names(SOURCES, "geryon.sources"), {source.name}, list(source.holds)
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += get_source(name).holds if name in known else ()
    return found


def shared(a: Source, b: Source) -> str:
    """How images stand in both, as a sentence without its end; "" where none are known to."""
    in_a, in_b = family(a), family(b)
    if b.name in in_a:
        return f"{a.name} holds images of {b.name} again"
    if a.name in in_b:
        return f"{b.name} holds images of {a.name} again"
    common = sorted(in_a & in_b)
    return f"{a.name} and {b.name} both hold images of {', '.join(common)}" if common else ""


def between_sources(chosen: Sequence[Source], held_out: Mapping[str, Sequence[str]]) -> list[str]:
    """Leaks of a recipe: what one source keeps away (`held_out`: {source: groups or names}) another may teach."""
    said = []
    for a, b in combinations(chosen, 2):
        how = shared(a, b)
        away = " and ".join(name for name in (a.name, b.name) if held_out.get(name))
        if how and away:
            said.append(f"{how}: what is held out of {away} may be learnt through the other")
        elif how:
            said.append(f"{how}: what validates in one may be learnt through the other")
    known, names = plugins.names(SOURCES, "geryon.sources"), {source.name for source in chosen}
    for other in sorted({*held_out} & {*known} - names):
        said += [f"{how}, and that is held out" for source in chosen if (how := shared(source, get_source(other)))]
    return said


def of_fit(
    chosen: Sequence[Source],
    held_out: Mapping[str, Sequence[str]],
    everything: Iterable[Grouped],
    learnt: Iterable[Grouped],
) -> list[str]:
    """All leaks of a fit: between its sources, and of their groups over what is held out."""
    return between_sources(chosen, held_out) + torn_groups(everything, learnt)


def torn_groups(everything: Iterable[Grouped], learnt: Iterable[Grouped]) -> list[str]:
    """Groups (patients) of which some images are held out and others learnt: official splits do that."""
    everything, learnt = list(everything), list(learnt)
    kept = {(s.source, s.group) for s in learnt}
    names = {(s.source, s.name) for s in learnt}
    torn: dict[str, set[str]] = {}
    for s in everything:
        if (s.source, s.name) not in names and (s.source, s.group) in kept:
            torn.setdefault(s.source, set()).add(s.group)
    return [
        f"{source}: images of {_listed(groups)} are held out while others of the same groups are learnt"
        for source, groups in sorted(torn.items())
    ]


def _listed(groups: set[str]) -> str:
    numbers = sorted(groups, key=lambda g: (len(g), g))
    return ", ".join(numbers) if len(numbers) <= MOST_NAMED else f"{len(numbers)} groups"


def in_evaluation(document: Any, source: str, cases: Sequence[Any]) -> list[str]:
    """Leaks of figures on `cases` of a source for a model whose document tells its sources and what they held out."""
    learnt = [s.name for s in getattr(document, "sources", ())]
    said = []
    if source in learnt:
        away = getattr(document, "held_out", {}).get(source, ())
        seen = sum(not is_away(case, away) for case in cases)
        if seen:
            said.append(f"the model was trained on {source}: {seen} of these {len(cases)} images were not held out")
    known = plugins.names(SOURCES, "geryon.sources")
    if source in known:
        about = get_source(source)
        others = [get_source(name) for name in learnt if name in known and name != source]
        said += [f"the model was trained on {o.name}: {how}" for o in others if (how := shared(o, about))]
    return said


def is_away(case: Any, patterns: Iterable[str]) -> bool:
    """True where the case's group or name is among those that were kept away ("testA*" stands for all of its kind)."""
    return any(fnmatchcase(str(case.group), p) or fnmatchcase(str(case.name), p) for p in patterns)
