"""From pieces to figures: what is reported of each kind of label, by families of metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from operator import add

import numpy as np

from geryon.tasks import class_metrics
from geryon.tasks.calibration import Calibration, score_table
from geryon.tasks.detection_metrics import FrocTally, PrecisionTally, by_level
from geryon.tasks.panoptic_metrics import PanopticTally, panoptic_tally
from geryon.tasks.probability_metrics import RankTally, ReliabilityTally, rank_tally, reliability_tally
from geryon.train.protocols import GIVEN, MAJORITY, PAIRED, UNCALIBRATED, About, Means, Row, by_group, rows_of
from geryon.train.scoring import OUTLINED_UM, Matches, Piece, at_depth, index_of, probabilities

BOUNDED = ("pq", "dq", "sq", "aji", "dice")
UNBOUNDED = ("object_f1", "object_dice", "object_hausdorff_px", "pq", "dice")
OF_CLASSES = ("accuracy", "balanced_accuracy", "weighted_f1")


def figures_of(pieces: Sequence[Piece], about: About, *, by_stratum: bool = False) -> list[Row]:
    """Every figure that the pieces allow, pooled; then those of each stratum if asked."""
    rows: list[Row] = []
    for task, kind in dict.fromkeys((p.task.name, p.kind) for p in pieces):
        some = [p for p in pieces if (p.task.name, p.kind) == (task, kind)]
        its = replace(about, task=task, images=len(some))
        whole = [p for p in some if p.matches is None or p.matches.is_exhaustive]
        for family in FAMILIES[kind]:
            asked = some if family in ALSO_IN_PART else whole
            rows += family(asked, replace(its, images=len(asked))) if asked else []
    strata = sorted({p.stratum for p in pieces}) if by_stratum else []
    for stratum in strata if len(strata) > 1 else ():
        rows += figures_of([p for p in pieces if p.stratum == stratum], replace(about, stratum=stratum or "none"))
    return rows


def _grid(pieces: Sequence[Piece]) -> str:
    sizes = sorted({round(p.mpp, 3) for p in pieces})
    return f"grid {sizes[0]:g} µm/px" if len(sizes) == 1 else f"grid {sizes[0]:g} to {sizes[-1]:g} µm/px"


def _pixel_rows(pieces: Sequence[Piece], about: About) -> list[Row]:
    """Pooled over the images, and for objects the mean of the images' own scores too."""
    kind, is_objects = pieces[0].kind, pieces[0].kind == "objects"
    names: Sequence[str] = {"foreground": ("dice",), "bright": ("dice", "pq")}.get(kind, BOUNDED)
    names = UNBOUNDED if is_objects and pieces[0].task.seam == "join" else names
    tail = ", against bright places inside true glands (no lumina are drawn)" if kind == "bright" else ""
    objects = sum(p.tally.truth for p in pieces) if is_objects else 0
    its = replace(about, objects=objects, how=f"pooled over images; {_grid(pieces)}{tail}")
    start = "bright_" if kind == "bright" else ""
    rows = rows_of(by_group((p.group, p.tally) for p in pieces), {name: start + name for name in names}, its)
    if is_objects:
        means = by_group((p.group, Means.of(p.tally.scores())) for p in pieces)
        its = replace(its, how=f"mean of images; {_grid(pieces)}")
        rows += rows_of(means, {name: f"{name}_mean" for name in names}, its)
    return rows


def class_names_of(pieces: Sequence[Piece]) -> tuple[str, ...]:
    """The classes that the truth names and the model's tree knows, in the order of the tree; () without a tree."""
    tree = pieces[0].task.classes
    if tree is None:
        return ()
    said = {name for p in pieces if p.matches for name in p.matches.names if tree.below(name)}
    return tuple(sorted(said, key=lambda name: (tree.below(name), name)))


def _said(piece: Piece, names: tuple[str, ...]) -> tuple[Matches, np.ndarray, np.ndarray, np.ndarray]:
    """Matches; what is said of each name, which is said, and which is true of each object."""
    matches = _matches(piece)
    sums, said = at_depth(probabilities(matches.p, piece.task), names, piece.task)
    return matches, sums, said, index_of(matches.names, names)


def _matches(piece: Piece) -> Matches:
    assert piece.matches is not None, "only pieces with matches come here"
    return piece.matches


def class_tally_of(piece: Piece, names: tuple[str, ...]) -> class_metrics.ClassTally:
    """The piece's classes counted at the depth of `names`; without names its pairs alone."""
    if not names:
        matches = _matches(piece)
        nothing = np.full(len(matches.p), -1, np.int64), np.full(len(matches.names), -1, np.int64)
        return class_metrics.class_tally((), *nothing, matches.pairs)
    matches, _, said, truth = _said(piece, names)
    return class_metrics.class_tally(names, said, truth, matches.pairs)


def _paired(pieces: Sequence[Piece]) -> str:
    own = "paired by IoU > 0.5" if pieces[0].task.seam == "join" else ""
    return PAIRED.get(pieces[0].kind) or own or f"paired by centroids within {OUTLINED_UM:g} µm"


