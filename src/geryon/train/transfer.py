"""What a recipe takes over from a trained model: weights to start from, parts that stay frozen, heads that stay.

On a wholly frozen network (`freeze: true`) all that the start model answers stays as it is, bit by bit. What is learnt
are heads of tasks that it does not have, and new classes of objects that it finds: a class map gets layers of its own
beside the task's others, a new task a small decoder. The encoder is shared by old and new heads: one pass gives all.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from torch import nn

from geryon.errors import UsageError
from geryon.nets import weights
from geryon.nets.model import heads_of
from geryon.nets.weights import ModelDocument, TaskDocument
from geryon.tasks.task import CLASS_LOSS, Task, with_classes
from geryon.train.recipe import Recipe

COUNTER = "num_batches_tracked"
"""End of the names of what norms count, which no model file holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The network of a recipe, and what of it learns."""

    tasks: tuple[TaskDocument, ...]
    """That it answers, in the order of its heads."""
    settings: Mapping[str, Any]
    """Of its topology."""
    losses: Mapping[str, str]
    """{task/map: loss} of the maps that learn."""
    kept: tuple[Task, ...] = ()
    """The start model's tasks with those maps that stay; none where it is not wholly frozen."""
    calibration: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """{task: numbers} of the start model's tasks that stay."""
    added: str = ""
    """In words: which heads stand beside which model's."""

    def values(self) -> tuple[Task, ...]:
        """The tasks themselves."""
        return tuple(weights.task_value(document) for document in self.tasks)


def plan(recipe: Recipe, start: ModelDocument | None) -> Plan:
    """What the recipe makes of the model that it starts from; UsageError where that can't be done."""
    mine, chosen = recipe.task_values(), recipe.net
    losses = {f"{t.name}/{m.name}": m.loss for t in mine for m in t.maps}
    if chosen.freeze is not True or start is None:
        same = start is not None and start.topology == chosen.name
        settings = chosen.settings or (start.settings if start is not None and same else {})
        return Plan(tasks=tuple(weights.task_document(t) for t in mine), settings=settings, losses=losses)
    if said := _faults(recipe, start):
        raise UsageError(what="; ".join(said), where=f"net.freeze ({chosen.start})", mend="mend the recipe")
    taught = {t.name: t for t in mine}
    theirs = [(document, weights.task_value(document)) for document in start.tasks]
    old = {t.name: t for _, t in theirs}
    apart = [f"{name}/{m.name}" for name in taught if name in old for m in old[name].maps if m.loss == CLASS_LOSS]
    settings = dict(start.settings)
    if apart:
        settings["apart"] = sorted({*settings.get("apart", ()), *apart})
    new = [t for t in mine if t.name not in old]
    if new:  # what a frozen decoder has no features for, a new task may decode for itself
        settings["branches"] = sorted({*settings.get("branches", ()), *(t.name for t in new)})
    return Plan(
        tasks=(
            *(_reclassed(d, taught[t.name]) if t.name in taught else d for d, t in theirs),
            *(weights.task_document(t) for t in new),
        ),
        settings=settings,
        losses={name: loss for name, loss in losses.items() if name.split("/")[0] not in old or name in apart},
        kept=tuple(with_classes(t, None) if t.name in taught else t for t in old.values()),
        calibration={name: numbers for name, numbers in start.calibration.items() if name not in taught},
        added=f"heads added to {start.name}: {_and([*old, *(t.name for t in new)])}",
    )


def _reclassed(document: TaskDocument, task: Task) -> TaskDocument:
    assert task.classes is not None
    return replace(document, classes=task.classes.branches, is_cut=task.classes.is_cut)


def _faults(recipe: Recipe, start: ModelDocument) -> list[str]:
    if not start.tasks:
        return ["net.freeze: true needs a model as net.start, whose answers stay; name parts, such as [encoder.body]"]
    chosen, said = recipe.net, []
    if start.topology != chosen.name:
        said.append(f"net.name: the frozen model is a {start.topology}")
    if chosen.settings and _plain(chosen.settings) != _plain(start.settings):
        said.append("net.settings: the frozen model has others; leave them out")
    if recipe.mpp != start.mpp:
        said.append(f"mpp: the frozen model sees {start.mpp:g} µm per pixel")
    taught = {t.name: t for t in recipe.task_values()}
    for old in (t for t in start.task_values() if t.name in taught):
        if all(m.loss != CLASS_LOSS for m in old.maps):
            said.append(f"tasks: {old.name} of the frozen model stays as it is, and it has no classes to learn")
        elif old.mpp != taught[old.name].mpp:
            said.append(f"tasks: {old.name} has {old.mpp:g} µm per pixel in the frozen model")
    return said


def _plain(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True)


def _and(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def freeze(
    network: nn.Module, recipe: Recipe, made: Plan, make: Callable[..., nn.Module], given: Mapping[str, np.ndarray]
) -> None:
    """Let the parts that the recipe names keep the weights that the start model's tensors `given` filled them with.

    A frozen weight asks for no gradient, and the learner leaves the statistics of norms whose weights do not learn.
    """
    if not recipe.net.freeze:
        return
    state = {name: value for name, value in network.state_dict().items() if not name.endswith(COUNTER)}
    if recipe.net.freeze is True:
        frozen = set(make(made.settings, heads_of(made.kept, recipe.mpp)).state_dict()) & set(state)
    else:
        parts = recipe.net.freeze or ()
        frozen = {name for name in state if name.startswith(tuple(parts))}
        idle = [part for part in parts if not any(name.startswith(part) for name in state)]
        if idle:
            raise UsageError(
                what=f"no weight's name begins with {', '.join(idle)}",
                where="net.freeze",
                mend=f"choose of: {', '.join(dict.fromkeys(name.split('.')[0] for name in state))}",
            )
    new = sorted(name for name in frozen if given and not _covers(given.get(name), tuple(state[name].shape)))
    if new:
        raise UsageError(
            what=f"{len(new)} weights would be frozen that {recipe.net.start} does not have, such as {new[0]}",
            where="net.freeze",
            mend="freeze fewer parts, or leave net.settings out so that the network is that model's",
        )
    for name, parameter in network.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)


def _covers(given: np.ndarray | None, shape: tuple[int, ...]) -> bool:
    """True where the tensor holds the weight; it has more rows where the last maps of its layer stand apart now."""
    return given is not None and given.shape[1:] == shape[1:] and given.shape[:1] >= shape[:1]
