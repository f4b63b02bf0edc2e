"""From a recipe to a model file: sources, split, pack, train, save, card.

The same call resumes: samples already packed and the state of the loop are taken over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from geryon.errors import InputError, UsageError
from geryon.events import Tell, Warned, nobody
from geryon.nets import weights
from geryon.nets.model import heads_of
from geryon.nets.ranges import ranges_of, spread
from geryon.nets.weights import ModelDocument, SourceDocument
from geryon.tasks.task import Task
from geryon.train import curves, leaks, processes, split_file, splits
from geryon.train.begin import build
from geryon.train.check import check, start_document, warnings_of
from geryon.train.checkpoints import STATE
from geryon.train.faults import refuse, told
from geryon.train.learner import choose_place, device_kind
from geryon.train.loop import Trained, chosen_losses, train
from geryon.train.pack import Asked, pack_key, write_pack
from geryon.train.packed import Sample, key_of_pack, load_pack
from geryon.train.recipe import Recipe, is_own
from geryon.train.report import IMAGES, Part, parts_of, report
from geryon.train.settings import LoopSettings
from geryon.train.source import Case
from geryon.train.transfer import Plan, plan
from geryon.train.validate import Validation

PACK = "samples.pack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Files and limits of one fit, which are no part of what is learnt."""

    data: Path = Path()
    """Folder that holds the sources' folders."""
    pack: Path | None = None
    """Where samples packed from the sources are kept and found again; by default in `out`."""
    samples: Path | None = None
    """A pack made before, used as it is."""
    minutes: float | None = None
    """Instead of the recipe's limit."""
    stop: Callable[[], bool] = field(default=lambda: False)
    """Asked before each step; the same call goes on later."""
    images: int = IMAGES
    """How many images of each source and part the figures at the end come from, at most; 0: none is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What a fit leaves in its folder."""

    model: Path | None
    """None where it was stopped before its end, and in all but the first of several processes."""
    whole: bool
    """False where it was stopped before its end."""
    card: Path | None
    sha256: str
    step: int
    seconds: float
    """Wall-clock seconds of training, earlier parts of the run included."""
    figures: Mapping[str, float]
    added: str = ""
    """In words: which heads stand beside those of a frozen model."""


def fit(
    recipe: Recipe | str | Path,
    *,
    out: str | Path,
    where: Where = Where(),  # noqa: B008 (a frozen value)
    tell: Tell = nobody,
) -> Fitted:
    """Train what the recipe asks for; leaves NAME.safetensors, NAME.md, figures, curves and overlays in `out`.

    The model is calibrated on its validation images and measured on these and on what is held out (train.report).
    Under torchrun the processes learn together, and the first one packs, writes and tells.
    """
    out, tell = Path(out), tell if processes.is_first() else nobody
    recipe = checked(recipe, out, where, tell)
    if recipe.train.tensorboard:
        curves.check_board()
    tasks = recipe.task_values()
    start = start_document(recipe)
    made = plan(recipe, start)
    settings = loop_settings(recipe, where)
    losses = chosen_losses(made.losses, settings)
    network = build(recipe, made, tell)  # before packing: what is wrong with it is told at once
    with processes.joined(device_kind(settings)):
        leaks.warn(recipe.source_values(), recipe.split.held_out, tell)
        with processes.first_alone():
            learning, checking = split_samples(gather(recipe, tasks, out, where, tell), recipe, out, tell)
        device = choose_place(settings).device
        validate = Validation(samples=checking, losses=losses, device=device) if checking else None
        trained = train(network, learning, losses, settings, out=out, validate=validate, tell=tell, stop=where.stop)
        if not trained.whole or not processes.is_first():
            return Fitted(
                model=None,
                whole=trained.whole,
                card=None,
                sha256="",
                step=trained.step,
                seconds=trained.seconds,
                figures=trained.figures,
            )
    document = describe(recipe, made, [*learning, *checking], trained)
    model = save(heir(document, start) if start else document, trained, spread([s.image for s in learning]), out)
    sha256 = report(model, unseen(recipe, out, where, tell), out, tell)
    return Fitted(
        model=model,
        whole=True,
        card=model.with_suffix(".md"),
        sha256=sha256,
        step=trained.step,
        seconds=trained.seconds,
        figures=trained.figures,
        added=made.added,
    )


