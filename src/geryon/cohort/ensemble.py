"""The networks of a run, trained one after the other; each that is finished is kept until all are."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geryon import events
from geryon.atomic import whole_file
from geryon.cohort.answering import answers_of
from geryon.cohort.document import SlideModelDocument
from geryon.cohort.folds import part_of
from geryon.cohort.learn import PENALTIES, Learnt, Lesson, learn
from geryon.cohort.models import filled, get_kind, network_of
from geryon.cohort.slides import Cohort
from geryon.cohort.views import Slides, pooled
from geryon.errors import InputError
from geryon.events import Tell
from geryon.nets.weights import read_metadata, read_tensors, save_tensors

PARTS = ".parts"
"""In the folder of a run that is not finished."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work:
    """What all networks of a run share."""

    cohort: Cohort
    slides: Slides
    document: SlideModelDocument
    folds: list[int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """One finished network: its weights, its answers about the slides of its fold, its course."""

    tensors: dict[str, np.ndarray]
    answers: np.ndarray
    course: np.ndarray


def train_all(out: Path, key: str, work: Work, pairs: Sequence[tuple[int, int]], tell: Tell) -> list[Trained]:
    """Train what is not there yet; each finished network is a file, renamed into place."""
    files = [out / PARTS / f"fold{fold}-seed{seed}.safetensors" for fold, seed in pairs]
    done = [_read(file, key) for file in files]
    begun = time.monotonic()
    tell(events.Started(stage="networks", total=len(pairs), unit="networks", done=sum(p is not None for p in done)))
    seen = np.zeros((len(work.folds), 0))
    if get_kind(work.document.model).is_convex and None in done:
        sees = get_kind(work.document.model).sees
        seen = np.stack([pooled(work.slides, sees, i) for i in range(len(work.folds))])
    lesson = Lesson(slides=work.slides, truth=work.cohort.truth, document=work.document, pooled=seen)
    for k, (fold, seed) in enumerate(pairs):
        if done[k] is not None:
            continue
        epochs = len(PENALTIES) if get_kind(work.document.model).is_convex else work.slides.settings.epochs
        tell(events.Started(stage="epochs", total=epochs, unit=f"epochs of fold {fold}, seed {seed}"))
        start = time.monotonic()
        learnt = learn(lesson, part_of(work.folds, fold, seed), tell)
        tell(events.Finished(stage="epochs", seconds=time.monotonic() - start))
        done[k] = _answered(work, learnt, fold)
        _write(files[k], done[k], key)  # type: ignore[arg-type]
        tell(events.Advanced(stage="networks"))
    tell(events.Finished(stage="networks", seconds=time.monotonic() - begun))
    return [part for part in done if part is not None]


def _answered(work: Work, learnt: Learnt, fold: int) -> Trained:
    network = filled(network_of(work.document), learnt.tensors).to(work.slides.device)
    asked = [i for i, f in enumerate(work.folds) if f == fold]
    answers = np.stack([answers_of(work.document, [network], work.slides, i)[0] for i in asked])
    return Trained(tensors=learnt.tensors, answers=answers, course=learnt.course)


def _write(file: Path, part: Trained, key: str) -> None:
    tensors = {f"network.{name}": tensor for name, tensor in part.tensors.items()}
    with whole_file(file) as fresh:
        save_tensors(tensors | {"answers": part.answers, "course": part.course}, fresh, metadata={"key": key})


def _read(file: Path, key: str) -> Trained | None:
    """The finished network in a file; None where there is none, or it is damaged or of another question."""
    if not file.exists():
        return None
    try:
        if read_metadata(file).get("key") != key:
            return None
        tensors = read_tensors(file)
    except InputError:
        return None
    start = "network."
    return Trained(
        tensors={name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)},
        answers=tensors["answers"],
        course=tensors["course"],
    )
