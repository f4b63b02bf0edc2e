"""From an encoder's recipe to its file: sources, split, train, save, card. The same call resumes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from geryon import plugins
from geryon.errors import InputError, UsageError
from geryon.events import Tell, nobody
from geryon.nets.encoders.document import EncoderDocument, save_encoder
from geryon.nets.weights import SourceDocument
from geryon.train import leaks, split_file, splits
from geryon.train.checkpoints import STATE
from geryon.train.curves_page import write_curves
from geryon.train.encoders.bodies import Body, make_body
from geryon.train.encoders.card import write_card
from geryon.train.encoders.draws import Feed
from geryon.train.encoders.loop import Trained, train
from geryon.train.encoders.objectives import OBJECTIVES, SUPERVISED, UNTAUGHT, Asked
from geryon.train.encoders.patches import Patches, gather, source_of
from geryon.train.encoders.recipe import PLATEAU, EncoderRecipe, read_encoder_recipe
from geryon.train.encoders.validation import Validation, check_patches
from geryon.train.faults import of_error, refuse, told
from geryon.train.splits import Item, Split

Gathered = Mapping[str, Patches]
"""All places of each task, by its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """Files and limits of one fit, which are no part of what is learnt."""

    data: Path = Path()
    """Folder that holds the sources' folders."""
    gathered: Gathered = field(default_factory=dict)
    """Patches that are in memory already: an experiment reads each source once."""
    minutes: float | None = None
    """Instead of the recipe's limit."""
    stop: Callable[[], bool] = field(default=lambda: False)
    """Asked before each step; the same call goes on later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What a fit leaves in its folder."""

    encoder: Path | None
    """None where it was stopped before its end."""
    whole: bool
    sha256: str
    step: int
    seconds: float
    figures: Mapping[str, float]


def fit_encoder(
    recipe: EncoderRecipe | str | Path,
    *,
    out: str | Path,
    where: Where = Where(),  # noqa: B008 (a frozen value)
    tell: Tell = nobody,
) -> Fitted:
    """Train the encoder that the recipe asks for; leaves NAME.safetensors, NAME.md, curves and split.json in `out`."""
    recipe, out = recipe if isinstance(recipe, EncoderRecipe) else read_encoder_recipe(Path(recipe)), Path(out)
    body = make_body(recipe)  # before reading: what is wrong with it is told at once
    if recipe.encoder.objective == UNTAUGHT:
        trained = Trained(network=body.module.eval(), step=0, seconds=0.0, whole=True, figures={})
        return _save(recipe, body, (), trained, out)
    gathered = gather_all(recipe, where)
    leaks.warn(list({t.source: source_of(t) for t in recipe.task_values()}.values()), recipe.split.held_out, tell)
    learning, checking = split_patches(gathered, recipe, out, body.began)
    network = objective_of(recipe, body)
    settings = recipe.train if where.minutes is None else replace(recipe.train, minutes=where.minutes)
    validate = None
    if recipe.encoder.objective == SUPERVISED and any(len(p.labels) for p in checking):
        validate = Validation(
            tasks=[check_patches(p, settings.validate_on, side_px=recipe.patch_px, mpp=recipe.mpp) for p in checking]
        )
    feed = feed_of(recipe, learning, network)
    trained = train(network, feed, settings, out=out, validate=validate, tell=tell, stop=where.stop)
    if not trained.whole:
        return Fitted(
            encoder=None, whole=False, sha256="", step=trained.step, seconds=trained.seconds, figures=trained.figures
        )
    return _save(recipe, body, learning, replace(trained, network=trained.network.get_submodule("encoder")), out)


def objective_of(recipe: EncoderRecipe, body: Body) -> Any:
    """The torch module that is trained, its encoder inside."""
    make = plugins.look_up(OBJECTIVES, "geryon.encoder_objectives", recipe.encoder.objective)
    return make(
        Asked(
            encoder=body.module,
            code=recipe.encoder.code,
            seen_px=body.seen_px,
            tasks=recipe.task_values(),
            width=recipe.encoder.width,
        )
    )


def feed_of(recipe: EncoderRecipe, learning: Sequence[Patches], network: Any) -> Feed:
    """What the recipe's batches are made from."""
    settings = recipe.train
    return Feed(
        tasks=tuple(learning),
        batch=settings.batch,
        seed=settings.seed,
        side_px=recipe.patch_px,
        mpp=recipe.mpp,
        augment=settings.augment,
        by_task=settings.equal_tasks,
        by_class=settings.equal_classes and recipe.encoder.objective == SUPERVISED,
        views=network.views,
        pairs=network.pairs,
    )


