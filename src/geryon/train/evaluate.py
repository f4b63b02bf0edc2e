"""A model against labelled cases: every figure with its interval, its protocol and the floors beside it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import Any, Protocol

import numpy as np

from geryon import events
from geryon.errors import UsageError
from geryon.tasks import class_metrics, intervals
from geryon.tasks.task import Task
from geryon.train import floors, leaks, scoring
from geryon.train.scoring import Piece

MODEL = "model"
BOUNDED = ("pq", "dq", "sq", "aji", "dice")
UNBOUNDED = ("object_f1", "object_dice", "object_hausdorff_px", "pq", "dice")
RULES = {
    "pq": "panoptic quality, IoU > 0.5",
    "dq": "F1 of pairs with IoU > 0.5",
    "sq": "mean IoU of pairs with IoU > 0.5",
    "aji": "aggregated Jaccard index (Kumar 2017), found objects may be used twice",
    "dice": "Dice of all pixels",
    "object_f1": "GlaS contest: found objects that hold at least half of a true one",
    "object_dice": "GlaS contest: Dice with the partner, weighted by area, both ways",
    "object_hausdorff_px": "GlaS contest: Hausdorff distance to the partner in pixels, weighted by area",
    "f_d": "F1 of detection",
    "accuracy": "of paired objects of known class",
    "balanced_accuracy": "mean recall of the classes, of paired objects of known class",
}
PAIRED = {
    "points": f"paired by centroids within {scoring.POINT_UM:g} µm",
    "tile": "commonest class of the cells of each image",
}


class Predicts(Protocol):
    """What evaluation needs of a model; a floor has it too."""

    @property
    def tasks(self) -> Sequence[Task]:
        """The tasks that it answers."""

    def predict(self, image: np.ndarray, *, mpp: float) -> Any:
        """Objects and rasters by task, in the image's pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure."""

    source: str
    task: str
    metric: str
    value: float
    low: float
    high: float
    by: str
    """"model", or the name of a floor."""
    protocol: str
    images: int
    objects: int
    groups: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All figures of one model on one set of cases."""

    model: str
    rows: tuple[Row, ...]
    seconds: float

    def figure(self, task: str, metric: str, by: str = MODEL) -> Row | None:
        """The row of that figure, None where nothing was measured."""
        return next((r for r in self.rows if (r.task, r.metric, r.by) == (task, metric, by)), None)

    def document(self) -> dict[str, Any]:
        """As JSON has it: numbers that are not defined are null."""
        rows = [{k: _finite(v) for k, v in asdict(row).items()} for row in self.rows]
        return {"model": self.model, "seconds": round(self.seconds, 1), "rows": rows}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What to evaluate beside the defaults, and who looks on."""

    source: str = ""
    """Name for the rows; the cases' own `source` where they have one."""
    bright_lumina: bool = True
    """Score lumina against bright places inside true glands where a source draws no lumina."""
    draws: int = 1000
    """Drawings of groups for an interval."""
    seed: int = 0
    unseen: bool = False
    """A saved split tells that the model did not learn from these cases."""
    seen: Callable[[Any, np.ndarray, Any], None] | None = None
    """Called with (case, image, prediction) of each image, for overlays."""


def evaluate(
    model: Predicts,
    cases: Iterable[Any],
    *,
    tasks: Sequence[str] | None = None,
    train_cases: Iterable[Any] = (),
    look: Look = Look(),
    tell: events.Tell = events.nobody,
) -> Evaluation:
    """Every figure that the cases' labels allow; colour floors learn from `train_cases` and are left out without."""
    started, cases = time.monotonic(), list(cases)
    asked = _asked(model, tasks)
    source = look.source or str(getattr(cases[0], "source", "")) if cases else look.source
    for text in leaks.in_evaluation(getattr(model, "document", None), source, cases, unseen=look.unseen):
        tell(events.Warned(text=text))
    tell(events.Started(stage="evaluate", total=len(cases), unit="images"))
    pieces: list[Piece] = []
    for case in cases:
        image = case.image()
        prediction = model.predict(image, mpp=case.mpp)
        pieces += scoring.score_case(prediction, case, asked, image.shape[:2])
        if look.bright_lumina and "lumina" in asked and "lumina" not in case.labels:
            bright = scoring.bright_piece(prediction, case, asked["lumina"], image)
            pieces += [bright] if bright else []
        if look.seen:
            look.seen(case, image, prediction)
        tell(events.Advanced(stage="evaluate", note=case.name))
    rows = _rows(pieces, source, look)
    rows += _colour_rows(cases, list(train_cases), pieces, (source, look))
    seconds = time.monotonic() - started
    tell(events.Finished(stage="evaluate", seconds=seconds))
    return Evaluation(model=_name(model), rows=tuple(rows), seconds=seconds)


