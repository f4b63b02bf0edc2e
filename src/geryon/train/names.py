"""The names in a recipe's document: each stands in a table, whatever else is wrong with the document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geryon import plugins
from geryon.nets.topologies import TOPOLOGIES
from geryon.tasks.task import TASKS, ClassTree, Task, get_task, with_classes
from geryon.train import own
from geryon.train.faults import nearest
from geryon.train.source import ALLOWED, SOURCES, get_source


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What is wrong with names."""

    lines: tuple[str, ...]
    sources: frozenset[int]
    """Places of the sources among them."""


def faults(raw: Any, choices: Mapping[int, Any]) -> Said:
    """Faults of the names in a document that may have any others; `choices` are its well-formed sources by place."""
    if not isinstance(raw, dict):
        return Said(lines=(), sources=frozenset())
    tasks = [t for t in listed(raw, "tasks") if isinstance(t, str)]
    known = plugins.names(TASKS, "geryon.tasks")
    lines = [f"tasks[{i}]: {_no('task', t, known)}" for i, t in enumerate(tasks) if t not in known]
    lines += [] if tasks or "tasks" not in raw else ["tasks: names no task"]
    net = raw["net"].get("name", "geryon-s") if isinstance(raw.get("net"), dict) else "geryon-s"
    nets = plugins.names(TOPOLOGIES, "geryon.topologies")
    lines += [f"net.name: {_no('topology', net, nets)}"] if isinstance(net, str) and net not in nets else []
    by_source = _sources(raw, choices, _values(raw, [t for t in tasks if t in known]))
    lines += _freeze(raw.get("net")) + _classes(raw.get("classes"), [t for t in tasks if t in known])
    lines += ["sources: names no source"] if "sources" in raw and not listed(raw, "sources") else []
    lines += [f"sources[{i}].{line}" for i, some in by_source.items() for line in some]
    if all(t in known for t in tasks):
        lines += _maps(raw, tasks)
    lines += _split(raw) + _double(raw, "sources") + _double(raw, "tasks")
    return Said(lines=tuple(lines), sources=frozenset(by_source))


def _values(raw: dict[str, Any], tasks: Sequence[str]) -> dict[str, Task]:
    """The tasks with the classes that the document gives them, as far as those can be."""
    given, values = raw.get("classes"), {name: get_task(name) for name in tasks}
    for name, names in given.items() if isinstance(given, dict) and not _classes(given, tasks) else ():
        values[name] = with_classes(values[name], ClassTree.told(names))
    return values


def _freeze(net: Any) -> list[str]:
    given, start = (net.get("freeze"), net.get("start")) if isinstance(net, dict) else (None, "")
    if given is True and start in (None, "", "imagenet"):
        return ["net.freeze: true needs a model as net.start, whose answers stay"]
    return ["net.freeze: there is no net.start whose weights could stay"] if given and not start else []


def _classes(given: Any, tasks: Sequence[str]) -> list[str]:
    lines = []
    for name, names in given.items() if isinstance(given, dict) else ():
        if name not in tasks:
            lines.append(f"classes.{name}: is none of the recipe's tasks ({', '.join(tasks)}){nearest(name, tasks)}")
        elif get_task(name).classes is None:
            lines.append(f"classes.{name}: {name} has no classes")
        elif not _is_tree(names):
            lines.append(f"classes.{name}: must be a list of names, or a tree of them; none may stand twice")
    return lines


def _is_tree(names: Any) -> bool:
    leaves = names.values() if isinstance(names, dict) else [names]
    if not names or not all(isinstance(some, list) for some in leaves):
        return False
    every = [*(names if isinstance(names, dict) else ()), *(name for some in leaves for name in some)]
    return all(isinstance(name, str) and name for name in every) and len(set(every)) == len(every)


def _sources(raw: dict[str, Any], choices: Mapping[int, Any], values: Mapping[str, Task]) -> dict[int, list[str]]:
    """{place: its faults}."""
    known, licence = plugins.names(SOURCES, "geryon.sources"), raw.get("licence")
    found: dict[int, list[str]] = {}
    for i, each in enumerate(listed(raw, "sources")):
        name = each.get("name") if isinstance(each, dict) else None
        if not isinstance(name, str):
            continue
        choice, lines = choices.get(i), []
        if "format" in each:
            lines += ["name: is that of a public source; choose another"] if name in known else []
            if isinstance(choice, own.OwnChoice):
                lines += [f"{place}: {what}" for place, what in own.faults(choice, values).items()]
            use, terms = each.get("use"), each.get("licence")
        elif name not in known:
            lines.append(f"name: {_no('source', name, known)}")
            use = None
        else:
            use, terms = get_source(name).use, get_source(name).licence
        if licence in ALLOWED and isinstance(use, str) and use not in ALLOWED[licence]:
            lines.append(f"name: {name} is for {use} ({terms}), the recipe's licence is {licence}")
        if lines:
            found[i] = lines
    return found


def _maps(raw: dict[str, Any], tasks: Sequence[str]) -> list[str]:
    train = raw.get("train")
    shares = train.get("shares") if isinstance(train, dict) else None
    maps = [f"{t}/{m.name}" for t in tasks for m in get_task(t).maps]
    lines = ["train.shares: write each source's share beside its name"] if shares else []
    for key in ("map_weights", "map_losses"):
        given = train.get(key) if isinstance(train, dict) else None
        wrong = [name for name in given if name not in maps] if isinstance(given, dict) else []
        lines += [f"train.{key}.{name}: {_no('map', str(name), maps)}" for name in wrong]
    return lines + _apart(raw)


def _apart(raw: dict[str, Any]) -> list[str]:
    sources = [each.get("name") for each in listed(raw, "sources") if isinstance(each, dict)]
    train = raw["train"] if isinstance(raw.get("train"), dict) else {}
    named = [name for name in sources if isinstance(name, str)]
    strangers = [name for name in listed(train, "apart") if name not in sources]
    return [f"train.apart: {_no('source of this recipe', str(name), named)}" for name in strangers]


def _split(raw: dict[str, Any]) -> list[str]:
    """Misspelt sources of a split, whose groups would be learnt from without a sound.

    Public sets that the recipe does not name may stand in held_out: other sets hold their images again.
    """
    split = raw.get("split")
    if not isinstance(split, dict):
        return []
    mine = [str(each.get("name")) for each in listed(raw, "sources") if isinstance(each, dict)]
    held_out = split.get("held_out")
    named = [(f"held_out.{name}", name) for name in (held_out if isinstance(held_out, dict) else ())]
    named += [(f"train_only[{i}]", name) for i, name in enumerate(listed(split, "train_only"))]
    known = [*mine, *(plugins.names(SOURCES, "geryon.sources") if named else ())]
    return [f"split.{at}: the recipe has no such source{nearest(str(n), known)}" for at, n in named if n not in known]


def _double(raw: dict[str, Any], key: str) -> list[str]:
    names = [entry.get("name") if isinstance(entry, dict) else entry for entry in listed(raw, key)]
    twice = sorted({name for name in names if isinstance(name, str) and names.count(name) > 1})
    return [f"{key}: {name} stands twice" for name in twice]


def listed(raw: Any, key: str) -> list[Any]:
    """The list that stands at a key; [] of anything else."""
    value = raw.get(key) if isinstance(raw, dict) else None
    return value if isinstance(value, list) else []


def _no(kind: str, name: str, known: Sequence[str]) -> str:
    return f"no {kind} is called {name!r} (there are: {', '.join(known)}){nearest(name, known)}"
