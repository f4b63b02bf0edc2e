"""From a recipe to a model file: sources, split, pack, train, save, card.

The same call resumes: samples already packed and the state of the loop are taken over.
"""

from __future__ import annotations

import hashlib
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import torch
from torch import nn

from geryon import plugins
from geryon.errors import InputError, UsageError
from geryon.events import Tell, Warned, nobody
from geryon.nets import weights
from geryon.nets.model import find_model, heads_of
from geryon.nets.topologies import TOPOLOGIES
from geryon.nets.weights import ModelDocument, SourceDocument
from geryon.tasks.task import Task
from geryon.train import leaks
from geryon.train.learner import choose_place
from geryon.train.loop import Trained, train
from geryon.train.pack import Asked, Sample, key_of_pack, load_pack, pack_key, write_pack
from geryon.train.recipe import ALLOWED, Recipe, Split, read_recipe
from geryon.train.report import HELD_OUT, IMAGES, VALIDATION, Part, parts_of, report
from geryon.train.settings import LoopSettings
from geryon.train.source import Case, get_source
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
    """None where it was stopped before its end."""
    card: Path | None
    sha256: str
    step: int
    figures: Mapping[str, float]


def fit(
    recipe: Recipe | str | Path,
    *,
    out: str | Path,
    where: Where = Where(),  # noqa: B008 (a frozen value)
    tell: Tell = nobody,
) -> Fitted:
    """Train what the recipe asks for; leaves NAME.safetensors, NAME.md, figures, curves and overlays in `out`.

    The model is calibrated on its validation images and measured on these and on what is held out (train.report).
    """
    recipe = recipe if isinstance(recipe, Recipe) else read_recipe(Path(recipe))
    out = Path(out)
    tasks = recipe.task_values()
    start = start_document(recipe)
    leaks.warn(recipe.source_values(), recipe.split.held_out, tell)
    samples = gather(recipe, tasks, out, where, tell)
    learning, checking = split_samples(samples, recipe.split)
    settings = loop_settings(recipe, where)
    losses = {f"{t.name}/{m.name}": m.loss for t in tasks for m in t.maps}
    network = build(recipe, tasks, tell)
    validate = Validation(samples=checking, losses=losses, device=choose_place(settings).device) if checking else None
    trained = train(network, learning, losses, settings, out=out, validate=validate, tell=tell, stop=where.stop)
    if not trained.whole:
        return Fitted(model=None, card=None, sha256="", step=trained.step, figures=trained.figures)
    document = describe(recipe, tasks, samples, trained)
    model = save(heir(document, start) if start else document, trained, out)
    sha256 = report(model, unseen(recipe, checking, where, tell), out, tell)
    return Fitted(model=model, card=model.with_suffix(".md"), sha256=sha256, step=trained.step, figures=trained.figures)


def start_document(recipe: Recipe) -> ModelDocument | None:
    """What the model says that weights come from at first; refused where the recipe's licence forbids its use."""
    if recipe.net.start in ("", "imagenet"):
        return None
    document = weights.read_document(find_model(recipe.net.start))
    if document.use not in ALLOWED[recipe.licence]:
        raise UsageError(
            what=f"the model {document.name} is for {document.use} only, the recipe's licence is {recipe.licence}",
            where=f"net.start ({recipe.net.start})",
            mend="write licence: research, or start from a model of open use",
        )
    return document


def heir(document: ModelDocument, start: ModelDocument) -> ModelDocument:
    """The document of a model that began with another's weights: it learnt from that one's sources too."""
    own = {source.name for source in document.sources}
    seen = {source.name for source in start.sources}
    held_out = {name: groups for name, groups in start.held_out.items() if name not in own}
    for name, groups in document.held_out.items():
        # What only the new training left out was seen by the old one.
        kept = set(start.held_out.get(name, ())) if name in seen else set(groups)
        held_out[name] = tuple(group for group in groups if group in kept)
    return replace(
        document,
        sources=document.sources + tuple(source for source in start.sources if source.name not in own),
        use="research" if "research" in (document.use, start.use) else "open",
        held_out=held_out,
        training={**document.training, "started_from": f"{start.name} {start.version}"},
    )


def gather(recipe: Recipe, tasks: Sequence[Task], out: Path, where: Where, tell: Tell) -> list[Sample]:
    """The samples of the recipe's sources: from a pack where there is one, else packed now."""
    path = where.samples or where.pack or out / PACK
    if where.samples:
        if not path.exists():
            raise InputError(what="there is no such pack", where=str(path), mend="leave --samples out to make one")
    else:
        _pack(path, recipe, tasks, where.data, tell)
    samples = [s for s in load_pack(path) if not is_held_out(s.source, s.group, s.name, recipe.split)]
    check_sources(samples, recipe)
    return samples


def _pack(path: Path, recipe: Recipe, tasks: Sequence[Task], data: Path, tell: Tell) -> None:
    """See that the pack of this recipe is there: take over the one that was made for it, refuse one for another."""
    roots = {c.name: c.root or c.name for c in recipe.sources}
    asked = [Asked(get_source(c.name), data / roots[c.name], c.scales, roots[c.name]) for c in recipe.sources]
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