def gather_all(recipe: EncoderRecipe, where: Where) -> list[Patches]:
    """The patches of the recipe's tasks; faults of all their sources at once."""
    found, faults = [], []
    for task in recipe.task_values():
        try:
            here = where.gathered.get(task.name)
            found.append(here or gather(task, where.data, patch_um=recipe.patch_um, mpp=recipe.mpp))
        except InputError as error:
            faults.append(of_error(error, task.source))
    if faults:
        raise refuse(told(faults), where=recipe.name, is_input=True)
    return found


def items_of(patches: Patches) -> list[Item]:
    """What a split must know of a task's images."""
    return [Item(source=i.source, group=i.group, name=i.name, stratum=i.stratum) for i in patches.images]


def split_patches(
    gathered: Sequence[Patches], recipe: EncoderRecipe, out: Path, began: str
) -> tuple[list[Patches], list[Patches]]:
    """Places to learn from and to validate on; the split is saved in `out`, or must be the one that is saved there."""
    items = [item for patches in gathered for item in items_of(patches)]
    faults = splits.faults(items, recipe.split)
    if faults:
        raise refuse(told(faults), where=recipe.name, is_input=False)
    if (out / STATE).exists() and not (out / split_file.FILE).exists():
        raise UsageError(
            what=f"there is a training state without {split_file.FILE}: nobody knows what it has learnt from",
            where=str(out),
            mend="choose another --out",
        )
    learning, checking = (
        [of_side(patches, recipe.split, side) for patches in gathered] for side in (splits.TRAIN, splits.VALIDATION)
    )
    if recipe.train.schedule == PLATEAU and not any(len(patches.labels) for patches in checking):
        raise UsageError(
            what="schedule: plateau needs patches to validate on, and the split leaves none",
            where=recipe.name,
            mend="change the split, or write schedule: cosine",
        )
    out.mkdir(parents=True, exist_ok=True)
    split_file.keep(out, split_file.document(items, recipe.split, start=began, name=recipe.name))
    return learning, checking


def of_side(patches: Patches, split: Split, side: str) -> Patches:
    """The places of a task on one side of the split."""
    return patches.of_images(placed == side for placed in splits.sides(items_of(patches), split))


def _save(recipe: EncoderRecipe, body: Body, learning: Sequence[Patches], trained: Trained, out: Path) -> Fitted:
    """Write the encoder's file, its card and its curves."""
    tensors = {name: value.float().cpu().numpy() for name, value in trained.network.state_dict().items()}
    document = describe(recipe, body, learning, trained)
    path = out / f"{recipe.name}.safetensors"
    out.mkdir(parents=True, exist_ok=True)
    sha256 = save_encoder(path, tensors, document)
    write_card(path.with_suffix(".md"), document, sha256=sha256)
    write_curves(out, f"{recipe.name} {recipe.version}")
    return Fitted(
        encoder=path, whole=True, sha256=sha256, step=trained.step, seconds=trained.seconds, figures=trained.figures
    )


def describe(recipe: EncoderRecipe, body: Body, learning: Sequence[Patches], trained: Trained) -> EncoderDocument:
    """What the encoder's file says: what it takes, what it learnt from and on which terms."""
    counts = {patches.task.source: len(patches.labels) for patches in learning}
    values = {task.source: source_of(task) for task in recipe.task_values()} if learning else {}
    own = [
        SourceDocument(name=s.name, licence=s.licence, use=s.use, citation=s.citation, samples=counts[s.name])
        for s in values.values()
    ]
    held_out = {name: groups for name, groups in recipe.split.held_out.items() if name in counts}
    return EncoderDocument(
        name=recipe.name,
        version=recipe.version,
        topology=body.topology,
        settings=dict(body.settings),
        mpp=recipe.mpp,
        patch_px=recipe.patch_px,
        code=recipe.encoder.code,
        sources=(*own, *(source for source in body.sources if source.name not in counts)),
        use=_use([*own, *body.sources], recipe),
        held_out=splits.away_from_both(held_out, counts, body.held_out, {source.name for source in body.sources}),
        training={
            "objective": recipe.encoder.objective,
            "tasks": list(recipe.tasks) if learning else [],
            "steps": trained.step,
            "patches": trained.step * recipe.train.batch,
            "validation": dict(trained.figures),
            **({"started_from": body.began} if body.began else {}),
            **({"chosen": dict(trained.chosen)} if trained.chosen else {}),
        },
    )


def _use(sources: Sequence[SourceDocument], recipe: EncoderRecipe) -> str:
    """What the encoder may be used for: what an experiment's licence allowed stays an experiment."""
    uses = {source.use for source in sources}
    if recipe.licence == "experiment" or "evaluate" in uses:
        return "experiment"
    return "research" if "research" in uses else "open"
