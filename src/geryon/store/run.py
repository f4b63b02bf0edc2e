"""What a run says of itself: run.json, written last, so that its presence means whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from geryon.atomic import remove, whole_file
from geryon.errors import InputError
from geryon.space.boxes import Frame

NAME = "run.json"
SCHEMA = 1
"""Raised when a field changes its meaning; older files stay readable."""
COMPLETE = "complete"
REPEATABLE = ("labels/", "features")
"""How files are called that are made again where they are gone, without the objects."""
KINDS = {"own": "bounded", "join": "unbounded", "place": "raster"}
"""A task's seam rule -> the kind that stands in run.json."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUsed:
    """Which weights made it."""

    name: str
    sha256: str = ""
    licence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDone:
    """One task of the run, as much as a reader of its files needs."""

    kind: str
    """"bounded" (nuclei), "unbounded" (glands, lumina) or "raster" (tissue)."""
    mpp: float
    classes: tuple[str, ...] = ()
    colours: tuple[tuple[int, int, int], ...] = ()
    """One RGB a class, or one in all."""
    within: str = ""
    """The task whose objects hold these."""
    objects: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    """Objects (or raster cells) by class."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Objects decoded but not kept, by reason: decoded = objects + all of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One slide's run; `folder` is where it lies and is not written."""

    version: str
    """Geryon's."""
    command: tuple[str, ...]
    model: ModelUsed
    slide: str
    """Its name; also the folder's."""
    size_level0: tuple[int, int]
    """Width, height in pixels."""
    mpp: tuple[float, float]
    """x, y: µm per pixel of level0."""
    mpp_source: str
    tasks: Mapping[str, TaskDone]
    question: Mapping[str, str] = field(default_factory=dict)
    """Digests of what the results depend on (slide, resolution, model, mask, windows); the same question is resumed."""
    stain: Mapping[str, Any] = field(default_factory=dict)
    """How the stain was normalised: {"method", "applied", "reason", "slide"}; empty where it was not asked."""
    files: Mapping[str, str] = field(default_factory=dict)
    """What -> file, relative to the folder: "objects/nuclei", "tissue", "quality", "labels/nuclei", "features"."""
    origin_level0: tuple[int, int] = (0, 0)
    """x, y of the origin inside the file's whole canvas (MRXS, SCN); our coordinates do not include it."""
    reader: str = ""
    engine: str = ""
    tissue_mm2: float = 0.0
    quality: Mapping[str, float] = field(default_factory=dict)
    """Shares of the tissue."""
    windows: Mapping[str, int] = field(default_factory=dict)
    """planned = done + all that were skipped, by reason."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By stage."""
    peak_memory_bytes: int = 0
    warnings: tuple[str, ...] = ()
    status: str = COMPLETE
    schema: int = SCHEMA
    folder: Path | None = None

    @property
    def paths(self) -> dict[str, Path]:
        """What -> file on this machine."""
        assert self.folder is not None, "a record that was read or written knows its folder"
        return {name: self.folder / file for name, file in self.files.items()}

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Task -> class -> number."""
        return {name: dict(task.counts) for name, task in self.tasks.items()}

    @property
    def object_tasks(self) -> tuple[str, ...]:
        """The tasks that have a table of objects."""
        return tuple(name for name in self.tasks if f"objects/{name}" in self.files)

    @property
    def frame(self) -> Frame:
        """The frame that all stored coordinates are in."""
        width, height = self.size_level0
        return Frame(name="level0", mpp_x=self.mpp[0], mpp_y=self.mpp[1], width=width, height=height)


def write_run(folder: Path, record: RunRecord) -> RunRecord:
    """Write run.json, the last file of a run; return the record with its folder."""
    document = asdict(replace(record, folder=None))
    del document["folder"]
    text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
    with whole_file(folder / NAME) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return replace(record, folder=folder)


def withdraw_run(folder: Path) -> None:
    """Remove run.json before anything beside it changes: it may not vouch for files of another run."""
    remove(folder / NAME)


def read_run(folder: Path) -> RunRecord:
    """The record of a whole run; InputError says what the folder holds instead."""
    path = folder / NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _no_run(folder) from error
    except OSError as error:
        raise InputError(what=f"can't be read: {error.strerror or error}", where=str(path)) from error
    except ValueError as error:
        raise InputError(what=f"is no JSON: {error}", where=str(path), mend="run geryon segment again") from error
    record = replace(_record(document, path), folder=folder)
    if record.status != COMPLETE:
        raise InputError(
            what=f"the run is not complete: {record.status}",
            where=str(folder),
            mend="run the same command to resume it",
        )
    return record


def is_whole(folder: Path) -> bool:
    """True when the run in `folder` is complete and each file that it names is there.

    Label maps may be gone: they are drawn again from the tables; and so may features: the encoder alone makes them.
    """
    try:
        record = read_run(folder)
    except InputError:
        return False
    return all(path.is_file() for what, path in record.paths.items() if not what.startswith(REPEATABLE))


def _no_run(folder: Path) -> InputError:
    if not folder.is_dir():
        return InputError(what="there is no such folder", where=str(folder), mend="give OUT/<slide> of geryon segment")
    if (folder / ".parts").is_dir():
        return InputError(
            what="the run is not finished", where=str(folder), mend="run the same geryon segment command to resume it"
        )
    inner = sorted(p.parent.name for p in folder.glob(f"*/{NAME}"))
    there = sorted(p.name for p in folder.iterdir() if not p.name.startswith("."))
    listed = ", ".join(there[:8]) + (f" and {len(there) - 8} more" if len(there) > 8 else "")
    return InputError(
        what=f"no {NAME}; it holds {listed or 'nothing'}",
        where=str(folder),
        mend=f"give one of its slides: {', '.join(inner[:8])}" if inner else "give OUT/<slide> of geryon segment",
    )


def _record(document: Any, path: Path) -> RunRecord:
    """Checked where a fault is likely: another program's file, a newer one, a mended one."""
    if not isinstance(document, dict) or not isinstance(document.get("schema"), int):
        raise InputError(
            what="is no record of a Geryon run", where=str(path), mend="give OUT/<slide> of geryon segment"
        )
    if document["schema"] > SCHEMA:
        raise InputError(
            what=f"was written by a newer Geryon ({document.get('version')})", where=str(path), mend="update geryon"
        )
    try:
        tasks = {name: _task(values) for name, values in document.pop("tasks").items()}
        model = ModelUsed(**document.pop("model"))
        fixed: dict[str, Any] = {name: _pair(document.pop(name)) for name in ("size_level0", "mpp", "origin_level0")}
        fixed |= {name: tuple(document.pop(name)) for name in ("command", "warnings")}
        return RunRecord(tasks=tasks, model=model, **fixed, **document)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(what=f"a field is missing or wrong: {error}", where=str(path)) from error


def _task(values: dict[str, Any]) -> TaskDone:
    colours = tuple((int(r), int(g), int(b)) for r, g, b in values.pop("colours"))
    return TaskDone(classes=tuple(values.pop("classes")), colours=colours, **values)


def _pair(values: Any) -> tuple[Any, Any]:
    x, y = values
    return x, y
