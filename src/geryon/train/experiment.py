"""Experiments: recipes that differ in one thing, several seeds or folds, the same images to score them on.

An experiment is a YAML file: a base recipe, what each run changes of it, the seeds, the folds, and what is measured.
Each training is a folder that a later call takes over; the table and the plot are made from what is there.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from geryon.events import Advanced, Finished, Started, Tell, Warned, nobody
from geryon.train import processes
from geryon.train.augment_settings import STRICT
from geryon.train.checkpoints import STATE
from geryon.train.comparison import TABLE, report
from geryon.train.fit import Where, fit
from geryon.train.measures import Measure, Scored, result_of, write_result
from geryon.train.recipe import Recipe, parse_recipe, read_yaml, valid
from geryon.train.settings import SettingsError
from geryon.train.trainings import Training, begun, key_of, mark

STAGE = "experiment"
PREPARED = "prepared "
"""What `net.start` of a run writes before the name of a prepared recipe."""
NAME = re.compile(r"\w[^/\\]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A question, and the runs that answer it."""

    __pydantic_config__ = STRICT

    question: str
    """Stands over the table and the plot."""
    base: Mapping[str, Any]
    """A recipe."""
    runs: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"base": {}})
    """Name -> what it changes of the base (a JSON merge patch, RFC 7386); the others are compared with the first."""
    folds: int = 0
    """Each run is trained so many times, each time without one fold of every source's groups (patients), and each
    image is answered by a network that did not learn from its group; 0: once, on the split of the recipe."""
    measure: tuple[Measure, ...]
    """By what each run is scored, on images that it did not learn from."""
    prepare: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name -> what it changes of the base: fitted first (in folds too), and runs start from it by
    `net: {start: prepared NAME}`."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each run is done with each."""
    full_steps: int = 20_000
    """Of a run at full size, for what that would cost."""

    def __post_init__(self) -> None:
        names = [*self.runs, *self.prepare]
        merged = {run: merge_patch(self.base, patch) for run, patch in self.runs.items()}
        chosen = [run for run, recipe in merged.items() if self.folds and _of(recipe, "train").get("best")]
        checks = (
            (self.folds < 0 or self.folds == 1, f"folds is {self.folds}, must be 0 or at least 2"),
            (chosen, f"train.best of {', '.join(chosen)} would choose weights by the fold that is measured"),
            (not self.runs, "runs is empty"),
            (not self.seeds, "seeds is empty"),
            (not self.measure, "measure is empty"),
            (not all(NAME.fullmatch(name) for name in names), "a name of a run is no name of a folder"),
            (set(self.runs) & set(self.prepare), "a run and what is prepared have the same name"),
        )
        faults = [text for bad, text in checks if bad]
        if faults:
            raise SettingsError(what="; ".join(faults), where="experiment", mend="change them")

    @property
    def labels(self) -> tuple[str, ...]:
        """What the measures are called."""
        return tuple(measure.label for measure in self.measure)

    def recipes(self, name: str, seed: int, out: Path) -> list[Recipe]:
        """Those of a run or of what is prepared: one, or one a fold."""
        return [self.recipe(name, seed, out, fold) for fold in range(max(1, self.folds))]

    def recipe(self, name: str, seed: int, out: Path, fold: int = 0) -> Recipe:
        """The recipe of one training, checked like any other; `out` holds what was prepared."""
        merged = merge_patch(self.base, self.runs[name] if name in self.runs else self.prepare[name])
        merged["train"] = {**_of(merged, "train"), "seed": seed}
        if self.folds:
            merged["split"] = {**_of(merged, "split"), "folds": self.folds, "fold": fold}
        before = prepared_by(merged)
        if before:
            model = f"{merge_patch(self.base, self.prepare.get(before, {})).get('name')}.safetensors"
            merged["net"]["start"] = str(self.folder(out, before, seed, fold) / model)
        return parse_recipe(json.dumps(merged), where=f"run {name}")  # JSON is YAML

    def folder(self, out: Path, name: str, seed: int, fold: int) -> Path:
        """Where one training of a run, or of what is prepared, lies below `out`."""
        own = out / "prepared" / name if name in self.prepare else out / f"{name}-{seed}"
        return own / f"fold-{fold}" if self.folds else own

    def before(self, run: str) -> str:
        """The name of what a run (or what is prepared) starts from, "" where that is nothing prepared."""
        return prepared_by(merge_patch(self.base, self.runs[run] if run in self.runs else self.prepare[run]))


def prepared_by(document: Mapping[str, Any]) -> str:
    """The name of the prepared recipe that a document's network starts from, "" where there is none."""
    start = str(_of(document, "net").get("start") or "")
    return start.removeprefix(PREPARED) if start.startswith(PREPARED) else ""