def checked(recipe: Recipe | str | Path, out: Path, where: Where, tell: Tell) -> Recipe:
    """The recipe without faults; folders of sources are looked at where they are still to be packed."""
    given = recipe if isinstance(recipe, Recipe) else Path(recipe)
    files = where.samples is None and not pack_path(out, where).exists()
    return check(given, data=where.data, files=files, tell=tell).recipe


def pack_path(out: Path, where: Where) -> Path:
    """Where the samples of a run lie."""
    return where.samples or where.pack or out / PACK


def heir(document: ModelDocument, start: ModelDocument) -> ModelDocument:
    """The document of a model that began with another's weights: it learnt from that one's sources too."""
    own = {source.name for source in document.sources}
    seen = {source.name for source in start.sources}
    return replace(
        document,
        sources=document.sources + tuple(source for source in start.sources if source.name not in own),
        use="research" if "research" in (document.use, start.use) else "open",
        held_out=splits.away_from_both(document.held_out, own, start.held_out, seen),
        training={**document.training, "started_from": f"{start.name} {start.version}".strip()},
    )


def gather(recipe: Recipe, tasks: Sequence[Task], out: Path, where: Where, tell: Tell) -> list[Sample]:
    """The samples of the recipe's sources: from a pack where there is one, else packed now."""
    path = pack_path(out, where)
    was_there = path.exists() and not where.samples
    if where.samples:
        if not path.exists():
            raise InputError(what="there is no such pack", where=str(path), mend="leave --samples out to make one")
    else:
        _pack(path, recipe, tasks, where.data, tell)
    samples = list(load_pack(path))
    check_sources(samples, recipe)
    for text in not_packed(samples, recipe, where.data) if was_there else ():
        tell(Warned(text=f"{text}; to learn from them too, remove {path} and give another --out"))
    return samples


def not_packed(samples: Sequence[Sample], recipe: Recipe, data: Path) -> list[str]:
    """Images that came to a lab's own folders after the samples were packed, a sentence a source."""
    said = []
    for choice in recipe.sources:
        source, root = recipe.source(choice.name)
        if not is_own(choice) or not (data / root).is_dir():
            continue
        packed = {splits.case_name(s.name) for s in samples if s.source == choice.name}
        try:
            new = [case.name for case in source.cases(data / root) if case.name not in packed]
        except InputError:
            continue  # what is wrong there is told before packing; this pack is whole
        if new:
            said.append(f"{choice.name}: {len(new)} images are not in the pack ({', '.join(new[:3])})")
    return said


def _pack(path: Path, recipe: Recipe, tasks: Sequence[Task], data: Path, tell: Tell) -> None:
    """See that the pack of this recipe is there: take over the one that was made for it, refuse one for another."""
    roots = [c.root or c.name for c in recipe.sources]
    asked = [
        Asked(source, data / root, choice.scales, root)
        for source, root, choice in zip(recipe.source_values(), roots, recipe.sources, strict=True)
    ]
    if not path.exists():
        write_pack(path, asked, tasks, mpp=recipe.mpp, tell=tell)
    elif key_of_pack(path) != pack_key(asked, tasks, mpp=recipe.mpp):
        raise UsageError(
            what="the pack was made for other sources, roots, scales, tasks, classes or mpp than the recipe has",
            where=str(path),
            mend="delete it, or give another --out (or --samples, to learn from it as it is)",
        )


def check_sources(samples: Sequence[Sample], recipe: Recipe) -> None:
    """Refuse a pack with sources that the recipe does not name: their licences were not asked about."""
    named = {choice.name for choice in recipe.sources}
    strangers = sorted({s.source for s in samples} - named)
    if strangers:
        raise UsageError(
            what=f"the pack holds sources that the recipe does not name: {', '.join(strangers)}",
            where="sources",
            mend="name them in the recipe, or make the pack anew",
        )


