"""What the runs of an experiment are scored by, on images that they did not learn from, and what is kept of it."""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geryon.atomic import whole_file
from geryon.events import Tell, Warned
from geryon.nets.model import Model, Prediction, ResearchOnly, load_model
from geryon.tasks.task import Task
from geryon.train import leaks, splits
from geryon.train.augment import augment
from geryon.train.augment_settings import STRICT, AugmentSettings
from geryon.train.check import start_document
from geryon.train.evaluate import MODEL, Look, evaluate
from geryon.train.recipe import Recipe
from geryon.train.source import Case, get_source
from geryon.train.trainings import Training

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
    by: str = MODEL
    """Whose figure: the run's network's, or a floor's: "majority class", "colour, logistic"."""

    @property
    def label(self) -> str:
        by = "" if self.by == MODEL else self.by
        tail = [self.stratum, "unseen stain and scanner" if self.unseen else "", by]
        return ", ".join([f"{self.source} {self.task} {self.metric}", *filter(None, tail)])


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

    def fold(self, case: Case) -> int:
        """Whose model answers the case."""
        return next(i for i, names in enumerate(self.learnt) if case.name not in names)

    def find(self, case: Case, image: np.ndarray) -> Prediction:
        """Objects, rasters and class maps of the case."""
        return self.models[self.fold(case)].predict_with_class_maps(image, mpp=case.mpp)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """A run whose trainings are done."""

    trained: tuple[Training, ...]
    """One, or one a fold."""
    before: tuple[Training, ...] = ()
    """What they started from, as many as those; none where that was not prepared here."""
    choices: Mapping[str, Recipe]
    """{source: a recipe that says where it lies}, of all runs."""

    def learnt(self, source: str, *sides: str) -> list[frozenset[str]]:
        """Names of the source's cases that each network has seen, itself or as what it started from."""
        own = [training.cases(source, *sides) for training in self.trained]
        older = [training.cases(source, *sides) for training in self.before] or [set[str]()] * len(own)
        return [frozenset(new | old) for new, old in zip(own, older, strict=True)]

    def key(self, measures: Sequence[Measure]) -> str:
        """SHA-256 of all that decides about the figures."""
        told = [[each.key for each in (*self.trained, *self.before)], [asdict(m) for m in measures]]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def result_of(folder: Path, key: str) -> dict[str, Any] | None:
    """What the run left, None where it has to be scored (again)."""
    path = folder / RESULT
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found if found.get("key") == key else None


def write_result(
    scored: Scored, measures: Sequence[Measure], folder: Path, *, data: Path, tell: Tell
) -> dict[str, Any]:
    """Score the run and write its result file."""
    began = time.monotonic()
    document = {
        "key": scored.key(measures),
        "figures": score(scored, measures, data, tell),
        "steps": sum(each.steps for each in scored.trained),
        "seconds": round(sum(each.seconds for each in scored.trained), 1),
        "scoring_seconds": round(time.monotonic() - began, 1),
    }
    with whole_file(folder / RESULT) as fresh:
        fresh.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return document


def score(scored: Scored, measures: Sequence[Measure], data: Path, tell: Tell) -> dict[str, dict[str, Any]]:
    """{measure: figure with its bootstrap draws}: every case is answered by a network that has not seen it."""
    with warnings.catch_warnings(action="ignore", category=ResearchOnly):
        models = tuple(load_model(str(each.model)) for each in scored.trained)
    recipe, figures = scored.trained[0].recipe, {}
    for some in _by_images(measures):
        source = some[0].source
        names = list(dict.fromkeys(m.task for m in some if m.task in recipe.tasks))
        every = _cases_of(scored, source, data) if names else []
        cases = unseen_cases(scored, some[0], every)
        if not cases:
            continue
        _warn(scored, source, cases, tell)
        answers = ByFold(models, tuple(scored.learnt(source, splits.TRAIN)))
        strata = any(m.stratum for m in some)
        look = Look(source=source, keep_draws=True, unseen=True, by_stratum=strata)
        folds = _folds(answers, cases, every) if any(m.by != MODEL for m in some) else ()
        found = evaluate(answers, cases, tasks=names, folds=folds, look=look)
        looked_at = hashlib.sha256("\n".join(sorted(case.name for case in cases)).encode()).hexdigest()[:16]
        for measure in some:
            row = found.figure(measure.task, measure.metric, by=measure.by, stratum=measure.stratum)
            if row is not None:
                drawn = [round(v, 5) for v in row.drawn]
                figures[measure.label] = {**row.document(), "drawn": drawn, "cases": looked_at}
    return figures


def _warn(scored: Scored, source: str, cases: Sequence[Case], tell: Tell) -> None:
    """Tell where the model that the run starts from has learnt from these cases; what was prepared here is known."""
    start = None if scored.before else start_document(scored.trained[0].recipe)
    for text in leaks.in_evaluation(start, source, cases):
        tell(Warned(text=f"net.start: {text}"))


def _folds(answers: ByFold, cases: Sequence[Case], every: Sequence[Case]) -> list[tuple[list[Case], list[Case]]]:
    """The cases of each fold, with those that its network learnt from."""
    return [
        ([c for c in cases if answers.fold(c) == i], [c for c in every if c.name in names])
        for i, names in enumerate(answers.learnt)
    ]


def _by_images(measures: Sequence[Measure]) -> list[list[Measure]]:
    """Measures that look at the same images, together."""
    groups: dict[tuple[str, bool, str, int], list[Measure]] = {}
    for m in measures:
        groups.setdefault((m.source, m.unseen, m.only, m.first), []).append(m)
    return list(groups.values())


def _cases_of(scored: Scored, source: str, data: Path) -> list[Case]:
    if source in scored.choices:
        value, root = scored.choices[source].source(source)
    else:
        value, root = get_source(source), source
    return list(value.cases(data / root))


def unseen_cases(scored: Scored, measure: Measure, every: Sequence[Case]) -> list[Case]:
    """Cases that one of the networks did not learn from, by the saved splits; of a source that no recipe names, all."""
    # Another run may learn from what this one left out; all are scored on the same images.
    taken = frozenset.intersection(*scored.learnt(measure.source, splits.TRAIN, splits.LEFT_OUT))
    cases, first = [c for c in every if c.name.startswith(measure.only) and c.name not in taken], measure.first
    if first and len(cases) > first:
        cases = [cases[i * len(cases) // first] for i in range(first)]
    return [_in_unseen_colours(case) for case in cases] if measure.unseen else cases


def _in_unseen_colours(case: Case) -> Case:
    seed = int.from_bytes(hashlib.sha256(case.name.encode()).digest()[:8], "big")
    return replace(case, image=lambda: augment(case.image(), np.random.default_rng(seed), UNSEEN))
