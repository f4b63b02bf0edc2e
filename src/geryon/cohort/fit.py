"""`geryon slides fit`: from a table of slides and labels to answers out of fold, figures, and a model of slides."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geryon import __version__, events
from geryon.atomic import whole_file
from geryon.cohort import checks, results
from geryon.cohort.answering import answers_of
from geryon.cohort.document import Member, SlideModelDocument, digest, save_slide_model
from geryon.cohort.faults import Faults
from geryon.cohort.learn import PENALTIES, Learnt, Lesson, Part, learn
from geryon.cohort.models import FILE, Kind, filled, get_kind, kept, network_of
from geryon.cohort.report import Trainings, write_report
from geryon.cohort.table import Cohort, Question, read_cohort
from geryon.cohort.views import Slides, pooled
from geryon.cohort.volumes import Shelf
from geryon.errors import InputError, UsageError
from geryon.events import Tell
from geryon.nets.weights import read_metadata, read_tensors, save_tensors
from geryon.train.splits import VALIDATION, Item, Split, sides

PARTS, SLIDES, FIGURES, PREDICTIONS, PATIENTS = (
    ".parts",
    "slides.json",
    "figures.json",
    "predictions.csv",
    "patients.csv",
)
COMPLETE = "complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How slides are learnt from."""

    model: str = "cnn"
    """In cohort.models.MODELS."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of cohort.models.Settings, where they differ from the model's defaults."""
    folds: int = 5
    """Parts of the patients; one is answered, the next validates, the others are learnt from. A column `fold` in the
    table goes before it."""
    seeds: int = 3
    """Networks of each fold, which differ in their beginning, crops and validating fold."""
    memory_bytes: int = 2 << 30
    """Volumes are kept in memory up to so much in all; the others are read crop by crop."""
    device: str = "auto"
    """"cpu", "cuda" or "auto"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What a run left."""

    model: Path
    figures: Mapping[str, Any]
    """As figures.json holds them."""


