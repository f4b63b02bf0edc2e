"""The check of an experiment before its first training: all its recipes and measures, all faults at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from geryon import plugins
from geryon.errors import GeryonError, InputError
from geryon.events import Tell, nobody
from geryon.train.check import check
from geryon.train.experiment import PREPARED, Experiment, pack_name
from geryon.train.faults import nearest, refuse
from geryon.train.floors import NAMES
from geryon.train.measures import Measure
from geryon.train.protocols import MAJORITY, MODEL, RULES, rule
from geryon.train.recipe import Recipe
from geryon.train.source import SOURCES


def check_experiment(experiment: Experiment, *, data: Path, tell: Tell = nobody) -> None:
    """Raises UsageError (2), or InputError (3) where only files are wrong, which tell all faults."""
    recipes: dict[str, Recipe] = {}
    errors: list[tuple[str, GeryonError]] = []
    for name in (*experiment.prepare, *experiment.runs):
        try:
            recipes[name] = experiment.recipe(name, experiment.seeds[0], Path())
        except GeryonError as error:
            errors.append((name, error))
    lines, looked_at = _of_starts(experiment), set[str]()
    for name, recipe in recipes.items():
        files = pack_name(recipe) not in looked_at
        looked_at.add(pack_name(recipe))
        try:
            check(_alone(experiment, name, recipe), data=data, files=files, tell=tell)
        except GeryonError as error:
            errors.append((name, error))
    if recipes:
        lines += [text for measure in experiment.measure for text in _of_measure(measure, recipes)]
    is_input = not lines and all(isinstance(error, InputError) for _, error in errors)
    lines += [f"{name}: {text}" for name, error in errors for text in _lines(error)]
    if lines:
        raise refuse(lines, where="experiment", is_input=is_input)


def _lines(error: GeryonError) -> list[str]:
    """The faults that an error tells: behind a line with their number, or one alone."""
    first, *more = error.what.splitlines()
    return [text.strip() for text in more] or [f"{error.where}: {first}" if error.where else first]


def _alone(experiment: Experiment, name: str, recipe: Recipe) -> Recipe:
    """The recipe without the start that is yet to be prepared."""
    return replace(recipe, net=replace(recipe.net, start="", freeze=())) if experiment.before(name) else recipe


def _of_starts(experiment: Experiment) -> list[str]:
    """Runs that start from what nobody prepares, or prepares too late."""
    lines, ready = [], list[str]()
    for name in (*experiment.prepare, *experiment.runs):
        before = experiment.before(name)
        if before and before not in ready:
            lines.append(f"{name}: net.start: there is no {PREPARED}{before} before it{nearest(before, ready)}")
        if name in experiment.prepare:
            ready.append(name)
    return lines


def _of_measure(measure: Measure, recipes: dict[str, Recipe]) -> list[str]:
    sources = {choice.name for recipe in recipes.values() for choice in recipe.sources}
    sources |= set(plugins.names(SOURCES, "geryon.sources"))
    tasks = {task for recipe in recipes.values() for task in recipe.tasks}
    by = {MODEL, MAJORITY, *NAMES}
    lines = [
        f"measure: no {kind} is called {said!r}{nearest(said, known)}"
        for kind, said, known in (
            ("source", measure.source, sources),
            ("task of the runs", measure.task, tasks),
            ("floor", measure.by, by),
        )
        if said not in known
    ]
    try:
        rule(measure.metric)
    except KeyError:
        lines.append(f"measure: no metric is called {measure.metric!r}{nearest(measure.metric, RULES)}")
    return lines
