"""Experiments on encoders: each task left out in turn, encoders trained on others, probes on the one left out.

An experiment is a YAML file with the key `encoders`: a base recipe and what each run changes of it. What is looked at
before it starts is in experiment_check, what it does in conducting.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from geryon.nets.encoder import MEAN_RGB, TIMM, find_encoder
from geryon.train.augment_settings import STRICT
from geryon.train.encoders.probe import ProbeSettings
from geryon.train.encoders.recipe import EncoderRecipe, parse_encoder_recipe
from geryon.train.experiment import merge_patch
from geryon.train.settings import SettingsError


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderExperiment:
    """A question about encoders, and the runs that answer it."""

    __pydantic_config__ = STRICT

    question: str
    """Stands over the table and the plot."""
    encoders: Mapping[str, Any]
    """A recipe of an encoder; its tasks are those that can be left out or learnt from."""
    left_out: tuple[str, ...] = ()
    """Tasks that encoders are probed on, each by encoders that did not learn it; (): all of the base's."""
    runs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name -> what it changes of the base (a JSON merge patch, RFC 7386): trained anew for each task that is left out,
    on the others. All are compared with the first."""
    once: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The same for objectives without labels, trained once, on the patches of all tasks."""
    others: Mapping[str, str] = field(default_factory=dict)
    """Name -> an encoder that is there, as geryon.load_encoder takes it; a file may lie below the data folder.
    {task} in it stands for the task that is left out, {count} for each of the counts and {seed} for each of the seeds.
    """
    counts: tuple[int, ...] = ()
    """Numbers of tasks: each run learns from so many of the others, nested, in an order drawn by the seed; (): all."""
    steps_a_task: int = 0
    """With counts: so many steps for each task of a training, so that a task more brings its own patches; 0: the steps
    of the base, which more tasks share."""
    seeds: tuple[int, ...] = (0,)
    """Each training is done with each; with counts each is an order of tasks, too."""
    probe: ProbeSettings = field(default_factory=ProbeSettings)

    def __post_init__(self) -> None:
        names = [*self.runs, *self.once, *self.others]
        supervised = [n for n, patch in self.once.items() if _objective(self.encoders, patch) == "supervised"]
        tasks = self.encoders.get("tasks") or ()
        checks = (
            (not names, "neither runs nor others are named"),
            (not self.seeds, "seeds is empty"),
            (len(set(names)) < len(names), "a name stands for two encoders"),
            (supervised, f"once holds {', '.join(supervised)}, which would learn the classes that it is probed on"),
            (bool(self.counts) and max(self.counts) >= len(tasks), "counts goes beyond the tasks that are left"),
            (self.steps_a_task < 0 or (self.steps_a_task > 0 and not self.counts), "steps_a_task is of counts"),
            (any(task not in tasks for task in self.left_out), "left_out names what is none of the base's tasks"),
        )
        faults = [text for bad, text in checks if bad]
        if faults:
            raise SettingsError(what="; ".join(faults), where="experiment", mend="change them")

    @property
    def probed(self) -> tuple[str, ...]:
        """The tasks that are left out in turn."""
        return self.left_out or tuple(self.encoders.get("tasks", ()))


def _objective(base: Mapping[str, Any], patch: Mapping[str, Any]) -> str:
    return str((merge_patch(base, patch).get("encoder") or {}).get("objective", "supervised"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One encoder that is probed on one task."""

    task: str
    label: str
    """Name of the run, or of another's encoder."""
    seed: int
    count: int = 0
    """How many tasks it learnt from, where that is the question."""
    recipe: EncoderRecipe | None = None
    other: str = ""


def tries(experiment: EncoderExperiment, *, folder: Path = Path()) -> Iterator[Try]:
    """Everything that is probed, in the order in which it is done: first seed first, task by task."""
    tasks = list(experiment.encoders.get("tasks", ()))
    for seed in experiment.seeds:
        for task in experiment.probed:
            rest = [name for name in tasks if name != task]
            for label, patch in experiment.runs.items():
                for count in experiment.counts or (0,):
                    chosen = _first(rest, count, seed) if count else rest
                    steps = {"train": {"steps": experiment.steps_a_task * count}} if experiment.steps_a_task else {}
                    recipe = _recipe(experiment, merge_patch(patch, steps), seed, tasks=chosen, folder=folder)
                    yield Try(task=task, label=label, seed=seed, count=count, recipe=recipe)
            for label, patch in experiment.once.items():
                yield Try(task=task, label=label, seed=seed, recipe=_recipe(experiment, patch, seed, folder=folder))
            for label, other in experiment.others.items():
                yield from others_of(experiment, Try(task=task, label=label, seed=seed, other=other))


def others_of(experiment: EncoderExperiment, one: Try) -> Iterator[Try]:
    """The encoders that a name stands for."""
    if "{seed}" not in one.other and one.seed != experiment.seeds[0]:
        return
    for count in experiment.counts if "{count}" in one.other else (0,):
        told = {"task": one.task, "seed": str(one.seed), "count": str(count)}
        path = one.other
        for name, value in told.items():
            path = path.replace(f"{{{name}}}", value)
        yield replace(one, other=path, count=count)


def find_other(name: str, data: Path) -> Path | str:
    """The file of an encoder that is there, or the name of one that has none; raises as geryon.load_encoder does."""
    found = next((path for path in (Path(name), data / name) if path.is_file()), None)
    if found is None and name != MEAN_RGB.name and not name.startswith(TIMM):
        find_encoder(name)
    return found or name


def _first(rest: list[str], count: int, seed: int) -> list[str]:
    """So many of the tasks in the order of the seed, told in the order of the recipe: all of all are one recipe."""
    order = np.random.default_rng(seed).permutation(len(rest))
    return [name for i, name in enumerate(rest) if i in order[:count]]


def _recipe(
    experiment: EncoderExperiment, patch: Mapping[str, Any], seed: int, *, tasks: list[str] | None = None, folder: Path
) -> EncoderRecipe:
    merged = json.loads(json.dumps(merge_patch(experiment.encoders, patch)))  # its parts are changed while it is read
    merged["train"] = {**(merged.get("train") or {}), "seed": seed}
    if tasks is not None and "tasks" not in patch:
        merged["tasks"] = tasks
    return parse_encoder_recipe(merged, folder=folder, where=experiment.question)
