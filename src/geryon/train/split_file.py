"""The split as it is saved with a run: a resumed run must have the same, and figures are measured by it later."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from geryon.atomic import whole_file
from geryon.errors import InputError, UsageError
from geryon.train.splits import NO_LIMIT, First, Placed, Split, case_name, sides

FILE = "split.json"
"""In the folder of a run."""
FORMAT = 1


def document(
    items: Sequence[Placed], split: Split, *, start: str, first: First = NO_LIMIT, name: str = ""
) -> dict[str, Any]:
    """What split.json says: each case with its side, the model that the weights began with and its use, and the name
    of the recipe."""
    given = sides(items, split, first)
    placed = {(i.source, i.group, case_name(i.name)): side for i, side in zip(items, given, strict=True)}
    settings = {key: value for key, value in asdict(split).items() if key != "held_out"}
    keys = ("source", "group", "name", "side")
    cases = [dict(zip(keys, (*who, side), strict=True)) for who, side in sorted(placed.items())]
    return {"format": FORMAT, "name": name, "start": start, "settings": settings, "cases": cases}


def keep(out: Path, now: Mapping[str, Any]) -> None:
    """Save the split in the folder of a run; refused where a run there began with another split or start."""
    path = out / FILE
    if not path.exists():
        with whole_file(path) as fresh:
            fresh.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return
    before = read(path)
    if before.get("name", now["name"]) != now["name"]:
        raise _refusal(path, f"the run here is that of {before['name']}, the recipe is called {now['name']}")
    if before["start"] != now["start"]:
        said = [each or "random weights" for each in (before["start"], now["start"])]
        raise _refusal(path, f"the run here began with {said[0]}, the recipe begins with {said[1]}")
    was, will = (_by_case(each) for each in (before, now))
    moved = [who for who in sorted(was | will) if was.get(who) != will.get(who)]
    if moved:
        who = moved[0]
        first = f"{who[0]} {who[2]}: {was.get(who, 'not there')} before, {will.get(who, 'not there')} now"
        raise _refusal(path, f"the split would change for {len(moved)} of {len(was | will)} images ({first})")


def read(path: Path) -> dict[str, Any]:
    """A saved split."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != FORMAT or not isinstance(found["start"], str):
            raise ValueError("another format")
        _by_case(found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        mend = "give the split.json of a run, or choose another --out"
        raise InputError(what=f"is no saved split: {error}", where=str(path), mend=mend) from error
    return dict(found)


def names_of(saved: Mapping[str, Any], source: str, side: str) -> set[str]:
    """The names of a source's cases on one side of a saved split."""
    return {case["name"] for case in saved["cases"] if (case["source"], case["side"]) == (source, side)}


def _by_case(saved: Mapping[str, Any]) -> dict[tuple[str, str, str], str]:
    return {(c["source"], c["group"], c["name"]): c["side"] for c in saved["cases"]}


def _refusal(path: Path, what: str) -> UsageError:
    mend = "choose another --out, or write the recipe as it was; to begin anew, remove the folder"
    return UsageError(what=what, where=str(path), mend=mend)
