"""Experiments: several recipes that differ in one thing, several seeds, the same images to score them on.

An experiment is a YAML file: a base recipe, what each run changes of it, the seeds, and what is measured. Each run
is a folder that a later call takes over; the table and the plot are made from what is there.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from geryon.atomic import whole_file
from geryon.events import Advanced, Finished, Started, Tell, nobody
from geryon.nets.model import load_model
from geryon.train import splits
from geryon.train.augment import STRICT, AugmentSettings, augment
from geryon.train.checkpoints import STATE
from geryon.train.comparison import report
from geryon.train.evaluate import Look, evaluate
from geryon.train.fit import Fitted, Where, fit
from geryon.train.recipe import Recipe, parse_recipe, read_yaml, valid
from geryon.train.source import Case, get_source

STAGE = "experiment"
RESULT = "result.json"
PREPARED = "prepared "
"""What `net.start` of a run writes before the name of a prepared recipe."""
UNSEEN = AugmentSettings(
    stain=0.35, stain_shift=0.08, white_balance=0.12, hue_degrees=20.0, colour_chance=1.0, blur_px=1.5, blur_chance=1.0
)
"""Another laboratory and scanner: colours further off than any run learns from, and a little out of focus."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One figure that every run is scored by."""

    __pydantic_config__ = STRICT

    source: str
    task: str
    metric: str
    """As `geryon evaluate` names it."""
    only: str = ""
    """Only images whose name begins so."""
    first: int = 0
    """Only so many images, spread evenly over the source; 0: all."""
    unseen: bool = False
    """With stain and scanner changed as no run has learnt."""

    @property
    def label(self) -> str:
        return f"{self.source} {self.task} {self.metric}{', unseen stain and scanner' if self.unseen else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A question, and the runs that answer it."""

    __pydantic_config__ = STRICT

    question: str
    """Stands over the table and the plot."""
    base: Mapping[str, Any]
    """A recipe."""
    runs: Mapping[str, Mapping[str, Any]]
    """Name -> what it changes of the base (a JSON merge patch, RFC 7386); the others are compared with the first."""
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

    def recipe(self, run: str, seed: int, out: Path) -> Recipe:
        """The recipe of one run, checked like any other; `out` holds what was prepared."""
        merged = merge_patch(self.base, self.runs[run] if run in self.runs else self.prepare[run])
        merged["train"] = {**merged.get("train", {}), "seed": seed}
        start = str(merged.get("net", {}).get("start", ""))
        if start.startswith(PREPARED):
            merged["net"]["start"] = str(prepared(out, start.removeprefix(PREPARED), merged["name"]))
        return parse_recipe(json.dumps(merged), where=f"run {run}")  # JSON is YAML


def prepared(out: Path, name: str, model: str) -> Path:
    """Where the model of a prepared recipe lies."""
    return out / PREPARED.strip() / name / f"{model}.safetensors"


def is_experiment(path: Path) -> bool:
    """True for a document with runs: a recipe has none."""
    raw = read_yaml(path)
    return isinstance(raw, dict) and "runs" in raw


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
        recipe = experiment.recipe(name, experiment.seeds[0], out)
        model = prepared(out, name, recipe.name)
        if not model.exists() and not fit(recipe, out=model.parent, where=where, tell=tell).whole:
            return None
    recipes = {(run, seed): experiment.recipe(run, seed, out) for seed in experiment.seeds for run in experiment.runs}
    tell(Started(stage=STAGE, total=len(recipes), unit="runs"))
    for (run, seed), recipe in recipes.items():
        folder, key = out / f"{run}-{seed}", key_of(recipe, experiment.measure)
        if result_of(folder, key) is None:
            packs = out / f"{pack_name(recipe)}.pack"
            fitted = fit(recipe, out=folder, where=replace(where, pack=packs), tell=tell)
            if fitted.model is None:
                return None
            score(fitted, recipe, experiment.measure, data=data, folder=folder)
            (folder / STATE).unlink(missing_ok=True)  # the result is whole: the state would only fill the disk
        tell(Advanced(stage=STAGE, note=f"{run}, seed {seed}"))
    tell(Finished(stage=STAGE, seconds=time.monotonic() - begun))
    results = {(r, s): result_of(out / f"{r}-{s}", key_of(x, experiment.measure)) for (r, s), x in recipes.items()}
    return report(experiment, {task: done for task, done in results.items() if done}, out)