def fit_slides(
    table: str | Path, *, out: str | Path, question: Question, course: Course = Course(), tell: Tell = events.nobody
) -> Fitted:
    """Learn from a table and write a run's folder: predictions.csv and patients.csv (out of fold), figures.json,
    report.html and slide_model.safetensors. The same call goes on where it was stopped, and leaves a finished run as
    it is."""
    table, out = Path(table), Path(out)
    kind = get_kind(course.model)
    settings, device = kind.settings(course.settings), _device(course.device)
    if course.model == "objects" and not question.objects:
        question = replace(question, objects=True)
    cohort = read_cohort(table, replace(question, grid=kind.sees == "crops"))
    if cohort.target is None:
        raise UsageError(what="nothing is asked", mend="give --label COLUMN, or --time and --event")
    folds = _folds(cohort, course.folds)
    cohort.kind.check_parts()
    for note in (*cohort.notes, *_thin(cohort, folds)):
        tell(events.Warned(text=note))
    document = _document(cohort, kind, kept(settings), folds)
    key = _keep(out, cohort, document, course)
    if (done := _finished(out, key)) is not None:
        return done
    slides = Slides(
        shelf=Shelf([slide.cells for slide in cohort.slides], course.memory_bytes),
        has_turns=cohort.has_turns,
        settings=settings,
        measures=cohort.measures if cohort.measure_names else np.zeros((len(cohort.slides), 0)),
        device=device,
    )
    seeds = list(range(1, course.seeds + 1))
    pairs = [(fold, seed) for seed in seeds for fold in sorted(set(folds))]
    parts = _all_parts(out, key, _Work(cohort=cohort, slides=slides, document=document, folds=folds), pairs, tell)
    return _finish(out, key, cohort, replace(document, members=tuple(Member(fold=f, seed=s) for f, s in pairs)), parts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Work:
    """What all networks of a run share."""

    cohort: Cohort
    slides: Slides
    document: SlideModelDocument
    folds: list[int]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Part:
    """One finished network: its weights, its answers about the slides of its fold, its course."""

    tensors: dict[str, np.ndarray]
    answers: np.ndarray
    course: np.ndarray


def _folds(cohort: Cohort, n: int) -> list[int]:
    """The fold of each slide, 1..: the table's own, or patients dealt to n, each kind of label by itself."""
    if any(slide.fold for slide in cohort.slides):
        return [slide.fold for slide in cohort.slides]
    patients = len(set(cohort.patients))
    if n < 3 or patients < n:
        what = f"{patients} patients can't make {n} folds" if patients < n else f"{n} folds are too few"
        raise UsageError(
            what=what,
            where=cohort.path,
            mend="give --folds from 3 (one is asked, one validates) to the patients' number",
        )
    strata = cohort.kind.stratum(cohort.truth)
    items = [
        Item(source="slides", group=slide.patient, name=slide.name, stratum=stratum)
        for slide, stratum in zip(cohort.slides, strata, strict=True)
    ]
    folds = [0] * len(items)
    for fold in range(n):
        for i, side in enumerate(sides(items, Split(folds=n, fold=fold))):
            folds[i] = fold + 1 if side == VALIDATION else folds[i]
    assert cohort.target is not None
    faults = Faults(cohort.path)
    checks.sides(cohort.target, cohort.truth, cohort.patients, folds, faults)
    faults.end()
    return folds


def _thin(cohort: Cohort, folds: Sequence[int]) -> list[str]:
    """Classes and labels with fewer patients than folds: some networks never see or never meet them."""
    assert cohort.target is not None
    found = []
    for what, has in cohort.kind.groups(cohort.target, cohort.truth).items():
        n = len({patient for patient, it in zip(cohort.patients, has, strict=True) if it})
        if n < len(set(folds)):
            found.append(f"{what} has {n} patients, fewer than folds: some networks learn little of it")
    return found


def _document(cohort: Cohort, kind: Kind, settings: Mapping[str, Any], folds: Sequence[int]) -> SlideModelDocument:
    assert cohort.target is not None
    return SlideModelDocument(
        name=Path(cohort.path).stem,
        version=__version__,
        model=kind.name,
        settings=settings,
        target=cohort.target,
        encoder=cohort.encoder,
        has_turns=cohort.has_turns,
        objects=cohort.measure_names,
        members=(),
        folds={digest(patient): fold for patient, fold in zip(cohort.patients, folds, strict=True)},
        slides={
            digest(known): fold
            for slide, fold in zip(cohort.slides, folds, strict=True)
            for known in (slide.name, slide.identity)
        },
    )


def _keep(out: Path, cohort: Cohort, document: SlideModelDocument, course: Course) -> str:
    """Write what the run asks into its folder, or see that it is what the folder was begun with; return its digest."""
    slides = [
        {
            "slide": slide.name,
            "patient": slide.patient,
            "fold": document.folds[digest(slide.patient)],
            "codes": slide.identity,
        }
        for slide in cohort.slides
    ]
    asked = {"document": asdict(document), "slides": slides, "seeds": course.seeds, "left_out": list(cohort.left_out)}
    numbers = np.concatenate([cohort.truth.ravel(), cohort.measures.ravel()]).tobytes()
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode() + numbers).hexdigest()
    path = out / SLIDES
    if path.exists():
        try:
            before = json.loads(path.read_text(encoding="utf-8")).get("key")
        except (ValueError, AttributeError) as error:
            raise InputError(what="is damaged", where=str(path), mend="choose another --out") from error
        if before != key:
            raise UsageError(
                what="holds a run of another table or other settings", where=str(out), mend="choose another --out"
            )
        return key
    with whole_file(path) as fresh:
        text = json.dumps({"key": key, "notes": cohort.notes, **asked}, indent=1, ensure_ascii=False)
        fresh.write_text(text + "\n", encoding="utf-8")
    return key


def _finished(out: Path, key: str) -> Fitted | None:
    path = out / FIGURES
    if not path.exists():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None
    if (
        not isinstance(document, dict)
        or document.get("key") != key
        or document.get("status") != COMPLETE
        or not (out / FILE).exists()
    ):
        return None
    return Fitted(model=out / FILE, figures=document)


def _device(asked: str) -> str:
    has = torch.cuda.is_available()
    if asked == "cuda" and not has:
        raise UsageError(what="there is no CUDA card that torch can use", mend="leave --device out")
    return "cuda" if has and asked != "cpu" else "cpu"


