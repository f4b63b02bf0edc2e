"""Where what is measured was learnt before: sets that hold images of one another.

Each function returns plain sentences, one a leak; stories hand them on as warnings. Sets of the same hospital may
share patients without sharing images: no table tells, so that stands in the sources' traps, not here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import combinations
from typing import Any

from geryon import plugins
from geryon.events import Tell, Warned
from geryon.train.source import SOURCES, Source, get_source


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


def warn(chosen: Sequence[Source], held_out: Mapping[str, Sequence[str]], tell: Tell) -> None:
    """Tell all leaks between the sources of a recipe."""
    for text in between_sources(chosen, held_out):
        tell(Warned(text=text))


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


def in_evaluation(document: Any, source: str, cases: Sequence[Any], *, unseen: bool = False) -> list[str]:
    """Leaks of figures on `cases` of a source for a model whose document tells its sources and what they held out.

    `unseen`: a saved split tells that these cases were not learnt from, though they may have validated.
    """
    learnt = [s.name for s in getattr(document, "sources", ())]
    said = []
    if source in learnt and not unseen:
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
