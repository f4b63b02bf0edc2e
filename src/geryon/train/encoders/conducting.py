"""The work of an experiment on encoders: trainings, probes, the table and the plot.

Trainings that come out the same (another experiment's in the same folder too) are done once; a later call takes over
what is there.
"""

from __future__ import annotations

import hashlib
import json
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from geryon.atomic import whole_file
from geryon.events import Advanced, Finished, Started, Tell, nobody
from geryon.nets.encoder import Encoder, load_encoder
from geryon.nets.model import ResearchOnly
from geryon.train.checkpoints import STATE
from geryon.train.encoders.comparison import report
from geryon.train.encoders.experiment import EncoderExperiment, Try, find_other, tries
from geryon.train.encoders.fit import Where, fit_encoder
from geryon.train.encoders.patches import Patches, gather, get_patch_task
from geryon.train.encoders.probing import PLACES_MPP, PLACES_UM, Probed, is_taught, probe, read_probed
from geryon.train.encoders.recipe import EncoderRecipe
from geryon.train.encoders.validation import some

STAGE = "experiment"
TRAINED, RESULTS = "trained", "results"


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
        return find_other(one.other, at.data)
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
    told = json.dumps({**asdict(recipe), "train": recipe.train.deciding()}, sort_keys=True, default=str)
    return hashlib.sha256(told.encode()).hexdigest()[:12]
