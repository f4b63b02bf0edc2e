"""Experiments: recipes that differ in one thing, several seeds or folds, the same images to score them on.

An experiment is a YAML file: a base recipe, what each run changes of it, the seeds, the folds, and what is measured.
Each training is a folder that a later call takes over; the table and the plot are made from what is there.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from geryon.errors import UsageError
from geryon.events import Advanced, Finished, Started, Tell, nobody
from geryon.train.augment import STRICT
from geryon.train.checkpoints import STATE
from geryon.train.comparison import report
from geryon.train.fit import Where, fit
from geryon.train.measures import RESULT, Measure, Training, keep_result, key_of, result_of
from geryon.train.recipe import Recipe, parse_recipe, read_yaml, valid
from geryon.train.settings import SettingsError

STAGE = "experiment"
PREPARED = "prepared "
"""What `net.start` of a run writes before the name of a prepared recipe."""


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
    """Name -> what it changes of the base: fitted first, and runs start from it by `net: {start: prepared NAME}`."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Each run is done with each."""
    full_steps: int = 20_000
    """Of a run at full size, for what that would cost."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What the measures are called."""
        return tuple(measure.label for measure in self.measure)

    def __post_init__(self) -> None:
        if self.folds < 0 or self.folds == 1:
            raise SettingsError(what=f"it is {self.folds}, must be 0 or at least 2", where="folds", mend="change it")
        merged = {run: merge_patch(self.base, patch) for run, patch in self.runs.items()}
        chosen = [run for run, recipe in merged.items() if self.folds and recipe.get("train", {}).get("best")]
        if chosen:
            raise SettingsError(
                what=f"train.best of {chosen[0]} would choose weights by the fold that is measured",
                where="folds",
                mend="leave train.best out",
            )

    def recipes(self, run: str, seed: int, out: Path) -> list[Recipe]:
        """Those of one run: one, or one a fold."""
        return [self.recipe(run, seed, out, fold) for fold in range(max(1, self.folds))]

    def recipe(self, run: str, seed: int, out: Path, fold: int = 0) -> Recipe:
        """The recipe of one training, checked like any other; `out` holds what was prepared."""
        merged = merge_patch(self.base, self.runs[run] if run in self.runs else self.prepare[run])
        merged["train"] = {**merged.get("train", {}), "seed": seed}
        if self.folds and run in self.runs:
            merged["split"] = {**merged.get("split", {}), "folds": self.folds, "fold": fold}
        start = str(merged.get("net", {}).get("start", ""))
        if start.startswith(PREPARED):
            merged["net"]["start"] = str(prepared(out, start.removeprefix(PREPARED), merged["name"]))
        return parse_recipe(json.dumps(merged), where=f"run {run}")  # JSON is YAML


def prepared(out: Path, name: str, model: str) -> Path:
    """Where the model of a prepared recipe lies."""
    return out / PREPARED.strip() / name / f"{model}.safetensors"


def is_experiment(path: Path) -> bool:
    """True for a document with a base recipe: a recipe has none."""
    raw = read_yaml(path)
    return isinstance(raw, dict) and "base" in raw


def read_experiment(path: Path) -> Experiment:
    """The experiment in that YAML file; one UsageError lists its faults."""
    return valid(Experiment, read_yaml(path), where=str(path))


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
    """Every run that is not there yet, then the table and the plot; the table's path, None where it was stopped."""
    where, begun = Where(data=data, stop=stop, images=0), time.monotonic()
    for name in experiment.prepare:
        if not _prepare(experiment, name, out, where, tell):
            return None
    runs = [(run, seed) for seed in experiment.seeds for run in experiment.runs]
    tell(Started(stage=STAGE, total=len(runs), unit="runs"))
    results = {}
    for run, seed in runs:
        recipes, folder = experiment.recipes(run, seed, out), out / f"{run}-{seed}"
        key = key_of(recipes, experiment.measure)
        if result_of(folder, key) is None:
            trained = _train(recipes, folder, out, where, tell)
            if trained is None:
                return None
            keep_result(folder, key, trained, experiment.measure, data)
            for each in trained:
                (each.folder / STATE).unlink(missing_ok=True)  # the result is whole: the state would only fill the disk
        results[run, seed] = result_of(folder, key) or {}
        tell(Advanced(stage=STAGE, note=f"{run}, seed {seed}"))
    tell(Finished(stage=STAGE, seconds=time.monotonic() - begun))
    return report(experiment, results, out)


def _train(recipes: Sequence[Recipe], folder: Path, out: Path, where: Where, tell: Tell) -> list[Training] | None:
    """Fit what is not there yet; None where it was stopped."""
    done = []
    for fold, recipe in enumerate(recipes):
        own = folder / f"fold-{fold}" if len(recipes) > 1 else folder
        fitted = fit(recipe, out=own, where=replace(where, pack=out / f"{pack_name(recipe)}.pack"), tell=tell)
        if fitted.model is None:
            return None
        done.append(Training(recipe=recipe, folder=own, fitted=fitted))
    return done


def _prepare(experiment: Experiment, name: str, out: Path, where: Where, tell: Tell) -> bool:
    """Fit a prepared recipe that is not there, or was made by another recipe; False where it was stopped."""
    recipe = experiment.recipe(name, experiment.seeds[0], out)
    model, key = prepared(out, name, recipe.name), key_of([recipe], ())
    if result_of(model.parent, key) is not None:
        return True
    if (model.parent / RESULT).exists():
        raise UsageError(
            what=f"what was prepared as {name} came from another recipe",
            where=str(model.parent),
            mend="remove that folder, or choose another --out",
        )
    fitted = fit(recipe, out=model.parent, where=where, tell=tell)
    if fitted.whole:
        done = [Training(recipe=recipe, folder=model.parent, fitted=fitted)]
        keep_result(model.parent, key, done, (), where.data)
    return fitted.whole


def pack_name(recipe: Recipe) -> str:
    """The same for runs that learn from the same samples: how often and how many of them is no part of it."""
    choices = [{k: v for k, v in asdict(c).items() if k not in ("share", "first")} for c in recipe.sources]
    asked = [recipe.tasks, dict(recipe.classes), recipe.cut, recipe.mpp, choices]
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode()).hexdigest()[:16]