def pack_name(recipe: Recipe) -> str:
    """The same for runs that learn from the same samples."""
    asked = [
        recipe.tasks,
        dict(recipe.classes),
        recipe.cut,
        recipe.mpp,
        [(c.name, c.root, c.scales) for c in recipe.sources],
    ]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]


def key_of(recipe: Recipe, measures: Sequence[Measure]) -> str:
    """SHA-256 of all that decides about a run's result."""
    text = json.dumps([asdict(recipe), [asdict(m) for m in measures]], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def result_of(folder: Path, key: str) -> dict[str, Any] | None:
    """What the run left, None where it has to be done (again)."""
    path = folder / RESULT
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found if found.get("key") == key else None


def score(fitted: Fitted, recipe: Recipe, measures: Sequence[Measure], *, data: Path, folder: Path) -> None:
    """Every figure of one model, with its bootstrap draws, into the run's result file."""
    loaded, began = load_model(str(fitted.model)), time.monotonic()
    figures: dict[str, dict[str, Any]] = {}
    for some in _by_images(measures):
        source = some[0].source
        cases = test_cases(recipe, some[0], data, folder)
        cases = [_in_unseen_colours(case) for case in cases] if some[0].unseen else cases
        names = list(dict.fromkeys(m.task for m in some if m.task in recipe.tasks))
        if not cases or not names:
            continue
        found = evaluate(loaded, cases, tasks=names, look=Look(source=source, keep_draws=True, unseen=True))
        for measure in some:
            row = found.figure(measure.task, measure.metric)
            if row is not None:
                figures[measure.label] = {**row.document(), "drawn": [round(v, 5) for v in row.drawn]}
    document = {
        "key": key_of(recipe, measures),
        "figures": figures,
        "steps": fitted.step,
        "seconds": round(fitted.seconds, 1),
        "scoring_seconds": round(time.monotonic() - began, 1),
    }
    with whole_file(folder / RESULT) as fresh:
        fresh.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _by_images(measures: Sequence[Measure]) -> list[list[Measure]]:
    """Measures that look at the same images, together."""
    groups: dict[tuple[str, bool, str, int], list[Measure]] = {}
    for m in measures:
        groups.setdefault((m.source, m.unseen, m.only, m.first), []).append(m)
    return list(groups.values())


def test_cases(recipe: Recipe, measure: Measure, data: Path, folder: Path) -> list[Case]:
    """Cases that the run did not learn from, by its saved split; of a source that it does not name, all."""
    source, first = measure.source, measure.first
    own = source in [choice.name for choice in recipe.sources]
    value, root = recipe.source(source) if own else (get_source(source), source)
    saved = splits.read(folder / splits.FILE) if own else {"cases": []}
    # Another run may learn from what this one left out; all are scored on the same images.
    learnt = {name for side in (splits.TRAIN, splits.LEFT_OUT) for name in splits.names_of(saved, source, side)}
    cases = [c for c in value.cases(data / root) if c.name.startswith(measure.only) and c.name not in learnt]
    if not first or len(cases) <= first:
        return cases
    return [cases[i * len(cases) // first] for i in range(first)]


def _in_unseen_colours(case: Case) -> Case:
    seed = int.from_bytes(hashlib.sha256(case.name.encode()).digest()[:8], "big")
    return replace(case, image=lambda: augment(case.image(), np.random.default_rng(seed), UNSEEN))
