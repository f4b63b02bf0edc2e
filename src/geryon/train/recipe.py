"""What to train, from what, how: YAML in, one value out, or every fault of the document at once.

The only place that knows pydantic. Recipes hold names from tables, never paths to classes, and no unknown key
passes in silence. A recipe's licence decides which sources may stand in it.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_type_hints

import pydantic
import yaml

from geryon.errors import InputError, UsageError
from geryon.tasks.task import ClassTree, Task, get_task, with_classes
from geryon.train import names, own
from geryon.train.augment_settings import STRICT
from geryon.train.faults import nearest, refuse
from geryon.train.names import listed
from geryon.train.own import OwnChoice
from geryon.train.presets import PRESETS, fill_preset
from geryon.train.settings import LoopSettings
from geryon.train.source import Source, get_source
from geryon.train.splits import Split

MPP = 0.5
"""µm per pixel where a recipe says none."""


ClassList = tuple[str, ...] | Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceChoice:
    """One public source and its part in each batch."""

    __pydantic_config__ = STRICT

    name: str
    """In train.source.SOURCES or an entry point of the group geryon.sources."""
    root: str = ""
    """Its folder, below the data folder; by default called like the source."""
    share: float = 1.0
    """Its part of each batch, in any unit common to all sources."""
    scales: tuple[float, ...] = (1.0,)
    """Sizes at which each case is packed: 1.2 is a fifth larger than it truly is."""
    first: Annotated[int, pydantic.Field(ge=0)] = 0
    """Learn from so many of its groups (patients) only, chosen by train.seed; more hold the fewer. 0: from all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetChoice:
    """The network."""

    __pydantic_config__ = STRICT

    name: str = "geryon-s"
    """In nets.topologies.TOPOLOGIES or an entry point of the group geryon.topologies."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the topology."""
    start: str = ""
    """Where weights come from at first: "" (random), "imagenet", or a model: name, path or hub:OWNER/NAME/FILE.

    Settings that are left out are then that model's.
    """
    freeze: bool | tuple[str, ...] = ()
    """What keeps the weights and norms that it starts with: beginnings of names, such as [encoder], or true.

    true: all that the start model answers stays beside what is learnt, which is heads of new tasks and new classes.
    """


AnySource = Annotated[
    Annotated[SourceChoice, pydantic.Tag("public")] | Annotated[OwnChoice, pydantic.Tag("own")],
    pydantic.Discriminator(lambda given: "own" if is_own(given) else "public"),
]
"""A source of a lab's own says its format."""


def is_own(given: Any) -> bool:
    """True for what a recipe says of a lab's own files."""
    return isinstance(given, OwnChoice) or (isinstance(given, Mapping) and "format" in given)


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
    classes: Mapping[str, ClassList] = field(default_factory=dict)
    """{task: its classes here}, as a list or as a tree, {branch: [leaves]}, in place of the task's own."""
    cut: tuple[str, ...] = ()
    """Tasks whose class trees are cut to their branches, where the sources go no deeper."""
    mpp: float = MPP
    """µm per pixel of the network's input."""
    sources: tuple[AnySource, ...]
    """Public sets by name, and a lab's own annotations by their format."""
    net: NetChoice = field(default_factory=NetChoice)
    split: Split = field(default_factory=Split)
    train: LoopSettings = field(default_factory=LoopSettings)

    def task_values(self) -> tuple[Task, ...]:
        """The tasks themselves, with the classes that this recipe can teach."""
        return tuple(self._task(name) for name in self.tasks)

    def _task(self, name: str) -> Task:
        task = get_task(name)
        if name in self.classes:
            task = with_classes(task, ClassTree.told(self.classes[name]))
        return with_classes(task, task.classes.cut()) if name in self.cut and task.classes else task

    def source_values(self) -> tuple[Source, ...]:
        """The sources themselves, in the recipe's order."""
        return tuple(self._source(choice) for choice in self.sources)

    def _source(self, choice: SourceChoice | OwnChoice) -> Source:
        return own.source_of(choice, mpp=self.mpp) if isinstance(choice, OwnChoice) else get_source(choice.name)

    def source(self, name: str) -> tuple[Source, str]:
        """The source of that name and its folder below the data folder."""
        for choice in self.sources:
            if choice.name == name:
                return self._source(choice), choice.root or choice.name
        names = [choice.name for choice in self.sources]
        raise UsageError(
            what=f"the recipe has no source {name!r}{nearest(name, names)}", mend=f"choose one of: {', '.join(names)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """A document as far as it is right, so that its files can be checked beside its other faults."""

    recipe: Recipe | None
    faults: tuple[str, ...]
    """One line each; none where the recipe can be used."""
    choices: tuple[SourceChoice | OwnChoice, ...]
    """Its sources that are right by themselves."""
    mpp: float


T = TypeVar("T")
_ADAPTER = pydantic.TypeAdapter(Recipe)
_CHOICE: pydantic.TypeAdapter[SourceChoice | OwnChoice] = pydantic.TypeAdapter(AnySource)


def read_recipe(path: Path) -> Recipe:
    """The recipe in that YAML file; one UsageError lists all its faults, each with its place."""
    return _whole(parse(text_of(path), folder=path.parent, where=str(path)), str(path))


def parse_recipe(text: str, *, where: str = "recipe") -> Recipe:
    """The recipe in that YAML text."""
    return _whole(parse(text, folder=Path(), where=where), where)


def _whole(parsed: Parsed, where: str) -> Recipe:
    if parsed.recipe is None or parsed.faults:
        raise refuse(parsed.faults, where=where, is_input=False)
    return parsed.recipe


def text_of(path: Path) -> str:
    """The text of a recipe."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            what=f"can't be read: {error}", where=str(path), mend="give the path of a YAML recipe"
        ) from error


