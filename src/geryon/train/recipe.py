"""What to train, from what, how: YAML in, one value out, or every fault of the document at once.

The only place that knows pydantic. Recipes hold names from tables, never paths to classes, and no unknown key
passes in silence. A recipe's licence decides which sources may stand in it.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import yaml

from geryon import plugins
from geryon.errors import InputError, UsageError
from geryon.nets.topologies import TOPOLOGIES
from geryon.tasks.task import TASKS, Task, get_task, with_classes
from geryon.train.augment import STRICT
from geryon.train.settings import LoopSettings
from geryon.train.source import SOURCES, Source, get_source

ALLOWED = {"open": ("open",), "research": ("open", "research")}
"""Licence of a recipe: uses of sources that it may learn from. Sources to evaluate on are in neither."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceChoice:
    """One source and its part in each batch."""

    __pydantic_config__ = STRICT

    name: str
    """In train.source.SOURCES or an entry point of the group geryon.sources."""
    root: str = ""
    """Its folder, below the data folder; by default called like the source."""
    share: float = 1.0
    """Its part of each batch, in any unit common to all sources."""
    scales: tuple[float, ...] = (1.0,)
    """Sizes at which each case is packed: 1.2 is a fifth larger than it truly is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetChoice:
    """The network."""

    __pydantic_config__ = STRICT

    name: str = "geryon-s"
    """In nets.topologies.TOPOLOGIES or an entry point of the group geryon.topologies."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the topology."""
    start: str = ""
    """Where weights come from at first: "" (random), "imagenet", a shipped model or the path of a model file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """What is kept away from training."""

    __pydantic_config__ = STRICT

    validation: float = 0.15
    """Part of each source's groups (patients) that only validates; 0 trains on all."""
    seed: int = 0
    """Of the choice of groups."""
    held_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """{source: groups or names of cases} that neither train nor validate; "testA*" stands for all that begin so.

    The model's document lists them, so that figures can be measured on them later.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole training, from labelled sources to a model file."""

    __pydantic_config__ = STRICT

    name: Annotated[str, pydantic.StringConstraints(pattern=r"^\w[\w.-]*$")]
    """Of the model and its files: letters, digits, dots, hyphens."""
    version: str = "0"
    licence: Literal["open", "research"]
    """open: sources of free use only; research: also such as allow research alone."""
    tasks: tuple[str, ...]
    """In tasks.TASKS, in the order of the network's heads."""
    cut: tuple[str, ...] = ()
    """Tasks whose class trees are cut to their branches, where the sources go no deeper."""
    mpp: float = 0.5
    """µm per pixel of the network's input."""
    sources: tuple[SourceChoice, ...]
    net: NetChoice = field(default_factory=NetChoice)
    split: Split = field(default_factory=Split)
    train: LoopSettings = field(default_factory=LoopSettings)

    def task_values(self) -> tuple[Task, ...]:
        """The tasks themselves, with the classes that this recipe can teach."""
        return tuple(self._task(name) for name in self.tasks)

    def _task(self, name: str) -> Task:
        task = get_task(name)
        return with_classes(task, task.classes.cut()) if name in self.cut and task.classes else task

    def source_values(self) -> tuple[Source, ...]:
        """The sources themselves, in the recipe's order."""
        return tuple(get_source(choice.name) for choice in self.sources)


_ADAPTER = pydantic.TypeAdapter(Recipe)


