"""A model, or a folder of results, against labelled cases: figures with intervals, protocols and floors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from geryon import events
from geryon.errors import UsageError
from geryon.tasks.class_metrics import ClassTally
from geryon.tasks.task import Task
from geryon.train import floors, leaks, scoring
from geryon.train.bright import bright_piece
from geryon.train.figures import OF_CLASSES, class_names_of, figures_of
from geryon.train.protocols import MODEL, About, Row, by_group, rows_of
from geryon.train.scoring import Piece

__all__ = ["MODEL", "Evaluation", "Look", "Predicts", "Row", "evaluate", "look_at"]


class Predicts(Protocol):
    """What evaluation needs of a model; a floor has it too."""

    @property
    def tasks(self) -> Sequence[Task]:
        """The tasks that it answers."""

    def predict(self, image: np.ndarray, *, mpp: float) -> Any:
        """Objects and rasters by task, in the image's pixels."""


class Finds(Protocol):
    """Stands in a model's place where the case decides about the answer: a folder of results, networks of folds."""

    @property
    def tasks(self) -> Sequence[Task]:
        """The tasks that it answers."""

    def find(self, case: Any, image: np.ndarray) -> Any:
        """As `Predicts.predict`, of this case."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All figures of one model on one set of cases."""

    model: str
    rows: tuple[Row, ...]
    seconds: float
    pieces: tuple[Piece, ...] = ()
    """What the figures come from, for a calibration to be fitted on."""

    def figure(self, task: str, metric: str, by: str = MODEL, stratum: str = "") -> Row | None:
        """The row of that figure, None where nothing was measured."""
        asked = (task, metric, by, stratum)
        return next((r for r in self.rows if (r.task, r.metric, r.by, r.stratum) == asked), None)

    def document(self) -> dict[str, Any]:
        """As JSON has it: numbers that are not defined are null."""
        rows = [row.document() for row in self.rows]
        return {"model": self.model, "seconds": round(self.seconds, 1), "rows": rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What to evaluate beside the defaults, and who looks on."""

    source: str = ""
    """Name for the rows; the cases' own `source` where they have one."""
    split: str = ""
    """Name of the part of the source that the cases are, for the rows."""
    bright_lumina: bool = True
    """Score lumina against bright places inside true glands where a source draws no lumina."""
    by_stratum: bool = False
    """Also each stratum of the cases (grade) apart."""
    draws: int = 1000
    """Drawings of groups for an interval."""
    seed: int = 0
    keep_draws: bool = False
    """Keep each figure's drawings, for comparisons."""
    unseen: bool = False
    """A saved split tells that the model did not learn from these cases."""
    seen: Callable[[Any, np.ndarray, Any], None] | None = None
    """Called with (case, image, prediction) of each image, for overlays."""

    def about(self, cases: Sequence[Any]) -> About:
        """What the rows of these cases have in common."""
        source = self.source or (str(getattr(cases[0], "source", "")) if cases else "")
        return About(source=source, split=self.split, draws=self.draws, seed=self.seed, keep_draws=self.keep_draws)


def evaluate(
    model: Predicts | Finds,
    cases: Iterable[Any],
    *,
    tasks: Sequence[str] | None = None,
    train_cases: Iterable[Any] = (),
    folds: Sequence[tuple[Sequence[Any], Sequence[Any]]] = (),
    look: Look = Look(),  # noqa: B008 (a frozen value)
    tell: events.Tell = events.nobody,
) -> Evaluation:
    """Every figure that the cases' labels allow.

    Colour floors learn from `train_cases` and are left out without. Where the cases were answered by networks of
    several folds, so are theirs: `folds` holds the cases of each with those that their floors learn from.
    """
    started, cases = time.monotonic(), list(cases)
    about = look.about(cases)
    for text in leaks.in_evaluation(getattr(model, "document", None), about.source, cases, unseen=look.unseen):
        tell(events.Warned(text=text))
    pieces = look_at(model, cases, tasks=tasks, look=look, tell=tell)
    rows = figures_of(pieces, about, by_stratum=look.by_stratum)
    rows += _colour_rows(folds or [(cases, list(train_cases))], pieces, about)
    return Evaluation(_name(model), tuple(rows), time.monotonic() - started, tuple(pieces))


def look_at(
    model: Predicts | Finds,
    cases: Sequence[Any],
    *,
    tasks: Sequence[str] | None = None,
    look: Look = Look(),  # noqa: B008 (a frozen value)
    tell: events.Tell = events.nobody,
) -> list[Piece]:
    """What each case says about each task. Pieces hold what the network says; their tasks hold the calibration."""
    began = time.monotonic()
    asked = _asked(model, tasks)
    find = getattr(model, "find", None) or _finder(model)
    tell(events.Started(stage="evaluate", total=len(cases), unit="images"))
    pieces: list[Piece] = []
    for case in cases:
        image = case.image()
        prediction = find(case, image)
        pieces += scoring.score_case(prediction, case, asked, image.shape[:2])
        if look.bright_lumina and "lumina" in asked and "lumina" not in case.labels:
            bright = bright_piece(prediction, case, asked["lumina"], image)
            pieces += [bright] if bright else []
        if look.seen:
            look.seen(case, image, prediction)
        tell(events.Advanced(stage="evaluate", note=case.name))
    tell(events.Finished(stage="evaluate", seconds=time.monotonic() - began))
    return pieces


def _finder(model: Any) -> Callable[[Any, np.ndarray], Any]:
    """Predictions as the network says them: calibration is applied to what is counted, so that both can be told.

    Of a network its class maps too: they tell the classes of true objects whose places are given.
    """
    bare = model
    if any(task.calibration for task in model.tasks):
        bare = replace(model, tasks=tuple(replace(task, calibration=None) for task in model.tasks))

    def find(case: Any, image: np.ndarray) -> Any:
        predict = getattr(bare, "predict_with_class_maps", None) or bare.predict
        return predict(image, mpp=case.mpp)

    return find


def _name(model: Any) -> str:
    return str(getattr(model, "name", None) or getattr(getattr(model, "document", None), "name", type(model).__name__))


def _asked(model: Predicts | Finds, names: Sequence[str] | None) -> dict[str, Task]:
    own = {task.name: task for task in model.tasks}
    missing = [name for name in names or () if name not in own]
    if missing:
        raise UsageError(what=f"the model has no task {', '.join(missing)}", mend=f"choose from: {', '.join(own)}")
    return {name: own[name] for name in names or own}


def _colour_rows(
    folds: Sequence[tuple[Sequence[Any], Sequence[Any]]], pieces: Sequence[Piece], about: About
) -> list[Row]:
    """Floors by colour alone, of every task whose classes were scored; true outlines are given to them, so that they
    stand beside what the model says of paired objects and of given ones."""
    rows: list[Row] = []
    for name in dict.fromkeys(p.task.name for p in pieces if p.matches is not None):
        some = [p for p in pieces if p.task.name == name and p.matches is not None]
        task, names = some[0].task, class_names_of(some)
        if not names:
            continue
        learnt = [
            (floor, [case for case in held if name in case.labels])
            for held, train in folds
            for floor in floors.learn_colours(train, task, names)
        ]
        for kind in dict.fromkeys(floor.name for floor, _ in learnt):
            own = [(floor, case) for floor, held in learnt for case in held if floor.name == kind]
            tallies = [(str(case.group), floors.colour_tally(floor, case, task, names)) for floor, case in own]
            its = replace(
                about,
                task=name,
                images=len(own),
                objects=sum(_known(tally) for _, tally in tallies),
                by=kind,
                how="all true objects, their outlines (of points: discs) given; pooled over images",
            )
            for start in ("", "given_") if any(p.given is not None for p in some) else ("",):
                rows += rows_of(by_group(tallies), {m: start + m for m in OF_CLASSES}, its)
    return rows


def _known(tally: ClassTally) -> int:
    return int(np.asarray(tally.confusion)[1:, 1:].sum())
