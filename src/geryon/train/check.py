"""The check before training: one pass over settings, headers and labels gathers the faults of a recipe.

What the document says, what its network makes of its settings, and what lies in the folders of its sources are told
together; a document that is wrong in one place is still checked in the others.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geryon import plugins
from geryon.errors import GeryonError, UsageError
from geryon.events import Tell, Warned, nobody
from geryon.nets.catalogue import find_model, names_model
from geryon.nets.model import heads_of
from geryon.nets.topologies import TOPOLOGIES
from geryon.nets.weights import ModelDocument, read_document, read_tensors
from geryon.train import own, splits
from geryon.train.faults import Fault, of_error, refuse, told
from geryon.train.loop import chosen_losses
from geryon.train.own import OwnChoice
from geryon.train.recipe import Parsed, Recipe, SourceChoice, parse, text_of
from geryon.train.source import ALLOWED, Case, get_source
from geryon.train.splits import Item, Split
from geryon.train.transfer import freeze, plan
from geryon.train.validate import figure_names

NO_CASES = "the source is empty"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """A recipe that can be trained."""

    recipe: Recipe
    items: tuple[Item, ...]
    """All cases of its sources; none where their folders were not looked at."""
    lines: tuple[str, ...]
    """What a person wants to know before hours of work: images, groups and sides of each source."""


def check(given: Recipe | Path, *, data: Path, files: bool = True, tell: Tell = nobody) -> Checked:
    """The recipe, if nothing is wrong with it and (with `files`) with the folders of its sources, below `data`.

    Raises UsageError (2) or, where only files are wrong, InputError (3), which tell all faults.
    """
    parsed, where = _parsed(given)
    faults, notes, items = [], [], []
    lines: list[str] = []
    for choice in parsed.choices if files else ():
        cases, wrong, said = look(choice, data, mpp=parsed.mpp)
        faults += wrong
        notes += said
        items += [Item(source=choice.name, group=c.group, name=c.name, stratum=c.stratum) for c in cases]
        if parsed.recipe is not None and cases:
            lines.append(_line(choice.name, cases, parsed.recipe.split))
    if parsed.recipe is not None:
        faults = _of_settings(parsed.recipe) + faults + splits.faults(items, parsed.recipe.split)
        lines += warnings_of(items, parsed.recipe.split)
    if faults or parsed.faults or parsed.recipe is None:
        is_input = not parsed.faults and all(fault.is_input for fault in faults)
        raise refuse([*parsed.faults, *told(faults)], where=where, is_input=is_input)
    for note in notes:
        tell(Warned(text=note))
    return Checked(recipe=parsed.recipe, items=tuple(items), lines=tuple(lines))


def _parsed(given: Recipe | Path) -> tuple[Parsed, str]:
    if isinstance(given, Recipe):
        return Parsed(recipe=given, faults=(), choices=given.sources, mpp=given.mpp), given.name
    return parse(text_of(given), folder=given.parent, where=str(given)), str(given)


def look(choice: SourceChoice | OwnChoice, data: Path, *, mpp: float) -> tuple[list[Case], list[Fault], list[str]]:
    """Cases, faults and notes of one source's folder."""
    root = data / (choice.root or choice.name)
    if isinstance(choice, OwnChoice):
        looked = own.look(choice, root, mpp=mpp)
        return list(looked.cases), list(looked.faults), list(looked.notes)
    source = get_source(choice.name)
    try:
        cases = list(source.cases(root))
    except GeryonError as error:
        return [], [of_error(error, choice.name)], []
    except (OSError, ValueError, KeyError, IndexError) as error:
        what = f"the release is not whole: {type(error).__name__} {error}"
        return [], [Fault(source=choice.name, where=str(root), what=what, mend="fetch and unpack it again")], []
    if not cases:
        return [], [Fault(source=choice.name, where=str(root), what=NO_CASES, mend="check its root and --data")], []
    return cases, [], []