def read_recipe(path: Path) -> Recipe:
    """The recipe in that YAML file; one UsageError lists all its faults, each with its place."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            what=f"can't be read: {error}", where=str(path), mend="give the path of a YAML recipe"
        ) from error
    return parse_recipe(text, where=str(path))


def parse_recipe(text: str, *, where: str = "recipe") -> Recipe:
    """The recipe in that YAML text."""
    try:
        raw = yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader that also refuses double keys)
    except yaml.YAMLError as error:
        raise UsageError(
            what=f"is no YAML: {' '.join(str(error).split())}", where=where, mend="mend the document"
        ) from error
    faults = _names(raw)
    try:
        recipe = _ADAPTER.validate_python(raw)
    except pydantic.ValidationError as error:
        faults = [f"{_place(e['loc'])}: {_said(e)}" for e in error.errors()] + faults
    if faults:
        raise UsageError(
            what="\n  ".join([f"{len(faults)} fault{'s' if len(faults) > 1 else ''}", *faults]),
            where=where,
            mend="\nsee geryon fit --show-schema",
        )
    return recipe


def schema() -> str:
    """What may stand in a recipe, as JSON Schema."""
    return json.dumps(_ADAPTER.json_schema(), indent=2, ensure_ascii=False)


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"double key {', '.join(twice)}", node.start_mark)
        return super().construct_mapping(node, deep=deep)


def _place(loc: Sequence[str | int]) -> str:
    """sources[1].share, from pydantic's tuple."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc)
    return text.lstrip(".") or "the document"


def _said(error: Any) -> str:
    given = error["ctx"].get("error") if "ctx" in error else None
    if isinstance(given, UsageError):
        return given.what
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return "there is no such setting"
    if error["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return "is missing"
    return str(error["msg"])


def _names(raw: Any) -> list[str]:
    """Faults of the names in a document that may have any others."""
    if not isinstance(raw, dict):
        return []
    faults = []
    tasks = [t for t in _listed(raw, "tasks") if isinstance(t, str)]
    known = plugins.names(TASKS, "geryon.tasks")
    faults += [f"tasks[{i}]: {_no('task', t, known)}" for i, t in enumerate(tasks) if t not in known]
    faults += [] if tasks or "tasks" not in raw else ["tasks: names no task"]
    net = raw["net"].get("name", "geryon-s") if isinstance(raw.get("net"), dict) else "geryon-s"
    nets = plugins.names(TOPOLOGIES, "geryon.topologies")
    faults += [f"net.name: {_no('topology', net, nets)}"] if isinstance(net, str) and net not in nets else []
    faults += _source_faults(raw)
    if all(t in known for t in tasks):
        faults += _map_faults(raw, tasks)
    return faults + _double(raw, "sources") + _double(raw, "tasks")


def _source_faults(raw: dict[str, Any]) -> list[str]:
    faults, known, licence = [], plugins.names(SOURCES, "geryon.sources"), raw.get("licence")
    choices = _listed(raw, "sources")
    if "sources" in raw and not choices:
        faults.append("sources: names no source")
    for i, choice in enumerate(choices):
        name = choice.get("name") if isinstance(choice, dict) else None
        if not isinstance(name, str):
            continue
        if name not in known:
            faults.append(f"sources[{i}].name: {_no('source', name, known)}")
        elif licence in ALLOWED and get_source(name).use not in ALLOWED[licence]:
            source = get_source(name)
            faults.append(
                f"sources[{i}].name: {name} is for {source.use} ({source.licence}), the recipe's licence is {licence}"
            )
    return faults


def _map_faults(raw: dict[str, Any], tasks: Sequence[str]) -> list[str]:
    train = raw.get("train")
    shares = train.get("shares") if isinstance(train, dict) else None
    maps = [f"{t}/{m.name}" for t in tasks for m in get_task(t).maps]
    faults = ["train.shares: write each source's share beside its name"] if shares else []
    for key in ("map_weights", "map_losses"):
        given = train.get(key) if isinstance(train, dict) else None
        wrong = [name for name in given if name not in maps] if isinstance(given, dict) else []
        faults += [f"train.{key}.{name}: {_no('map', str(name), maps)}" for name in wrong]
    return faults


def _double(raw: dict[str, Any], key: str) -> list[str]:
    names = [entry.get("name") if isinstance(entry, dict) else entry for entry in _listed(raw, key)]
    twice = sorted({name for name in names if isinstance(name, str) and names.count(name) > 1})
    return [f"{key}: {name} stands twice" for name in twice]


def _listed(raw: dict[str, Any], key: str) -> list[Any]:
    value = raw.get(key)
    return value if isinstance(value, list) else []


def _no(kind: str, name: str, known: Sequence[str]) -> str:
    return f"no {kind} is called {name!r} (there are: {', '.join(known)})"
