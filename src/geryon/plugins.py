"""Find what a name stands for: our own tables first, then entry points of other packages."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import lru_cache
from importlib import import_module, metadata
from typing import Any

from geryon.errors import UsageError


def names(table: Mapping[str, str], group: str) -> list[str]:
    """Every name that `find` would accept for this table, sorted."""
    return sorted({*table, *(e.name for e in _entry_points(group, tuple(sys.path)))})


def find(table: Mapping[str, str], group: str, name: str) -> Any:
    """Load the one object that `name` stands for; a name with a colon stands for itself.

    That is for names that a person or a program gives; a name that comes out of a file goes to `look_up`.

    >>> find({"pi": "math:pi"}, "geryon.none", "pi")
    3.141592653589793
    """
    return load(name) if ":" in name else look_up(table, group, name)


def look_up(table: Mapping[str, str], group: str, name: str) -> Any:
    """The same from the table and entry points alone, so that no file can say what is imported."""
    if name in table:
        return load(table[name])
    for entry in _entry_points(group, tuple(sys.path)):
        if entry.name == name:
            return _load_foreign(entry)
    raise UsageError(
        what=f"no {kind_of(group)} is called {name!r}",
        mend=f"choose one of: {', '.join(names(table, group)) or '(none)'}",
    )


@lru_cache(maxsize=64)
def _entry_points(group: str, path: tuple[str, ...]) -> metadata.EntryPoints:
    """What is installed on this `sys.path`; looking takes some hundredths of a second each time."""
    return metadata.entry_points(group=group)


def kind_of(group: str) -> str:
    """What one member of a group is called.

    >>> kind_of("geryon.encoder_topologies"), kind_of("geryon.losses"), kind_of("geryon.tasks")
    ('encoder topology', 'loss', 'task')
    """
    many = group.removeprefix("geryon.").replace("_", " ")
    ends = (("ies", "y"), ("sses", "ss"), ("s", ""))
    return next((many.removesuffix(end) + one for end, one in ends if many.endswith(end)), many)


def load(path: str) -> Any:
    """The object at `module:object`."""
    module, _, attribute = path.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise UsageError(
            what=f"{path!r} can't be loaded: {error}", mend="check the spelling, as package.module:object"
        ) from error


def _load_foreign(entry: metadata.EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as error:
        owner = entry.dist.name if entry.dist else "?"
        raise UsageError(
            what=f"the plug-in {entry.name!r} of package {owner} does not load: {error}",
            mend=f"repair or remove it (pip uninstall {owner})",
        ) from error