def _of_settings(recipe: Recipe) -> list[Fault]:
    """What the network says of its settings, and what stands against the model that weights begin with."""
    start, faults = None, []
    try:
        start = start_document(recipe)
    except GeryonError as error:
        faults.append(of_error(error, "net"))
    losses = {f"{t.name}/{m.name}": m.loss for t in recipe.task_values() for m in t.maps}
    try:
        made = plan(recipe, start)
        losses = dict(made.losses)
        make = plugins.look_up(TOPOLOGIES, "geryon.topologies", recipe.net.name)
        with torch.device("meta"):
            network = make(made.settings, heads_of(made.values(), recipe.mpp))
            if not faults:
                freeze(network, recipe, made, make, start_tensors(recipe))
    except GeryonError as error:
        faults.append(of_error(error, "net"))
    return faults + _of_wishes(recipe, losses)


def _of_wishes(recipe: Recipe, losses: Mapping[str, str]) -> list[Fault]:
    """Losses that there are not, and a figure for the best epoch that no validation gives."""
    best = recipe.train.best
    try:
        known = figure_names(chosen_losses(losses, recipe.train))
    except UsageError as error:
        return [of_error(error, "train.map_losses")]
    if best and best not in known:
        what, mend = f"no figure of the validation is called {best!r}", f"choose one of: {', '.join(known)}"
        return [Fault(source="train.best", what=what, mend=mend, is_input=False)]
    if best and not recipe.split.validates:
        what = "the best epoch can't be told without validation"
        return [Fault(source="train.best", what=what, mend="set split.validation above 0", is_input=False)]
    return []


def start_document(recipe: Recipe) -> ModelDocument | None:
    """What the model says that weights come from at first; refused where the recipe's licence forbids its use."""
    if recipe.net.start in ("", "imagenet"):
        return None
    own = of_topology(recipe, "read_start")
    document = own(recipe.net.start) if own else read_document(find_model(recipe.net.start))
    if document.use not in ALLOWED[recipe.licence]:
        raise UsageError(
            what=f"the model {document.name} is for {document.use} only, the recipe's licence is {recipe.licence}",
            where=f"net.start ({recipe.net.start})",
            mend="write licence: research, or start from a model of open use",
        )
    return document


def start_tensors(recipe: Recipe) -> dict[str, np.ndarray]:
    """The weights of the model that the recipe starts from; none where they are not in a model file of ours."""
    start = recipe.net.start
    return {} if start in ("", "imagenet") or of_topology(recipe, "start_from") else read_tensors(find_model(start))


def of_topology(recipe: Recipe, name: str) -> Callable[..., Any] | None:
    """The topology's function of that name, where the recipe starts from a place that is no model of ours."""
    start = recipe.net.start
    if start in ("", "imagenet") or names_model(start) or Path(start).is_file():
        return None
    make = plugins.look_up(TOPOLOGIES, "geryon.topologies", recipe.net.name)
    found: Callable[..., Any] | None = getattr(sys.modules[make.__module__], name, None)
    return found


def warnings_of(items: Sequence[splits.Placed], split: Split) -> list[str]:
    """What a split does not say of itself: names in held_out that nothing has, and patients torn apart."""
    absent, torn = splits.unmatched(items, split), splits.torn(items, split)
    texts = (
        (absent, "split.held_out names what no group or image is called"),
        (torn, "groups of which some images are held out and others are not"),
    )
    return [f"{text}: {_few(names)}" for names, text in texts if names]


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _line(name: str, cases: Sequence[Case], split: Split) -> str:
    items = [Item(source=name, group=c.group, name=c.name, stratum=c.stratum) for c in cases]
    placed = splits.sides(items, split)
    counts = ", ".join(f"{placed.count(side)} {side}" for side in splits.SIDES if side in placed)
    strata = sorted({c.stratum for c in cases if c.stratum})
    mpps = sorted({round(c.mpp, 4) for c in cases})
    grid = f"{mpps[0]:g}" if len(mpps) == 1 else f"{mpps[0]:g} to {mpps[-1]:g}"
    groups = len({c.group for c in cases})
    text = f"{name}: {len(cases)} images of {groups} groups ({counts}), {grid} µm/px"
    return f"{text}; spread by {', '.join(strata)}" if strata else text
