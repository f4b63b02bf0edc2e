"""Experiments on encoders: each task left out in turn, encoders trained on others, probes on the one left out.

An experiment is a YAML file with the key `encoders`: a base recipe and what each run changes of it. Trainings that come
out the same (another experiment's in the same folder too) are done once; a later call takes over what is there.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from geryon.atomic import whole_file
from geryon.events import Advanced, Finished, Started, Tell, nobody
from geryon.nets.encoder import Encoder, load_encoder
from geryon.nets.model import ResearchOnly
from geryon.train.augment_settings import STRICT
from geryon.train.checkpoints import STATE
from geryon.train.encoders.comparison import report
from geryon.train.encoders.fit import Where, fit_encoder
from geryon.train.encoders.patches import Patches, gather, get_patch_task
from geryon.train.encoders.probe import ProbeSettings
from geryon.train.encoders.probing import PLACES_MPP, PLACES_UM, Probed, is_taught, probe, read_probed
from geryon.train.encoders.recipe import EncoderRecipe, parse_encoder_recipe
from geryon.train.encoders.validation import some
from geryon.train.experiment import merge_patch
from geryon.train.recipe import read_yaml, valid
from geryon.train.settings import SettingsError

STAGE = "experiment"
TRAINED, RESULTS = "trained", "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderExperiment:
    """A question about encoders, and the runs that answer it."""

    __pydantic_config__ = STRICT

    question: str
    """Stands over the table and the plot."""
    encoders: Mapping[str, Any]
    """A recipe of an encoder; its tasks are those that can be left out or learnt from."""
    left_out: tuple[str, ...] = ()
    """Tasks that encoders are probed on, each by encoders that did not learn it; (): all of the base's."""
    runs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Name -> what it changes of the base (a JSON merge patch, RFC 7386): trained anew for each task that is left out,
    on the others. All are compared with the first."""
    once: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The same for objectives without labels, trained once, on the patches of all tasks."""
    others: Mapping[str, str] = field(default_factory=dict)
    """Name -> an encoder that is there, as geryon.load_encoder takes it; a file may lie below the data folder.
    {task} in it stands for the task that is left out, {count} for each of the counts and {seed} for each of the seeds.
    """
    counts: tuple[int, ...] = ()
    """Numbers of tasks: each run learns from so many of the others, nested, in an order drawn by the seed; (): all."""
    seeds: tuple[int, ...] = (0,)
    """Each training is done with each; with counts each is an order of tasks, too."""
    probe: ProbeSettings = field(default_factory=ProbeSettings)

    def __post_init__(self) -> None:
        names = [*self.runs, *self.once, *self.others]
        supervised = [n for n, patch in self.once.items() if _objective(self.encoders, patch) == "supervised"]
        tasks = self.encoders.get("tasks") or ()
        checks = (
            (not names, "neither runs nor others are named"),
            (not self.seeds, "seeds is empty"),
            (len(set(names)) < len(names), "a name stands for two encoders"),
            (supervised, f"once holds {', '.join(supervised)}, which would learn the classes that it is probed on"),
            (bool(self.counts) and max(self.counts) >= len(tasks), "counts goes beyond the tasks that are left"),
            (any(task not in tasks for task in self.left_out), "left_out names what is none of the base's tasks"),
        )
        faults = [text for bad, text in checks if bad]
        if faults:
            raise SettingsError(what="; ".join(faults), where="experiment", mend="change them")

    @property
    def probed(self) -> tuple[str, ...]:
        """The tasks that are left out in turn."""
        return self.left_out or tuple(self.encoders.get("tasks", ()))