def split_samples(
    samples: Sequence[Sample], recipe: Recipe, out: Path, tell: Tell
) -> tuple[list[Sample], list[Sample]]:
    """Samples to learn from and to validate on; the split is saved in `out`, or must be the one that is saved there."""
    faults = splits.faults(samples, recipe.split)
    if faults:
        raise refuse(told(faults), where=recipe.name, is_input=False)
    for note in warnings_of(samples, recipe.split):
        tell(Warned(text=note))
    if (out / STATE).exists() and not (out / split_file.FILE).exists():
        raise UsageError(
            what=f"there is a training state without {split_file.FILE}: nobody knows what it has learnt from",
            where=str(out),
            mend="choose another --out",
        )
    limits = {choice.name: choice.first for choice in recipe.sources if choice.first}
    first = splits.First(groups=limits, seed=recipe.train.seed)
    began = begun_with(recipe)
    split_file.keep(out, split_file.document(samples, recipe.split, start=began, first=first, name=recipe.name))
    placed = list(zip(samples, splits.sides(samples, recipe.split, first), strict=True))
    return [s for s, side in placed if side == splits.TRAIN], [s for s, side in placed if side == splits.VALIDATION]


def begun_with(recipe: Recipe) -> str:
    """The model that weights come from at first, its use, what of it is frozen: another run does not go on here."""
    document, freeze = start_document(recipe), recipe.net.freeze
    name = f"{document.name} {document.version} ({document.use} use)" if document else recipe.net.start
    frozen = "all of it" if freeze is True else " and ".join(freeze or ())
    return f"{name}, {frozen} frozen" if frozen else name


def loop_settings(recipe: Recipe, where: Where) -> LoopSettings:
    """The recipe's settings with the shares written beside its sources, and the limit of this call."""
    settings = replace(recipe.train, shares={choice.name: choice.share for choice in recipe.sources})
    return settings if where.minutes is None else replace(settings, minutes=where.minutes)


def describe(recipe: Recipe, made: Plan, samples: Sequence[Sample], trained: Trained) -> ModelDocument:
    """The document of the model: what it is, what it learnt from and on which terms."""
    counts = Counter(s.source for s in samples)
    values = recipe.source_values()
    return ModelDocument(
        name=recipe.name,
        version=recipe.version,
        topology=recipe.net.name,
        settings=dict(made.settings),
        tasks=made.tasks,
        calibration=made.calibration,
        mpp=recipe.mpp,
        sources=tuple(
            SourceDocument(name=s.name, licence=s.licence, use=s.use, citation=s.citation, samples=counts[s.name])
            for s in values
        ),
        held_out={source: tuple(groups) for source, groups in recipe.split.held_out.items()},
        use="open" if all(s.use == "open" for s in values) else "research",
        training={
            "steps": trained.step,
            "crops": trained.step * recipe.train.batch,
            "validation": dict(trained.figures),
            **({"chosen": dict(trained.chosen)} if trained.chosen else {}),
        },
    )


def save(document: ModelDocument, trained: Trained, images: Sequence[np.ndarray], out: Path) -> Path:
    """Write the averaged weights with their document; what its layers see in `images` stands there too."""
    tensors = {name: value.float().cpu().numpy() for name, value in trained.network.state_dict().items()}
    model = out / f"{document.name}.safetensors"
    heads = heads_of(document.task_values(), document.mpp)
    weights.save_model(model, tensors, replace(document, ranges=ranges_of(document, tensors, heads, images)))
    return model


def unseen(recipe: Recipe, out: Path, where: Where, tell: Tell) -> list[Part]:
    """The images that training did not learn from by the saved split, as far as their sources are at hand.

    With the labels of the recipe's tasks alone: heads of a frozen model may have learnt from these images.
    """
    saved = split_file.read(out / split_file.FILE)
    parts: list[Part] = []
    for choice in recipe.sources if where.images else ():
        source, root = recipe.source(choice.name)
        names = {side: split_file.names_of(saved, source.name, side) for side in (splits.VALIDATION, splits.HELD_OUT)}
        if not any(names.values()):
            continue
        try:
            cases = [taught for case in source.cases(where.data / root) if (taught := _only(case, recipe.tasks)).labels]
        except InputError as error:
            tell(Warned(text=f"no figures on {source.name}: {error}"))
            continue
        parts += parts_of(source.name, cases, names, where.images)
    return parts


def _only(case: Case, tasks: Sequence[str]) -> Case:
    return replace(case, labels={task: read for task, read in case.labels.items() if task in tasks})
