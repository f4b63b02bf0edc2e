"""What stands beside every figure: its definition in words, how objects were paired, its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import reduce
from operator import add
from typing import Any

import numpy as np

from geryon.tasks import class_metrics, intervals
from geryon.tasks.given import DISC_UM
from geryon.train import scoring

MODEL = "model"
UNCALIBRATED = "model, before calibration"
MAJORITY = "majority class"
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
    "f_c": "F1 of the class, HoVer-Net's F_c (2, 2, 1, 1)",
    "f1": "F1 of finding objects of the class as such",
    "accuracy": "of paired objects of known class",
    "balanced_accuracy": "mean recall of the classes, of paired objects of known class",
    "weighted_f1": "F1 of the classes weighted by how often they are true, of paired objects of known class",
    "given_accuracy": "of all true objects of known class, their places given",
    "given_balanced_accuracy": "mean recall of the classes, of all true objects of known class, their places given",
    "given_weighted_f1": "F1 of the classes weighted by how often they are true, of all true objects of known class, "
    "their places given",
    "given_f1": "F1 of the class among all true objects of known class, their places given",
    "mpq": "PanNuke's mPQ: PQ by class in each image, mean of the classes that its truth has, then of the images",
    "mpq_plus": "CoNIC's mPQ+: PQ by class over all images together, mean of the classes of the truth",
    "pq/": "PQ of the class over all images together, IoU > 0.5",
    "ap": "average precision at IoU > 0.5, all points, by object score",
    "map": "mean over the classes of average precision at IoU > 0.5, all points, by score times probability",
    "auc": "area under the ROC curve, one class against the rest, mean of the classes",
    "ece_score": "expected calibration error in 15 bins: object score against being a true object",
    "ece_class": "expected calibration error in 15 bins: probability of the likeliest class against being right",
    "froc": "DigestPath: mean recall at 1, 2, 4, 8, 16, 32 false positives a normal image",
    "recall": "DigestPath: boxes found by objects of score 0.5 and more",
    "normal_fp": "DigestPath: false positives a normal image of objects of score 0.5 and more",
}
PAIRED = {
    "points": f"paired by centroids within {scoring.POINT_UM:g} µm",
    "tile": "commonest class of the cells of each image",
    "boxes": f"paired by boxes of IoU {scoring.BOX_IOU:g} and more",
}

GIVEN = {
    "objects": "class map pooled over each true outline",
    "points": f"class map pooled within {DISC_UM:g} µm of each true point",
}


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
    split: str = ""
    """Which of the source's images: "validation", "held out"; "" all that were given."""
    stratum: str = ""
    """Which of those; "" all of them."""
    drawn: tuple[float, ...] = ()
    """The figure in each drawing of groups, where asked for: to compare models draw by draw."""

    def document(self) -> dict[str, Any]:
        """As JSON has it: numbers that are not defined are null."""
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in self.facts().items()}

    def facts(self) -> dict[str, Any]:
        """All but the drawings."""
        return {k: v for k, v in asdict(self).items() if k != "drawn"}


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What several rows have in common, and how intervals are drawn."""

    source: str
    split: str = ""
    stratum: str = ""
    draws: int = 1000
    seed: int = 0
    keep_draws: bool = False
    by: str = MODEL
    task: str = ""
    images: int = 0
    objects: int = 0
    how: str = ""
    """The rest of the protocol."""


def by_group(tallies: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The sum of each group's tallies."""
    sums: dict[str, Any] = {}
    for group, tally in tallies:
        sums[group] = sums[group] + tally if group in sums else tally
    return sums


def rows_of(groups: Mapping[str, Any], names: Mapping[str, str], about: About) -> list[Row]:
    """One row a name: {score of the tallies: metric of the row}; pooled over groups, intervals over them."""
    values = reduce(add, groups.values()).scores()
    drawn = intervals.drawn_scores(groups, about.draws, about.seed)
    spans = {name: intervals.span(scores) for name, scores in drawn.items()}
    return [
        Row(
            source=about.source,
            task=about.task,
            metric=metric,
            value=float(values[name]),
            low=spans.get(name, (math.nan, math.nan))[0],
            high=spans.get(name, (math.nan, math.nan))[1],
            by=about.by,
            protocol=f"{rule(metric)}; {about.how}, interval over groups",
            images=about.images,
            objects=about.objects,
            groups=len(groups),
            split=about.split,
            stratum=about.stratum,
            drawn=tuple(map(float, drawn[name])) if about.keep_draws and name in drawn else (),
        )
        for name, metric in names.items()
    ]


def rule(metric: str) -> str:
    """The definition of a metric in words, as docs/metrics.md has it."""
    plain = metric.removeprefix("bright_").removesuffix("_mean")
    return RULES["pq/"] if plain.startswith("pq/") else RULES[plain.split("/")[0]]


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
        means = class_metrics.share(self.total, self.count)
        return {name: means[..., i] for i, name in enumerate(self.names)}