def parse(text: str, *, folder: Path, where: str) -> Parsed:
    """What the text says and all that is wrong with it; other files that it names lie below `folder`."""
    raw = _yaml(text, where)
    faults, recipe = [*_held_out(raw, folder), *fill_preset(raw)], None
    try:
        recipe = _ADAPTER.validate_python(raw)
    except pydantic.ValidationError as error:
        faults += [f"{_place(e['loc'])}: {_said(e)}" for e in error.errors()]
    choices = {i: choice for i, each in enumerate(listed(raw, "sources")) if (choice := _choice(each)) is not None}
    said = names.faults(raw, choices)
    right = tuple(choice for i, choice in choices.items() if i not in said.sources)
    mpp = raw.get("mpp") if isinstance(raw, dict) else None
    return Parsed(
        recipe=recipe,
        faults=(*faults, *said.lines),
        choices=right,
        mpp=float(mpp) if isinstance(mpp, int | float) and mpp > 0 else MPP,
    )


def _choice(raw: Any) -> SourceChoice | OwnChoice | None:
    try:
        return _CHOICE.validate_python(raw)
    except pydantic.ValidationError:
        return None


def _held_out(raw: Any, folder: Path) -> list[str]:
    mine = [each.get("name") for each in listed(raw, "sources") if isinstance(each, dict)]
    return fill_held_out(raw, folder, mine)


def fill_held_out(raw: Any, folder: Path, mine: Sequence[Any]) -> list[str]:
    """Put the lists of split.held_out.file in its place, those of the sources `mine`; what is wrong with it."""
    split = raw.get("split") if isinstance(raw, dict) else None
    given = split.get("held_out") if isinstance(split, dict) else None
    if not isinstance(split, dict) or not isinstance(given, dict) or not isinstance(given.get("file"), str):
        return []
    split["held_out"] = {}
    place, others = f"split.held_out.file: {given['file']}", sorted(set(given) - {"file"})
    if others:
        return [f"{place}: stands beside {', '.join(map(str, others))}; write all of it there, or all of it here"]
    try:
        lists = _yaml(text_of(folder / given["file"]), given["file"])
    except (InputError, UsageError) as error:
        return [f"{place}: {error.what}"]
    if not isinstance(lists, dict):
        return [f"{place}: is no list of groups by source"]
    split["held_out"] = {source: groups for source, groups in lists.items() if source in mine}
    return []


def _yaml(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader that also refuses double keys)
    except yaml.YAMLError as error:
        raise UsageError(
            what=f"is no YAML: {' '.join(str(error).split())}", where=where, mend="mend the document"
        ) from error


def read_yaml(path: Path) -> Any:
    """What a YAML file holds."""
    return _yaml(text_of(path), str(path))


def valid(kind: type[T], raw: Any, *, where: str) -> T:
    """The value of that kind which a document describes; one UsageError lists all its faults."""
    value, faults = tried(kind, raw)
    if value is None:
        raise refuse(faults, where=where, is_input=False)
    return value


def tried(kind: type[T], raw: Any) -> tuple[T | None, list[str]]:
    """The value of that kind which a document describes, or None and all its faults."""
    try:
        return _adapter(kind).validate_python(raw), []  # type: ignore[arg-type]
    except pydantic.ValidationError as error:
        return None, [f"{_place(e['loc'])}: {_said(e, kind)}" for e in error.errors()]


@lru_cache(maxsize=16)
def _adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    """Making one takes a third of a second."""
    return pydantic.TypeAdapter(kind)


def schema(kind: Any = Recipe) -> str:
    """What may stand in a recipe, as JSON Schema."""
    document = _adapter(kind).json_schema()
    told = "What the other settings change: a name of docs/augmentation.md"
    document["$defs"]["AugmentSettings"]["properties"]["preset"] = {"enum": list(PRESETS), "description": told}
    return json.dumps(document, indent=2, ensure_ascii=False)


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise yaml.constructor.ConstructorError(None, None, f"double key {', '.join(twice)}", node.start_mark)
        return super().construct_mapping(node, deep=deep)


def _place(loc: Sequence[str | int]) -> str:
    """sources[1].share, from pydantic's tuple, which also says which kind of source it took."""
    parts = [part for i, part in enumerate(loc) if not (i == 2 and loc[0] == "sources" and part in ("own", "public"))]
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.lstrip(".") or "the document"


def _said(error: Any, root: Any = Recipe) -> str:
    given = error["ctx"].get("error") if "ctx" in error else None
    if isinstance(given, UsageError):
        return given.what
    if error["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        name, known = str(error["loc"][-1]), _settings(error["loc"][:-1], root)
        sole = error["loc"][0] == "sources" and name not in known and name in OwnChoice.__dataclass_fields__
        return "there is no such setting" + (" of a public source" if sole else nearest(name, known))
    if error["type"] in ("missing", "missing_argument", "missing_keyword_only_argument"):
        return "is missing"
    return str(error["msg"])


def _settings(loc: Sequence[str | int], root: Any) -> list[str]:
    """The settings that may stand at a place of the document."""
    kinds: list[Any] = [root]
    for part in loc:
        if part == "public":
            return [*SourceChoice.__dataclass_fields__, "format"]
        if isinstance(part, str) and part != "own":
            kinds = [k for kind in kinds for k in _dataclasses(get_type_hints(kind, include_extras=True).get(part))]
    return [name for kind in kinds for name in kind.__dataclass_fields__]


def _dataclasses(hint: Any) -> list[Any]:
    if is_dataclass(hint):
        return [hint]
    return [kind for each in get_args(hint) for kind in _dataclasses(each)]