def is_held_out(source: str, group: str, name: str, split: Split) -> bool:
    """True for what the recipe keeps away from training and validation, by group or by name."""
    kept_away = split.held_out.get(source, ())
    return any(fnmatchcase(group, each) or fnmatchcase(name, each) for each in kept_away)


def split_samples(samples: Sequence[Sample], split: Split) -> tuple[list[Sample], list[Sample]]:
    """Samples to learn from and to validate on; no group (patient) is in both.

    Groups are ranked by a digest of their names, so one more group does not shuffle the others.
    """
    kept_out: set[tuple[str, str]] = set()
    for source in sorted({s.source for s in samples}):
        groups = sorted({s.group for s in samples if s.source == source}, key=lambda g: _rank(split.seed, source, g))
        if split.validation > 0 and len(groups) > 1:
            n = min(len(groups) - 1, max(1, round(split.validation * len(groups))))
            kept_out |= {(source, group) for group in groups[:n]}
    learning = [s for s in samples if (s.source, s.group) not in kept_out]
    return learning, [s for s in samples if (s.source, s.group) in kept_out]


def _rank(seed: int, source: str, group: str) -> str:
    return hashlib.sha256(f"{seed}/{source}/{group}".encode()).hexdigest()


def loop_settings(recipe: Recipe, where: Where) -> LoopSettings:
    """The recipe's settings with the shares written beside its sources, and the limit of this call."""
    settings = replace(recipe.train, shares={choice.name: choice.share for choice in recipe.sources})
    return settings if where.minutes is None else replace(settings, minutes=where.minutes)


def build(recipe: Recipe, tasks: Sequence[Task], tell: Tell) -> nn.Module:
    """The network with a head for each map of the tasks, started as the recipe says."""
    torch.manual_seed(recipe.train.seed)
    chosen = recipe.net
    make = plugins.look_up(TOPOLOGIES, "geryon.topologies", chosen.name)
    network: nn.Module = make(chosen.settings, heads_of(tasks, recipe.mpp))
    if chosen.start == "imagenet":
        _start_from_imagenet(network, make)
    elif chosen.start:
        n = start_from(network, find_model(chosen.start))
        whole = sum(not name.endswith("num_batches_tracked") for name in network.state_dict())
        if n < whole:
            tell(Warned(text=f"only {n} of {whole} weights could start from {chosen.start}"))
    return network


def _start_from_imagenet(network: nn.Module, make: Callable[..., nn.Module]) -> None:
    start = getattr(sys.modules[make.__module__], "start_from_imagenet", None)
    if start is None:
        raise UsageError(what="this network has no ImageNet weights", where="net.start", mend="leave net.start out")
    start(network)


def start_from(network: nn.Module, path: Path) -> int:
    """Fill the weights that the model file has; returns how many were there in the same shape.

    Where a layer is wider or narrower than the file's, the channels that both have are taken, so that a
    network of other widths need not begin anew.
    """
    given, state = weights.read_tensors(path), network.state_dict()
    whole = 0
    for name, value in state.items():
        other = given.get(name)
        if other is None or other.ndim != value.ndim:
            continue
        common = tuple(slice(0, min(a, b)) for a, b in zip(value.shape, other.shape, strict=True))
        value[common] = torch.from_numpy(other[common].astype(np.float32)).to(value.dtype)
        whole += tuple(value.shape) == other.shape
    if not whole:
        raise InputError(what="has no weight that fits this network", where=str(path), mend="choose another net.start")
    network.load_state_dict(state)
    return whole


def describe(recipe: Recipe, tasks: Sequence[Task], samples: Sequence[Sample], trained: Trained) -> ModelDocument:
    """The document of the model: what it is, what it learnt from and on which terms."""
    counts = Counter(s.source for s in samples)
    values = recipe.source_values()
    return ModelDocument(
        name=recipe.name,
        version=recipe.version,
        topology=recipe.net.name,
        settings=dict(recipe.net.settings),
        tasks=tuple(weights.task_document(task) for task in tasks),
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
        },
    )


def save(document: ModelDocument, trained: Trained, out: Path) -> Path:
    """Write the averaged weights with their document."""
    tensors = {name: value.float().cpu().numpy() for name, value in trained.network.state_dict().items()}
    model = out / f"{document.name}.safetensors"
    weights.save_model(model, tensors, document)
    return model


def unseen(recipe: Recipe, checking: Sequence[Sample], where: Where, tell: Tell) -> list[Part]:
    """The images that training did not learn from, as far as their sources are at hand."""
    validating = {(s.source, s.group) for s in checking}
    parts: list[Part] = []
    for choice, source in zip(recipe.sources if where.images else (), recipe.source_values(), strict=False):

        def split_of(case: Case, source: str = source.name) -> str:
            if is_held_out(source, str(case.group), case.name, recipe.split):
                return HELD_OUT
            return VALIDATION if (source, str(case.group)) in validating else ""

        try:
            cases = list(source.cases(where.data / (choice.root or choice.name)))
        except InputError as error:
            tell(Warned(text=f"no figures on {source.name}: {error}"))
            continue
        parts += parts_of(source.name, cases, split_of, where.images)
    return parts