def _class_rows(pieces: Sequence[Piece], about: About) -> list[Row]:
    """Detection, then classes of what was paired, then the floor of always saying the commonest class."""
    names = class_names_of(pieces)
    groups = by_group((p.group, class_tally_of(p, names)) for p in pieces)
    whole = reduce(add, groups.values())
    table = np.asarray(whole.confusion)
    its = replace(about, how=f"{_paired(pieces)}; pooled over images")
    every = replace(its, objects=int(whole.paired + whole.truth_alone))
    known = replace(its, objects=int(table[1:, 1:].sum()))
    is_tile = pieces[0].kind == "tile"
    rows: list[Row] = []
    if not is_tile and (names or pieces[0].task.seam != "join"):
        rows += rows_of(groups, {"f_d": "f_d"}, every)
    if not names:
        return rows
    if not is_tile:
        rows += rows_of(groups, {f"{m}/{name}": f"{m}/{name}" for m in ("f_c", "f1") for name in names}, every)
    rows += rows_of(groups, {m: m for m in OF_CLASSES}, known)
    return rows + rows_of(groups, {f"majority_{m}": m for m in OF_CLASSES}, replace(known, by=MAJORITY))


def _given_rows(pieces: Sequence[Piece], about: About) -> list[Row]:
    """Classes of true objects whose places are given; then the floor of always saying the commonest class."""
    some = [replace(p, matches=p.given) for p in pieces if p.given is not None]
    names = class_names_of(some) if some else ()
    if not names:
        return []
    groups = by_group((p.group, class_tally_of(p, names)) for p in some)
    objects = int(np.asarray(reduce(add, groups.values()).confusion)[1:, 1:].sum())
    its = replace(about, images=len(some), objects=objects, how=f"{GIVEN[pieces[0].kind]}; pooled over images")
    own = (*OF_CLASSES, *(f"f1/{name}" for name in names))
    rows = rows_of(groups, {m: f"given_{m}" for m in own}, its)
    floor = {f"majority_{m}": f"given_{m}" for m in OF_CLASSES}
    return rows + rows_of(groups, floor, replace(its, by=MAJORITY))


def _panoptic_rows(pieces: Sequence[Piece], about: About) -> list[Row]:
    names = class_names_of(pieces)
    if not names:
        return []
    tallies = [(p.group, _panoptic_tally(p, names)) for p in pieces]
    groups = by_group(tallies)
    objects = int(np.sum(reduce(add, groups.values()).truth))
    its = replace(about, objects=objects, how=f"pooled over images; {_grid(pieces)}")
    rows = rows_of(groups, {"mpq_plus": "mpq_plus"} | {f"pq/{name}": f"pq/{name}" for name in names}, its)
    means = by_group((group, Means.of(tally.image_scores())) for group, tally in tallies)
    return rows + rows_of(means, {"mpq": "mpq"}, replace(its, how=_grid(pieces)))


def _panoptic_tally(piece: Piece, names: tuple[str, ...]) -> PanopticTally:
    matches, _, said, truth = _said(piece, names)
    return panoptic_tally(names, said, truth, matches.overlapping, matches.iou)


def _precision_rows(pieces: Sequence[Piece], about: About) -> list[Row]:
    names = class_names_of(pieces)
    groups = by_group((p.group, _precision_tally(p, names)) for p in pieces)
    objects = int(np.sum(reduce(add, groups.values()).truth))
    its = replace(about, objects=objects, how="pooled over images")
    return rows_of(groups, {"map": "map" if names else "ap"}, its)


def _precision_tally(piece: Piece, names: tuple[str, ...]) -> PrecisionTally:
    """Objects of a class by score times probability; where there are no names all are of one class, by score."""
    matches = _matches(piece)
    score = _scores(matches.score, piece.task.calibration)
    if names:
        _, sums, said, truth = _said(piece, names)
        score = np.round(score * np.minimum(sums.max(axis=1), 255.0) / 255.0).astype(np.uint8)
    else:
        said, truth = np.zeros(len(score), np.int64), np.zeros(len(matches.names), np.int64)
    i, j = matches.overlapping.T
    is_hit, counted = np.zeros(len(score), bool), said >= 0
    is_hit[i[said[i] == truth[j]]] = True
    counted[i[truth[j] < 0]] = False
    of = [counted & (said == k) for k in range(max(len(names), 1))]
    return PrecisionTally(
        names=names or ("",),
        hits=np.stack([by_level(score[each & is_hit]) for each in of]),
        misses=np.stack([by_level(score[each & ~is_hit]) for each in of]),
        truth=np.bincount(truth[truth >= 0], minlength=len(of)),
    )


def _scores(score: np.ndarray, calibration: Calibration | None) -> np.ndarray:
    return score if calibration is None else score_table(calibration)[score]


def _froc_rows(pieces: Sequence[Piece], about: About) -> list[Row]:
    groups = by_group((p.group, _froc_tally(p)) for p in pieces)
    its = replace(about, objects=sum(p.tally.truth for p in pieces), how=f"{_paired(pieces)}; pooled over images")
    return rows_of(groups, {name: name for name in ("froc", "recall", "normal_fp")}, its)


