"""One training of an experiment's run as it lies on the disk: whose it is, and whether it is done."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from geryon.atomic import whole_file
from geryon.errors import UsageError
from geryon.nets.catalogue import find_model, names_model
from geryon.nets.weights import file_sha256
from geryon.train import split_file
from geryon.train.checkpoints import STATE
from geryon.train.recipe import Recipe

FILE = "training.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A training that is done: all of a run, or one fold."""

    recipe: Recipe
    folder: Path
    key: str
    steps: int
    seconds: float

    @property
    def model(self) -> Path:
        """The model file that it left."""
        return self.folder / f"{self.recipe.name}.safetensors"

    def cases(self, source: str, *sides: str) -> set[str]:
        """Names of the source's cases on those sides of the saved split; none of a source that the recipe lacks."""
        saved = split_file.read(self.folder / split_file.FILE)
        return {name for side in sides for name in split_file.names_of(saved, source, side)}


def key_of(recipe: Recipe) -> str:
    """SHA-256 of all that decides about the weights: the recipe, and the bytes of a model that it starts from."""
    told, start = asdict(recipe), recipe.net.start
    if start and (names_model(start) or Path(start).is_file()):
        told["net"]["start"] = file_sha256(find_model(start))
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()


def begun(folder: Path, recipe: Recipe, key: str) -> Training | None:
    """The training in the folder, None where it has to be done or to go on.

    Raises UsageError where a training of another recipe lies there: what is half of each is of neither.
    """
    path = folder / FILE
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    if found["key"] != key and not (found["steps"] or (folder / STATE).exists()):
        return None  # nothing was learnt before it was stopped
    if found["key"] != key:
        raise UsageError(
            what="the training here has another recipe, or starts from other weights",
            where=str(folder),
            mend="remove that folder to train it anew, or choose another --out",
        )
    if not found["steps"]:
        return None
    return Training(recipe=recipe, folder=folder, key=key, steps=found["steps"], seconds=found["seconds"])


def mark(folder: Path, key: str, *, steps: int = 0, seconds: float = 0.0) -> None:
    """Write whose the folder is, and after its end what it took."""
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / FILE) as fresh:
        fresh.write_text(
            json.dumps({"key": key, "steps": steps, "seconds": round(seconds, 1)}) + "\n", encoding="utf-8"
        )