def _all_parts(out: Path, key: str, work: _Work, pairs: Sequence[tuple[int, int]], tell: Tell) -> list[_Part]:
    """Train what is not there yet; each finished network is a file, renamed into place."""
    files = [out / PARTS / f"fold{fold}-seed{seed}.safetensors" for fold, seed in pairs]
    done = [_read_part(file, key) for file in files]
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
        learnt = learn(lesson, _part(work.folds, fold, seed), tell)
        tell(events.Finished(stage="epochs", seconds=time.monotonic() - start))
        done[k] = _answered(work, learnt, fold)
        _write_part(files[k], done[k], key)  # type: ignore[arg-type]
        tell(events.Advanced(stage="networks"))
    tell(events.Finished(stage="networks", seconds=time.monotonic() - begun))
    return [part for part in done if part is not None]


def _part(folds: Sequence[int], fold: int, seed: int) -> Part:
    """Another fold validates for each seed, so that over the seeds more patients are learnt from."""
    others = [other for other in sorted(set(folds)) if other != fold]
    place = sorted(set(folds)).index(fold)
    validates = others[(place + seed - 1) % len(others)]
    return Part(
        train=tuple(i for i, f in enumerate(folds) if f not in (fold, validates)),
        validation=tuple(i for i, f in enumerate(folds) if f == validates),
        seed=1000 * seed + place,
    )


def _answered(work: _Work, learnt: Learnt, fold: int) -> _Part:
    network = filled(network_of(work.document), learnt.tensors).to(work.slides.device)
    asked = [i for i, f in enumerate(work.folds) if f == fold]
    answers = np.stack([answers_of(work.document, [network], work.slides, i)[0] for i in asked])
    return _Part(tensors=learnt.tensors, answers=answers, course=learnt.course)


def _write_part(file: Path, part: _Part, key: str) -> None:
    tensors = {f"network.{name}": tensor for name, tensor in part.tensors.items()}
    with whole_file(file) as fresh:
        save_tensors(tensors | {"answers": part.answers, "course": part.course}, fresh, metadata={"key": key})


def _read_part(file: Path, key: str) -> _Part | None:
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
    return _Part(
        tensors={name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)},
        answers=tensors["answers"],
        course=tensors["course"],
    )


def _finish(out: Path, key: str, cohort: Cohort, document: SlideModelDocument, parts: Sequence[_Part]) -> Fitted:
    """Tables, figures, report and model; figures.json last, then the parts go."""
    folds = [document.folds[digest(patient)] for patient in cohort.patients]
    seeds = sorted({member.seed for member in document.members})
    by_seed = {seed: np.zeros((len(folds), parts[0].answers.shape[1])) for seed in seeds}
    for member, part in zip(document.members, parts, strict=True):
        by_seed[member.seed][[i for i, fold in enumerate(folds) if fold == member.fold]] = part.answers
    slides = results.Answered(
        target=document.target,
        names=tuple(slide.name for slide in cohort.slides),
        patients=tuple(cohort.patients),
        folds=tuple(folds),
        truth=cohort.truth,
        by_seed=by_seed,
    )
    patients = results.by_patient(slides)
    figures: dict[str, Any] = {} if cohort.kind.of_patients else {"slides": slides.figures()}
    figures |= {"patients": patients.figures()} if patients else {}
    results.write_table(out / PREDICTIONS, slides.rows())
    if patients:
        results.write_table(out / PATIENTS, patients.rows())
    figures = _without_nan(figures)
    document = replace(document, training={"figures": figures})
    save_slide_model(out / FILE, [part.tensors for part in parts], document)
    write_report(out, document, (slides, patients), _trainings(document, parts), cohort.notes)
    whole = {"status": COMPLETE, "key": key, "version": __version__, "target": asdict(document.target), **figures}
    with whole_file(out / FIGURES) as fresh:
        fresh.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.rmtree(out / PARTS, ignore_errors=True)
    return Fitted(model=out / FILE, figures=whole)


def _trainings(document: SlideModelDocument, parts: Sequence[_Part]) -> Trainings:
    is_path = get_kind(document.model).is_convex
    losses = {}
    for member, part in zip(document.members, parts, strict=True):
        x = np.log10(part.course[:, 2]) if is_path else np.arange(1, len(part.course) + 1)
        points = [(float(a), float(b)) for a, b in zip(x, part.course[:, 1], strict=True)]
        losses[f"fold {member.fold}, seed {member.seed}"] = points
    return Trainings(x="log10 of the penalty" if is_path else "epoch", losses=losses)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_nan(each) for name, each in value.items()}
    return None if isinstance(value, float) and not np.isfinite(value) else value