def _of(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A part of a document that may be written badly: what is no mapping is told when the recipe is parsed."""
    found = document.get(key)
    return found if isinstance(found, Mapping) else {}


def read_experiment(path: Path) -> Experiment:
    """The experiment in that YAML file; one UsageError lists its faults. Files that it names lie beside it."""
    raw = read_yaml(path)
    for document in _documents(raw):
        held_out = _of(_of(document, "split"), "held_out")
        if isinstance(held_out, dict) and isinstance(held_out.get("file"), str):
            held_out["file"] = str(path.parent.resolve() / held_out["file"])
    return valid(Experiment, raw, where=str(path))


def _documents(raw: Any) -> Iterator[Mapping[str, Any]]:
    """All mappings of an experiment that may hold parts of a recipe."""
    if not isinstance(raw, dict):
        return
    every = [_of(raw, "base"), *_of(raw, "runs").values(), *_of(raw, "prepare").values()]
    yield from (each for each in every if isinstance(each, Mapping))


def merge_patch(base: Any, patch: Any) -> Any:
    """RFC 7386: mappings are merged key by key, null removes a key, all else replaces.

    >>> merge_patch({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": None, "e": 3}, "d": [2]})
    {'a': {'c': 2, 'e': 3}, 'd': [2]}
    """
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(base) if isinstance(base, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def conduct(
    experiment: Experiment,
    *,
    out: Path,
    data: Path,
    tell: Tell = nobody,
    stop: Callable[[], bool] = lambda: False,
) -> Path | None:
    """Every run that is not there yet, then the table and the plot; the table's path, None where it was stopped.

    Under torchrun the processes learn together; the first one scores, writes and tells.
    """
    at = _At(experiment=experiment, out=out.resolve(), where=Where(data=data, stop=stop, images=0), tell=tell)
    begun_at, prepared = time.monotonic(), dict[str, list[Training]]()
    for name in experiment.prepare:
        trained = _trained(at, name, experiment.seeds[0])
        if trained is None:
            return None
        prepared[name] = trained
    runs = [(run, seed) for seed in experiment.seeds for run in experiment.runs]
    tell(Started(stage=STAGE, total=len(runs), unit="runs"))
    results: dict[tuple[str, int], Mapping[str, Any]] = {}
    for run, seed in runs:
        trained = _trained(at, run, seed)
        if trained is None:
            return None
        if processes.is_first():
            scored = Scored(
                trained=tuple(trained),
                before=tuple(prepared.get(experiment.before(run), ())),
                choices=choices_of(experiment, at.out),
            )
            results[run, seed] = _result(at, scored, at.out / f"{run}-{seed}")
        tell(Advanced(stage=STAGE, note=f"{run}, seed {seed}"))
    tell(Finished(stage=STAGE, seconds=time.monotonic() - begun_at))
    return report(experiment, results, at.out) if processes.is_first() else at.out / TABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class _At:
    """An experiment at work."""

    experiment: Experiment
    out: Path
    where: Where
    tell: Tell


def _trained(at: _At, name: str, seed: int) -> list[Training] | None:
    """Fit those trainings of a run that are not there yet; None where it was stopped."""
    done = []
    for fold, recipe in enumerate(at.experiment.recipes(name, seed, at.out)):
        folder, key = at.experiment.folder(at.out, name, seed, fold), key_of(recipe)
        training = begun(folder, recipe, key)
        if training is None:
            if processes.is_first():
                mark(folder, key)
            where = replace(at.where, pack=at.out / f"{pack_name(recipe)}.pack")
            fitted = fit(recipe, out=folder, where=where, tell=at.tell)
            if not fitted.whole:
                return None
            if processes.is_first():
                mark(folder, key, steps=fitted.step, seconds=fitted.seconds)
            training = Training(recipe=recipe, folder=folder, key=key, steps=fitted.step, seconds=fitted.seconds)
        if processes.is_first():
            (folder / STATE).unlink(missing_ok=True)  # the model is whole: the state would only fill the disk
        done.append(training)
    return done


def _result(at: _At, scored: Scored, folder: Path) -> Mapping[str, Any]:
    """What a run's result file says, scored now where it is not there."""
    measures = at.experiment.measure
    found = result_of(folder, scored.key(measures))
    if found is None:
        found = write_result(scored, measures, folder, data=at.where.data, tell=at.tell)
    for measure in measures:
        if measure.label not in found["figures"] and measure.task in scored.trained[0].recipe.tasks:
            at.tell(Warned(text=f"no figure {measure.label} of the run {folder.name}"))
    return found


def choices_of(experiment: Experiment, out: Path) -> dict[str, Recipe]:
    """{source: a recipe that says where it lies}, over all runs."""
    recipes = [experiment.recipe(run, experiment.seeds[0], out) for run in experiment.runs]
    return {choice.name: recipe for recipe in reversed(recipes) for choice in recipe.sources}


def pack_name(recipe: Recipe) -> str:
    """The same for runs that learn from the same samples: how often and how many of them is no part of it."""
    choices = [{k: v for k, v in asdict(c).items() if k not in ("share", "first")} for c in recipe.sources]
    asked: Sequence[Any] = [recipe.tasks, dict(recipe.classes), recipe.cut, recipe.mpp, choices]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:16]
