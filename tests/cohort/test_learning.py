"""Each kind of model learns an easy signal of each kind of question, and nothing where labels are shuffled."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from geryon.cohort.answering import answers_of
from geryon.cohort.document import EncoderUsed, SlideModelDocument, TargetDocument
from geryon.cohort.learn import Lesson, Part, learn
from geryon.cohort.models import MODELS, filled, get_kind, kept, network_of
from geryon.cohort.target import Scored
from geryon.cohort.targets import TARGETS, get_target
from geryon.cohort.views import Slides, pooled
from geryon.cohort.volumes import Held
from geryon.events import nobody

CODE, SIDE, ASKED = 4, 4, 24
QUICK = {"cells": SIDE, "instances": 12, "batch": 8, "epochs": 15, "rate": 1e-2, "validation_crops": 1, "test_crops": 1}
COLUMNS = {"multilabel": ("a", "b"), "survival": ("t", "e")}
CLASSES = {"binary": ("no", "yes"), "multiclass": ("x", "y", "z"), "ordinal": ("1", "2", "3")}
ENCODER = EncoderUsed(name="e", sha256="", code=CODE, mpp=0.5, patch_um=64.0, stride_um=64.0)


@dataclass(frozen=True)
class World:
    """Slides whose codes hold a signal, half of them to be asked."""

    volumes: list[Held]
    signal: np.ndarray


@pytest.fixture(scope="module")
def world() -> World:
    rng = np.random.default_rng(0)
    signal = rng.normal(size=40 + ASKED)
    codes = rng.normal(0, 0.3, (len(signal), 1, SIDE, SIDE, CODE)).astype(np.float32)
    codes[..., 0] += signal[:, None, None, None]
    tissue = np.ones((SIDE, SIDE), bool)
    held = [Held(path=Path(), tissue=tissue, codes=each, pieces=(SIDE * SIDE,)) for each in codes]
    return World(held, signal)


def truth_of(kind: str, signal: np.ndarray) -> np.ndarray:
    three = np.digitize(signal, [-0.5, 0.5])
    rng = np.random.default_rng(1)
    return {
        "binary": (signal > 0)[:, None],
        "multiclass": three[:, None],
        "ordinal": three[:, None],
        "multilabel": np.stack([signal > 0, signal < 0.5], 1),
        "regression": 100 + 7 * signal[:, None],
        "survival": np.stack([np.exp(-signal), rng.random(len(signal)) < 0.8], 1),
    }[kind].astype(float)


def taught(world: World, model: str, kind: str, truth: np.ndarray, measures: np.ndarray | None = None):
    """(answers about the slides that were not learnt from, document, what was learnt)"""
    target = TargetDocument(kind=kind, columns=COLUMNS.get(kind, ("y",)), classes=CLASSES.get(kind, ()))
    settings = get_kind(model).settings({**QUICK, "epochs": 8} if model == "cnn" else QUICK)
    names = () if measures is None else tuple(f"m{k}" for k in range(measures.shape[1]))
    document = SlideModelDocument(
        name="n", version="1", model=model, settings=kept(settings), target=target, encoder=ENCODER, objects=names,
        members=(),
    )  # fmt: skip
    n = len(world.volumes)
    measures = np.zeros((n, 0)) if measures is None else measures
    slides = Slides(shelf=world.volumes, has_turns=False, settings=settings, measures=measures)  # type: ignore[arg-type]
    sees = get_kind(model).sees
    seen = np.stack([pooled(slides, sees, i) for i in range(n)]) if get_kind(model).is_convex else np.zeros((n, 0))
    lesson = Lesson(slides=slides, truth=truth, document=document, pooled=seen)
    part = Part(train=tuple(range(32)), validation=tuple(range(32, 40)), seed=1)
    learnt = learn(lesson, part, nobody)
    network = filled(network_of(document), learnt.tensors)
    answers = np.stack([answers_of(document, [network], slides, i)[0] for i in range(40, n)])
    return answers, target, learnt


def score(kind: str, target: TargetDocument, truth: np.ndarray, answers: np.ndarray) -> float:
    scored = Scored(target=target, truth=truth[40:], answers=answers, folds=np.zeros(ASKED, int))
    found = get_target(kind).scores(scored, np.ones((1, ASKED)))
    return float(next(iter(found.values()))[0])


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("model", ["cnn", "attention", "mean"])
def test_a_signal_is_learnt(world: World, model: str, kind: str) -> None:
    torch.set_num_threads(1)
    truth = truth_of(kind, world.signal)
    answers, target, _ = taught(world, model, kind, truth)
    assert answers.shape == (ASKED, len(get_target(kind).names(target)))
    least = 0.6 if kind == "ordinal" else 0.85
    assert score(kind, target, truth, answers) > least
    if kind in CLASSES and kind != "binary":
        assert answers.sum(1) == pytest.approx(1.0)
    if kind == "regression":  # in the unit of the table
        assert 90 < answers.mean() < 110


@pytest.mark.parametrize(("model", "kind"), [("cnn", "binary"), ("attention", "regression"), ("mean", "survival")])
def test_shuffled_labels_can_not_be_foretold(world: World, model: str, kind: str) -> None:
    truth = truth_of(kind, world.signal)
    shuffled = truth[np.random.default_rng(5).permutation(len(truth))]  # those that are asked about, too
    answers, target, _ = taught(world, model, kind, shuffled)
    found = score(kind, target, shuffled, answers)
    chance, spread = (0.0, 0.2) if kind == "regression" else (0.5, 0.12)  # of a correlation, of an AUC, with 24 slides
    assert abs(found - chance) < 2.5 * spread


@pytest.mark.parametrize("model", ["cnn", "attention", "mean"])
def test_the_same_lesson_gives_the_same_network(world: World, model: str) -> None:
    truth = truth_of("binary", world.signal)
    first, again = (taught(world, model, "binary", truth)[2] for _ in range(2))
    assert np.array_equal(first.course, again.course)
    assert all(np.array_equal(first.tensors[name], again.tensors[name]) for name in first.tensors)


@pytest.mark.parametrize("model", ["attention", "mean", "objects"])
def test_objects_add_what_codes_do_not_hold(world: World, model: str) -> None:
    rng = np.random.default_rng(6)
    hidden = rng.normal(size=len(world.signal))
    truth = (hidden > 0)[:, None].astype(float)
    measures = np.stack([1000 + 50 * hidden, np.full(len(hidden), 3.0)], 1)  # in a unit of its own; one is constant
    measures[7, 0] = np.nan
    with_objects, target, _ = taught(world, model, "binary", truth, measures)
    assert score("binary", target, truth, with_objects) > (0.75 if model == "attention" else 0.9)
    if model == "mean":
        without, target, _ = taught(world, model, "binary", truth)
        assert score("binary", target, truth, without) < 0.8


def test_the_cnn_falls_in_rate_by_tenths_and_keeps_its_best(world: World) -> None:
    truth = truth_of("regression", world.signal)
    shuffled = truth[np.random.default_rng(8).permutation(len(truth))]
    *_, learnt = taught(world, "attention", "regression", shuffled)
    rates = learnt.course[:, 2]
    assert rates[0] == 1e-2 and set(np.round(np.log10(rates), 6)) <= {-2.0, -3.0, -4.0, -5.0}
    assert (np.diff(rates) <= 0).all()


def test_every_model_of_the_table_can_be_built() -> None:
    for name in MODELS:
        kind = get_kind(name)
        assert kind.settings({}).faults() == [] and kind.name == name
