"""What the runs of an experiment are scored by, on images that they did not learn from, and what is kept of it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geryon.atomic import whole_file
from geryon.nets.model import Model, Prediction, load_model
from geryon.tasks.task import Task
from geryon.train import splits
from geryon.train.augment import STRICT, AugmentSettings, augment
from geryon.train.evaluate import Look, evaluate
from geryon.train.fit import Fitted
from geryon.train.recipe import Recipe
from geryon.train.source import Case, get_source

RESULT = "result.json"
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
    stratum: str = ""
    """Only of this part of the source (a grade), as `geryon evaluate --strata` names it."""

    @property
    def label(self) -> str:
        tail = [self.stratum, "unseen stain and scanner" if self.unseen else ""]
        return ", ".join([f"{self.source} {self.task} {self.metric}", *filter(None, tail)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """One training of a run that is done: all of the run, or one fold."""

    recipe: Recipe
    folder: Path
    fitted: Fitted

    def cases(self, source: str, *sides: str) -> set[str]:
        """Names of the source's cases on those sides of the saved split; none of a source that the recipe lacks."""
        saved = splits.read(self.folder / splits.FILE)
        return {name for side in sides for name in splits.names_of(saved, source, side)}


@dataclass(frozen=True, slots=True)
class ByFold:
    """Stands where a model stands in `evaluate`: the first of the models that did not learn from a case answers it."""

    models: tuple[Model, ...]
    learnt: tuple[frozenset[str], ...]
    """Names of the source's cases that each learnt from."""

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What all of them answer."""
        return self.models[0].tasks

    def find(self, case: Case, image: np.ndarray) -> Prediction:
        """Objects, rasters and class maps of the case."""
        which = next(i for i, names in enumerate(self.learnt) if case.name not in names)
        return self.models[which].predict_with_class_maps(image, mpp=case.mpp)


def key_of(recipes: Sequence[Recipe], measures: Sequence[Measure]) -> str:
    """SHA-256 of all that decides about a run's result."""
    text = json.dumps([[asdict(r) for r in recipes], [asdict(m) for m in measures]], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def result_of(folder: Path, key: str) -> dict[str, Any] | None:
    """What the run left, None where it has to be done (again)."""
    path = folder / RESULT
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found if found.get("key") == key else None


def keep_result(folder: Path, key: str, done: Sequence[Training], measures: Sequence[Measure], data: Path) -> None:
    """Score the run and write its result file."""
    began = time.monotonic()
    document = {
        "key": key,
        "figures": score(done, measures, data),
        "steps": sum(each.fitted.step for each in done),
        "seconds": round(sum(each.fitted.seconds for each in done), 1),
        "scoring_seconds": round(time.monotonic() - began, 1),
    }
    with whole_file(folder / RESULT) as fresh:
        fresh.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def score(done: Sequence[Training], measures: Sequence[Measure], data: Path) -> dict[str, dict[str, Any]]:
    """{measure: figure with its bootstrap draws}: every case is answered by a network that has not seen it."""
    models = tuple(load_model(str(each.fitted.model)) for each in done)
    figures: dict[str, dict[str, Any]] = {}
    for some in _by_images(measures):
        source = some[0].source
        cases = unseen_cases(done, some[0], data)
        names = list(dict.fromkeys(m.task for m in some if m.task in done[0].recipe.tasks))
        if not cases or not names:
            continue
        answers = ByFold(models, tuple(frozenset(each.cases(source, splits.TRAIN)) for each in done))
        strata = any(m.stratum for m in some)
        look = Look(source=source, keep_draws=True, unseen=True, by_stratum=strata)
        found = evaluate(answers, cases, tasks=names, look=look)
        for measure in some:
            row = found.figure(measure.task, measure.metric, stratum=measure.stratum)
            if row is not None:
                figures[measure.label] = {**row.document(), "drawn": [round(v, 5) for v in row.drawn]}
    return figures


def _by_images(measures: Sequence[Measure]) -> list[list[Measure]]:
    """Measures that look at the same images, together."""
    groups: dict[tuple[str, bool, str, int], list[Measure]] = {}
    for m in measures:
        groups.setdefault((m.source, m.unseen, m.only, m.first), []).append(m)
    return list(groups.values())


def unseen_cases(done: Sequence[Training], measure: Measure, data: Path) -> list[Case]:
    """Cases that one of the networks did not learn from, by the saved splits; of a source that no recipe names, all."""
    recipe, source, first = done[0].recipe, measure.source, measure.first
    own = source in [choice.name for choice in recipe.sources]
    value, root = recipe.source(source) if own else (get_source(source), source)
    # Another run may learn from what this one left out; all are scored on the same images.
    taken = set.intersection(*(each.cases(source, splits.TRAIN, splits.LEFT_OUT) for each in done))
    cases = [c for c in value.cases(data / root) if c.name.startswith(measure.only) and c.name not in taken]
    if first and len(cases) > first:
        cases = [cases[i * len(cases) // first] for i in range(first)]
    return [_in_unseen_colours(case) for case in cases] if measure.unseen else cases


def _in_unseen_colours(case: Case) -> Case:
    seed = int.from_bytes(hashlib.sha256(case.name.encode()).digest()[:8], "big")
    return replace(case, image=lambda: augment(case.image(), np.random.default_rng(seed), UNSEEN))
