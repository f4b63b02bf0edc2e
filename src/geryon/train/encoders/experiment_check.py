"""The check of an experiment on encoders before its first training: recipes, folders, encoders; all faults at once."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from geryon.errors import InputError, UsageError
from geryon.nets.encoder import load_encoder
from geryon.nets.model import ResearchOnly
from geryon.train.encoders.checks import faults_of, look_at, name_faults
from geryon.train.encoders.experiment import EncoderExperiment, Try, find_other, others_of, tries
from geryon.train.encoders.recipe import EncoderRecipe
from geryon.train.faults import Fault, of_error, refuse, told
from geryon.train.recipe import read_yaml, valid
from geryon.train.splits import Item


def read_encoder_experiment(path: Path, *, data: Path | None = None) -> EncoderExperiment:
    """The experiment in that YAML file. Files that it names lie beside it.

    Where `data` is given, first weights, the sources' folders below it and the encoders of `others` (there too) are
    looked at. Raises UsageError (2), or InputError (3) where only files are wrong, which tell all faults.
    """
    experiment = valid(EncoderExperiment, read_yaml(path), where=str(path))
    recipes, lines = _recipes(experiment, path.parent)
    faults = name_faults(experiment.probed)
    if data is not None:
        tasks = [task for recipe in recipes for task in recipe.tasks]
        cases, faults = look_at(dict.fromkeys((*experiment.probed, *tasks)), data)
        faults = [*_of_trainings(recipes, cases), *faults, *_of_others(experiment, data)]
    if lines or faults:
        is_input = not lines and all(fault.is_input for fault in faults)
        raise refuse([*lines, *told(dict.fromkeys(faults))], where=str(path), is_input=is_input)
    return experiment


def _recipes(experiment: EncoderExperiment, folder: Path) -> tuple[list[EncoderRecipe], list[str]]:
    """All recipes that can be read, and a line for each fault with the runs that have it."""
    runs, once = experiment.runs, experiment.once
    alone = {label: replace(experiment, runs={label: runs[label]}, once={}, others={}) for label in runs}
    alone |= {label: replace(experiment, runs={}, once={label: once[label]}, others={}) for label in once}
    recipes: list[EncoderRecipe] = []
    wrong: dict[str, list[str]] = {}
    for label, only in alone.items():
        try:
            recipes += [one.recipe for one in tries(only, folder=folder) if one.recipe]
        except UsageError as error:
            for text in [line.strip() for line in error.what.splitlines()[1:]] or [error.what]:
                wrong.setdefault(text, []).append(label)
    return recipes, [f"{', '.join(labels)}: {text}" for text, labels in wrong.items()]


def _of_trainings(recipes: Sequence[EncoderRecipe], cases: Sequence[Item]) -> Iterator[Fault]:
    """What stands against each training: its first weights, and its split. Those that are alike are looked at once."""
    seen = set()
    for recipe in recipes:
        key = repr((recipe.encoder, recipe.patch_px, recipe.licence, recipe.split, recipe.tasks))
        if key not in seen:
            seen.add(key)
            yield from faults_of(recipe, cases)


def _of_others(experiment: EncoderExperiment, data: Path) -> Iterator[Fault]:
    """A fault for each encoder of `others` that is not there, or is none."""
    every = product(experiment.seeds, experiment.probed, experiment.others.items())
    asked = [Try(task=task, label=label, seed=seed, other=other) for seed, task, (label, other) in every]
    for name in dict.fromkeys(found.other for one in asked for found in others_of(experiment, one)):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResearchOnly)  # it is only compared with others
                load_encoder(find_other(name, data), engine="cpu")
        except (UsageError, InputError) as error:
            yield replace(of_error(error, f"others: {name}"), where="")