def _froc_tally(piece: Piece) -> FrocTally:
    """An image without boxes is a normal one."""
    matches = _matches(piece)
    score = _scores(matches.score, piece.task.calibration)
    is_normal = not matches.names
    return FrocTally(
        hits=by_level(score[matches.pairs[:, 0]]),
        truth=len(matches.names),
        misses=by_level(score) if is_normal else np.zeros(256, np.int64),
        normals=int(is_normal),
    )


def _probability_rows(pieces: Sequence[Piece], about: About) -> list[Row]:
    """How classes are ranked; whether scores and classes mean what they say, also before a calibration."""
    names = class_names_of(pieces)
    rows: list[Row] = []
    if len(names) > 1:
        groups = by_group((p.group, rank_tally_of(p, names)) for p in pieces)
        its = replace(about, objects=int(np.sum(reduce(add, groups.values()).own)), how=f"{_paired(pieces)}; pooled")
        rows += rows_of(groups, {"auc": "auc"}, its)
    rows += reliability_rows(pieces, about)
    if pieces[0].task.calibration is not None:
        bare = [replace(p, task=replace(p.task, calibration=None)) for p in pieces]
        rows += reliability_rows(bare, replace(about, by=UNCALIBRATED))
    return rows


def reliability_rows(pieces: Sequence[Piece], about: About) -> list[Row]:
    """Expected calibration errors of object scores and of class probabilities, as far as there are such."""
    names, is_tile = class_names_of(pieces), pieces[0].kind == "tile"
    rows = []
    tallies = {
        "ece_score": None if is_tile else [(p.group, score_reliability(p)) for p in pieces],
        "ece_class": [(p.group, class_reliability(p, names)) for p in pieces] if names else None,
    }
    for metric, each in tallies.items():
        n = int(sum(np.sum(tally.said[:-1]) for _, tally in each)) if each else 0
        if each is None or n == 0:  # nothing was said, or nothing but certainties: masks, floors
            continue
        n += int(sum(tally.said[-1] for _, tally in each))
        how = "each known cell of each image; pooled" if is_tile else f"{_paired(pieces)}; pooled"
        rows += rows_of(by_group(each), {"ece": metric}, replace(about, objects=n, how=how))
    return rows


def score_reliability(piece: Piece) -> ReliabilityTally:
    """Of each found object: its score, and whether it is a true one."""
    matches = _matches(piece)
    is_so = np.zeros(len(matches.score), bool)
    is_so[matches.pairs[:, 0]] = True
    return reliability_tally(_scores(matches.score, piece.task.calibration), is_so)


def class_reliability(piece: Piece, names: tuple[str, ...]) -> ReliabilityTally:
    """Of each paired object (or cell) of known class: how likely what it is said to be, and whether it is that."""
    p, truth = known_classes(piece, names)
    p = probabilities(p, piece.task)
    sums, said = at_depth(p, names, piece.task)
    level = np.maximum(sums.max(axis=1), p.max(axis=1)) if len(p) else np.zeros(0)
    return reliability_tally(np.minimum(np.round(level), 255).astype(np.uint8), said == truth)


def known_classes(piece: Piece, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """p (uint8 [n, leaf], before calibration) of what is known to be one of `names`, and which (int64 [n])."""
    if piece.cells is not None:
        p, truth = piece.cells.p, index_of(piece.cells.names, names)
    else:
        matches = _matches(piece)
        p, truth = matches.p[matches.pairs[:, 0]], index_of(matches.names, names)[matches.pairs[:, 1]]
    keep = (truth >= 0) & p.any(axis=1)
    return p[keep], truth[keep]


def rank_tally_of(piece: Piece, names: tuple[str, ...]) -> RankTally:
    """Of each paired object of known class, or each tile by the mean of its cells: what is said of each class."""
    p, truth = known_classes(piece, names)
    if piece.cells is not None and len(p):
        p, truth = np.round(p.mean(axis=0, keepdims=True)).astype(np.uint8), truth[:1]
    sums, _ = at_depth(probabilities(p, piece.task), names, piece.task)
    return rank_tally(names, np.minimum(sums, 255).astype(np.uint8), truth)


Family = Callable[[Sequence[Piece], About], list[Row]]
FAMILIES: dict[str, tuple[Family, ...]] = {
    "objects": (_pixel_rows, _class_rows, _given_rows, _panoptic_rows, _precision_rows, _probability_rows),
    "points": (_class_rows, _given_rows, _probability_rows),
    "boxes": (_class_rows, _froc_rows, _precision_rows, _probability_rows),
    "tile": (_class_rows, _probability_rows),
    "foreground": (_pixel_rows,),
    "bright": (_pixel_rows,),
}
"""What is reported of each kind of label."""
ALSO_IN_PART: tuple[Family, ...] = (_froc_rows, _given_rows)
"""Families that allow for images of which the source names some objects only."""