def _objective(base: Mapping[str, Any], patch: Mapping[str, Any]) -> str:
    return str((merge_patch(base, patch).get("encoder") or {}).get("objective", "supervised"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """One encoder that is probed on one task."""

    task: str
    label: str
    """Name of the run, or of another's encoder."""
    seed: int
    count: int = 0
    """How many tasks it learnt from, where that is the question."""
    recipe: EncoderRecipe | None = None
    other: str = ""


def read_encoder_experiment(path: Path) -> EncoderExperiment:
    """The experiment in that YAML file; one UsageError lists its faults. Files that it names lie beside it."""
    experiment = valid(EncoderExperiment, read_yaml(path), where=str(path))
    for one in tries(experiment, folder=path.parent):  # all recipes are read before the first is trained
        assert one.recipe or one.other
    return experiment


def tries(experiment: EncoderExperiment, *, folder: Path = Path()) -> Iterator[Try]:
    """Everything that is probed, in the order in which it is done: first seed first, task by task."""
    tasks = list(experiment.encoders.get("tasks", ()))
    for seed in experiment.seeds:
        for task in experiment.probed:
            rest = [name for name in tasks if name != task]
            for label, patch in experiment.runs.items():
                for count in experiment.counts or (0,):
                    chosen = _first(rest, count, seed) if count else rest
                    recipe = _recipe(experiment, patch, seed, tasks=chosen, folder=folder)
                    yield Try(task=task, label=label, seed=seed, count=count, recipe=recipe)
            for label, patch in experiment.once.items():
                yield Try(task=task, label=label, seed=seed, recipe=_recipe(experiment, patch, seed, folder=folder))
            for label, other in experiment.others.items():
                yield from _others(experiment, Try(task=task, label=label, seed=seed, other=other))


def _others(experiment: EncoderExperiment, one: Try) -> Iterator[Try]:
    """The encoders that a name stands for."""
    if "{seed}" not in one.other and one.seed != experiment.seeds[0]:
        return
    for count in experiment.counts if "{count}" in one.other else (0,):
        told = {"task": one.task, "seed": str(one.seed), "count": str(count)}
        path = one.other
        for name, value in told.items():
            path = path.replace(f"{{{name}}}", value)
        yield replace(one, other=path, count=count)


def _first(rest: list[str], count: int, seed: int) -> list[str]:
    """So many of the tasks in the order of the seed, told in the order of the recipe: all of all are one recipe."""
    order = np.random.default_rng(seed).permutation(len(rest))
    return [name for i, name in enumerate(rest) if i in order[:count]]


def _recipe(
    experiment: EncoderExperiment, patch: Mapping[str, Any], seed: int, *, tasks: list[str] | None = None, folder: Path
) -> EncoderRecipe:
    merged = json.loads(json.dumps(merge_patch(experiment.encoders, patch)))  # its parts are changed while it is read
    merged["train"] = {**(merged.get("train") or {}), "seed": seed}
    if tasks is not None and "tasks" not in patch:
        merged["tasks"] = tasks
    return parse_encoder_recipe(merged, folder=folder, where=experiment.question)


def conduct(
    experiment: EncoderExperiment,
    *,
    out: Path,
    data: Path,
    folder: Path = Path(),
    tell: Tell = nobody,
    stop: Callable[[], bool] = lambda: False,
) -> Path | None:
    """Every training and probe that is not there yet, then the table and the plot; None where it was stopped.

    The table is written anew after every probe, so that what is done can be read while the rest is at work.
    """
    begun = time.monotonic()
    every = list(tries(experiment, folder=folder))
    at = _At(experiment=experiment, out=out, data=data, tell=tell, stop=stop, places={})
    tell(Started(stage=STAGE, total=len(every), unit="probes"))
    done: list[tuple[Try, Probed]] = []
    for one in every:
        found = _result(at, one)
        if found is None:
            return None
        done.append((one, found))
        report(experiment, done, out)
        tell(Advanced(stage=STAGE, note=f"{one.label} on {one.task}"))
    tell(Finished(stage=STAGE, seconds=time.monotonic() - begun))
    return report(experiment, done, out)


@dataclass(frozen=True, slots=True, kw_only=True)
class _At:
    """An experiment at work."""

    experiment: EncoderExperiment
    out: Path
    data: Path
    tell: Tell
    stop: Callable[[], bool]
    places: dict[str, Patches]
    """All places of the tasks that were read so far."""

    def patches(self, task: str) -> Patches:
        if task not in self.places:
            self.places[task] = gather(get_patch_task(task), self.data, patch_um=PLACES_UM, mpp=PLACES_MPP)
        return self.places[task]


def _result(at: _At, one: Try) -> Probed | None:
    """What a probe says, asked now where it is not known; None where the training before it was stopped."""
    path = _encoder_of(at, one)
    if path is None:
        return None
    settings = at.experiment.probe
    sha256 = hashlib.sha256(path.read_bytes() if isinstance(path, Path) else path.encode()).hexdigest()
    key = hashlib.sha256(json.dumps([sha256, one.task, asdict(settings)], sort_keys=True).encode()).hexdigest()
    file = at.out / RESULTS / f"{key[:16]}.json"
    if file.exists():
        return read_probed(json.loads(file.read_text(encoding="utf-8")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResearchOnly)  # it is only compared with others
        encoder: Encoder = load_encoder(str(path))
    patches = at.patches(one.task)
    patches = patches.rows(some(len(patches.labels), settings.patches))
    found = probe(encoder, patches, settings, taught=is_taught(encoder))
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as fresh:
        fresh.write_text(json.dumps(found.document()) + "\n", encoding="utf-8")
    return found


def _encoder_of(at: _At, one: Try) -> Path | str | None:
    """The encoder's file, trained now where it is not there; None where that was stopped."""
    if one.recipe is None:
        return next((path for path in (Path(one.other), at.data / one.other) if path.is_file()), one.other)
    recipe = one.recipe
    folder = at.out / TRAINED / f"{recipe.name}-{key_of(recipe)}"
    path = folder / f"{recipe.name}.safetensors"
    if path.exists():
        return path
    at.tell(Advanced(stage=STAGE, n=0, note=f"training {folder.name}: {one.label} on {', '.join(recipe.tasks)}"))
    same = (recipe.patch_um, recipe.mpp) == (PLACES_UM, PLACES_MPP)
    gathered = {task: at.patches(task) for task in recipe.tasks} if same else {}
    fitted = fit_encoder(recipe, out=folder, where=Where(data=at.data, gathered=gathered, stop=at.stop), tell=at.tell)
    if not fitted.whole:
        return None
    (folder / STATE).unlink(missing_ok=True)  # the encoder is whole: the state would only fill the disk
    return path


def key_of(recipe: EncoderRecipe) -> str:
    """A name for all that decides about the weights."""
    told = json.dumps(asdict(recipe), sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:12]