def _name(model: Any) -> str:
    return str(getattr(model, "name", None) or getattr(getattr(model, "document", None), "name", type(model).__name__))


def _asked(model: Predicts, names: Sequence[str] | None) -> dict[str, Task]:
    own = {task.name: task for task in model.tasks}
    missing = [name for name in names or () if name not in own]
    if missing:
        raise UsageError(what=f"the model has no task {', '.join(missing)}", mend=f"choose from: {', '.join(own)}")
    return {name: own[name] for name in names or own}


def _rows(pieces: list[Piece], source: str, look: Look) -> list[Row]:
    rows: list[Row] = []
    for task, kind in dict.fromkeys((p.task.name, p.kind) for p in pieces):
        some = [p for p in pieces if (p.task.name, p.kind) == (task, kind)]
        if kind in ("objects", "foreground", "bright"):
            rows += _pixel_rows(some, source, look)
        if some[0].task.classes is not None and any(p.classes for p in some):
            rows += _class_rows(some, source, look)
    return rows


def _by_group(tallies: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    sums: dict[str, Any] = {}
    for group, tally in tallies:
        sums[group] = sums[group] + tally if group in sums else tally
    return sums


def _grid(pieces: list[Piece]) -> str:
    sizes = sorted({round(p.mpp, 3) for p in pieces})
    return f"{sizes[0]:g}" if len(sizes) == 1 else f"{sizes[0]:g} to {sizes[-1]:g}"


def _pixel_rows(pieces: list[Piece], source: str, look: Look) -> list[Row]:
    """Pooled over the images; where there are objects, the mean of the images' own scores too."""
    first, kind = pieces[0].task, pieces[0].kind
    names = (UNBOUNDED if first.seam == "join" else BOUNDED) if kind == "objects" else ("dice",)
    tallies = [(p.group, p.tally) for p in pieces]
    where = f"grid {_grid(pieces)} µm/px, interval over groups"
    suffix = ", against bright pixels inside true glands (no lumina are drawn)" if kind == "bright" else ""
    rows = []
    for way, ending, by_group in (
        ("pooled over images", "", _by_group(tallies)),
        ("mean of images", "_mean", _by_group((g, Means.of(t.scores())) for g, t in tallies)),
    ):
        if ending and kind != "objects":
            continue
        whole = reduce(add, by_group.values())
        values, spans = whole.scores(), intervals.bootstrap_scores(by_group, look.draws, look.seed)
        for name in names:
            low, high = spans.get(name, (math.nan, math.nan))
            rows.append(
                Row(
                    source=source,
                    task=first.name,
                    metric=("bright_dice" if kind == "bright" else name) + ending,
                    value=float(values[name]),
                    low=low,
                    high=high,
                    by=MODEL,
                    protocol=f"{RULES[name]}; {way}; {where}{suffix}",
                    images=len(pieces),
                    objects=sum(p.tally.truth for p in pieces) if kind == "objects" else 0,
                    groups=len(by_group),
                )
            )
    return rows


@dataclass(frozen=True, slots=True)
class Means:
    """Sums of scores of images, to be divided by how many had one; adds like a tally."""

    names: tuple[str, ...]
    total: Any
    count: Any

    @classmethod
    def of(cls, scores: Mapping[str, float]) -> Means:
        values = np.array(list(scores.values()), float)
        return cls(tuple(scores), np.nan_to_num(values), (~np.isnan(values)).astype(float))

    def __add__(self, other: Means) -> Means:
        return Means(self.names, self.total + other.total, self.count + other.count)

    def scores(self) -> dict[str, Any]:
        """The means by name."""
        means = np.where(self.count > 0, self.total / np.maximum(self.count, 1), np.nan)
        return {name: means[..., i] for i, name in enumerate(self.names)}


def class_names_of(pieces: list[Piece]) -> tuple[str, ...]:
    """The classes that the truth names and the model's tree knows, in the order of the tree."""
    tree = pieces[0].task.classes
    assert tree is not None, "only tasks with classes come here"
    said = {name for p in pieces if p.classes for name in p.classes.names if tree.below(name)}
    return tuple(sorted(said, key=lambda name: (tree.below(name), name)))


def _class_rows(pieces: list[Piece], source: str, look: Look) -> list[Row]:
    task, kind = pieces[0].task, pieces[0].kind
    names = class_names_of(pieces)
    if not names:
        return _detection_only(pieces, source, look)
    by_group = _by_group(
        (p.group, scoring.class_tally_of(p.classes, names, task)) for p in pieces if p.classes is not None
    )
    paired = PAIRED.get(kind) or (
        "paired by IoU > 0.5" if task.seam == "join" else f"paired by centroids within {scoring.OUTLINED_UM:g} µm"
    )
    keep = [f"f_c/{name}" for name in names] if kind != "tile" else []
    keep = (["f_d"] if kind != "tile" else []) + keep + ["accuracy", "balanced_accuracy"]
    rows = _rows_of_classes(by_group, keep, (source, task.name, paired, len(pieces)), look)
    majority = _rows_of_classes(
        by_group,
        ["majority_accuracy", "majority_balanced_accuracy"],
        (source, task.name, paired, len(pieces)),
        look,
    )
    return rows + majority


def _detection_only(pieces: list[Piece], source: str, look: Look) -> list[Row]:
    by_group = _by_group((p.group, scoring.detection_tally(p.classes)) for p in pieces if p.classes is not None)
    about = (source, pieces[0].task.name, PAIRED.get(pieces[0].kind, ""), len(pieces))
    return _rows_of_classes(by_group, ["f_d"], about, look) if pieces[0].kind == "points" else []


def _rows_of_classes(
    by_group: Mapping[str, class_metrics.ClassTally],
    keep: Sequence[str],
    about: tuple[str, str, str, int],
    look: Look,
    by: str = MODEL,
) -> list[Row]:
    source, task, paired, images = about
    whole = reduce(add, by_group.values())
    values, spans = whole.scores(), intervals.bootstrap_scores(by_group, look.draws, look.seed)
    table = np.asarray(whole.confusion)
    truth = int(table[1:, 1:].sum())
    rows = []
    for name in keep:
        plain = name.removeprefix("majority_")
        low, high = spans.get(name, (math.nan, math.nan))
        rule = RULES.get(plain, "F1 of the class, HoVer-Net's F_c (2, 2, 1, 1)")
        rows.append(
            Row(
                source=source,
                task=task,
                metric=plain,
                value=float(values[name]),
                low=low,
                high=high,
                by="majority class" if name != plain else by,
                protocol=f"{rule}; {paired}; pooled over images, interval over groups",
                images=images,
                objects=int(whole.paired + whole.truth_alone) if plain[:2] == "f_" else truth,
                groups=len(by_group),
            )
        )
    return rows


def _colour_rows(cases: list[Any], train_cases: list[Any], pieces: list[Piece], about: tuple[str, Look]) -> list[Row]:
    """Floors by colour alone, of every task whose classes were scored; true outlines are given to them."""
    source, look = about
    rows: list[Row] = []
    for name in dict.fromkeys(p.task.name for p in pieces if p.classes is not None and p.task.classes is not None):
        some = [p for p in pieces if p.task.name == name and p.classes is not None]
        task, names = some[0].task, class_names_of(some)
        for floor in floors.learn_colours(train_cases, task, names) if names else ():
            held = [case for case in cases if name in case.labels]
            by_group = _by_group((str(c.group), floors.colour_tally(floor, c, task, names)) for c in held)
            where = (source, name, "all true objects, outlines given", len(held))
            rows += _rows_of_classes(by_group, ["accuracy", "balanced_accuracy"], where, look, floor.name)
    return rows
