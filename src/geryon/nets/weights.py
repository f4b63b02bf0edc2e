"""A model as one file: tensors in safetensors, and one JSON document in its header that says what they are.

Safetensors metadata are strings only, so the document is stored as one string under the key "geryon".
Nothing in the file is code, and nothing of it is trusted before its header and document are checked.
"""

from __future__ import annotations

import colorsys
import hashlib
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import safetensors
from safetensors.numpy import load_file, save_file

from geryon.atomic import whole_file
from geryon.errors import InputError
from geryon.nets.faults import faults
from geryon.tasks.calibration import Calibration
from geryon.tasks.task import ClassTree, Task, task_of_file, with_classes

KEY = "geryon"
ENCODER_KEY, SLIDES_KEY = "geryon-encoder", "geryon-slides"
OTHERS = {KEY: "a model", ENCODER_KEY: "an encoder", SLIDES_KEY: "a model of slides"}
"""What a file is by the key of its document."""
FORMAT = 1
"""Raised when older readers could misread a document."""
Document = TypeVar("Document")
HEADER_MAX_BYTES = 100_000_000
"""What safetensors itself allows; a larger length is a damaged file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDocument:
    """One task as the model knows it."""

    name: str
    """In tasks.TASKS or an entry point."""
    classes: tuple[tuple[str, tuple[str, ...]], ...] | None = None
    """The model's own class tree, where it differs from the task's."""
    is_cut: bool = False
    """Whether the tree's branches are its classes."""
    mpp: float | None = None
    """The model's own resolution of the maps, where it differs from the task's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDocument:
    """One training source and its terms."""

    name: str
    licence: str
    use: str
    """"open" or "research"."""
    citation: str = ""
    samples: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelDocument:
    """What a weights file says about itself."""

    name: str
    version: str
    topology: str
    """In nets.topologies.TOPOLOGIES."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the topology."""
    tasks: tuple[TaskDocument, ...]
    mpp: float = 0.5
    """µm per pixel of the images the network takes."""
    normalisation: str = "RGB 0..255, as read; scaled inside the network"
    sources: tuple[SourceDocument, ...] = ()
    use: str = "open"
    """"research" where any source is for research only."""
    windows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Named cuttings, {name: {"window_px", "halo_px"}}: "default" where this network wants its own."""
    held_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """{source: groups that training did not see}."""
    training: Mapping[str, Any] = field(default_factory=dict)
    """Figures of the run: steps, seconds, losses, validation."""
    calibration: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """{task: the numbers of its Calibration}, for tasks that have one."""
    ranges: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """{convolution: least and largest input} on training images: engines may compute these in eight bits
    (nets/ranges.py); empty where nobody looked."""
    format: int = FORMAT

    def task_values(self) -> tuple[Task, ...]:
        """The tasks with the model's own classes and resolution in place of the defaults."""
        return tuple(self._calibrated(task_value(document)) for document in self.tasks)

    def _calibrated(self, task: Task) -> Task:
        numbers = self.calibration.get(task.name)
        return replace(task, calibration=Calibration(**numbers)) if numbers else task


def task_value(document: TaskDocument) -> Task:
    """The task of a model's document, with the model's own classes and resolution."""
    task = task_of_file(document.name)
    if document.mpp is not None:
        task = replace(task, mpp=document.mpp)
    if document.classes is None:
        return task
    tree = ClassTree(document.classes, document.is_cut)
    return replace(with_classes(task, tree), colours=colours_of(tree, task))


def colours_of(tree: ClassTree, task: Task) -> tuple[tuple[int, int, int], ...]:
    """The task's colours for classes that it knows by name, at any depth; spread ones for a tree of strangers."""
    known = task.classes
    first = [known.below(name)[:1] if known else () for name in tree.leaves]
    if all(first):
        return tuple(task.colours[found[0]] for found in first)
    return spread_colours(len(tree.leaves))


def spread_colours(n: int) -> tuple[tuple[int, int, int], ...]:
    """n RGB colours that differ, for class trees that bring none (hues by the golden angle)."""
    hues = [(i * 0.618034) % 1.0 for i in range(n)]
    return tuple(_rgb(*colorsys.hsv_to_rgb(hue, 0.75, 0.85)) for hue in hues)


def _rgb(r: float, g: float, b: float) -> tuple[int, int, int]:
    return round(255 * r), round(255 * g), round(255 * b)


def task_document(task: Task) -> TaskDocument:
    """How this task is written into a model file: with its classes and mpp, so that later defaults change nothing."""
    tree = task.classes
    return TaskDocument(
        name=task.name, classes=tree.branches if tree else None, is_cut=bool(tree and tree.is_cut), mpp=task.mpp
    )


def save_model(path: Path, tensors: Mapping[str, np.ndarray], document: ModelDocument, *, half: bool = True) -> str:
    """Write the model file, whole or not at all, and return its SHA-256; `half` as in `save_with_document`."""
    return save_with_document(path, tensors, {KEY: asdict(document)}, half=half)


def save_with_document(
    path: Path, tensors: Mapping[str, np.ndarray], document: Mapping[str, Mapping[str, Any]], *, half: bool
) -> str:
    """Write tensors and a document, {its key: the document}, whole or not at all; return the file's SHA-256.

    With `half` weights are kept as float16; statistics of norms, and tensors that it can't hold, stay float32.
    InputError for weights that are not finite.
    """
    kept = {
        k: _stored(k, np.ascontiguousarray(v), half)
        for k, v in tensors.items()
        if not k.endswith("num_batches_tracked")
    }
    told = {key: json.dumps(value, sort_keys=True, allow_nan=False) for key, value in document.items()}
    with whole_file(path) as fresh:
        save_tensors(kept, fresh, metadata=told)
    return file_sha256(path)


def save_tensors(tensors: dict[str, np.ndarray], path: Path, *, metadata: dict[str, str]) -> None:
    """Write a safetensors file; what the disk refuses is an OSError, as of any other file."""
    path.touch()
    mode = path.stat().st_mode
    try:
        save_file(tensors, path, metadata=metadata)
    except safetensors.SafetensorError as error:
        raise OSError(str(error)) from error
    path.chmod(mode)  # the library lets nobody but the owner read what it writes
    if len(metadata) > 1:
        _sort_metadata(path)


def _sort_metadata(path: Path) -> None:
    """Put the metadata in order of their keys: the library's is random, and the same input gives the same bytes."""
    with path.open("r+b") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length, "the header is written as compactly as before"
        file.seek(8)
        file.write(text.ljust(length))


def _stored(name: str, tensor: np.ndarray, half: bool) -> np.ndarray:
    if tensor.dtype.kind != "f":
        return tensor
    full = tensor.astype(np.float32)
    if not np.isfinite(full).all():
        raise InputError(
            what=f"the weight {name} is not finite", mend="train with a lower rate; the model is not written"
        )
    if not half or name.endswith(("running_mean", "running_var")) or np.abs(full).max(initial=0.0) > 6e4:
        return full
    return full.astype(np.float16)


def read_document(path: Path) -> ModelDocument:
    """The document of a model file; only its header is read."""
    return read_with_key(path, KEY, _parsed)


def read_with_key(path: Path, key: str, parsed: Callable[[Any], Document]) -> Document:
    """The document that a file holds under that key, made from its JSON by `parsed`, whose ValueError says what is
    wrong with it; only the file's header is read."""
    metadata = read_metadata(path)
    if key not in metadata:
        held = next((f"{OTHERS[other]}, not {OTHERS[key]}" for other in OTHERS if other in metadata), "")
        raise InputError(
            what=f"is {held}" if held else "holds tensors but no Geryon document",
            where=str(path),
            mend=f"give {OTHERS[key]}" if held else "convert weights of others with geryon import-weights",
        )
    try:
        return parsed(json.loads(metadata[key]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(
            what=f"its document can't be used: {error}", where=str(path), mend="use the file as it was written"
        ) from error


def read_metadata(path: Path) -> dict[str, str]:
    """The texts in the header of a safetensors file, {} where it has none."""
    metadata = _header(path).get("__metadata__", {})
    return metadata if isinstance(metadata, dict) else {}


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """All tensors of a model file, as stored (float16 or float32)."""
    _header(path)
    try:
        tensors: dict[str, np.ndarray] = load_file(path)
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise InputError(what=f"is damaged: {error}", where=str(path), mend="fetch or copy it again") from error
    return tensors


def _header(path: Path) -> dict[str, Any]:
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = struct.unpack("<Q", file.read(8).ljust(8, b"\0"))[0]
            if not 2 <= length <= min(HEADER_MAX_BYTES, size - 8):
                raise InputError(
                    what="is no safetensors file or is cut short", where=str(path), mend="fetch or copy it again"
                )
            header = json.loads(file.read(length))
    except OSError as error:
        raise InputError(
            what=f"can't be read: {error.strerror}", where=str(path), mend="check the path and its rights"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(what="has a damaged header", where=str(path), mend="fetch or copy it again") from error
    _check_extent(header, size - 8 - length, path)
    return dict(header)


def _check_extent(header: Any, room: int, path: Path) -> None:
    """Tensors must fill the rest of the file exactly; what is inside is checked by safetensors on loading."""
    try:
        ends = [int(entry["data_offsets"][1]) for name, entry in header.items() if name != "__metadata__"]
    except (AttributeError, KeyError, TypeError, IndexError, ValueError) as error:
        raise InputError(what="has a damaged header", where=str(path), mend="fetch or copy it again") from error
    if max(ends, default=0) != room:
        raise InputError(
            what=f"is cut short or longer than it says ({max(ends, default=0)} bytes promised, {room} there)",
            where=str(path),
            mend="fetch or copy it again",
        )


def _parsed(raw: Any) -> ModelDocument:
    if not isinstance(raw, dict):
        raise ValueError("it is not an object")
    if raw.get("format", 0) != FORMAT:
        raise ValueError(f"it has format {raw.get('format')!r}, this version reads {FORMAT}: update geryon")
    known = {f.name for f in fields(ModelDocument)}
    given = {k: v for k, v in raw.items() if k in known}
    tasks = tuple(TaskDocument(**{**t, "classes": _branches(t.get("classes"))}) for t in given.pop("tasks"))
    sources = tuple(SourceDocument(**s) for s in given.pop("sources", ()))
    document = ModelDocument(tasks=tasks, sources=sources, **given)
    if found := faults(document):
        raise ValueError("; ".join(found))
    return document


def _branches(raw: Any) -> tuple[tuple[str, tuple[str, ...]], ...] | None:
    return None if raw is None else tuple((str(name), tuple(str(leaf) for leaf in leaves)) for name, leaves in raw)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_card(path: Path, document: ModelDocument, *, sha256: str = "", measured: Sequence[str] = ()) -> None:
    """Write the model card: what it does, what it learnt from and on which terms, what was measured."""
    with whole_file(path) as fresh:
        fresh.write_text(card(document, sha256=sha256, measured=measured), encoding="utf-8")


def card(document: ModelDocument, *, sha256: str = "", measured: Sequence[str] = ()) -> str:
    """The model card in Markdown; lines of `measured` stand in place of the bare figures in the document."""
    use = {
        "open": "any use, within the licences of its sources",
        "research": "RESEARCH ONLY: a source forbids other use",
    }
    facts = [
        ("topology", document.topology + _settings(document.settings)),
        ("input", f"{document.mpp:g} µm per pixel; {document.normalisation}"),
        ("use", use[document.use]),
        *([("SHA-256", f"`{sha256}`")] if sha256 else []),
    ]
    tasks = [(t.name, f"{t.mpp:g}", ", ".join(t.class_names) or "-") for t in document.task_values()]
    sources = [(s.name, s.licence, s.use, str(s.samples), s.citation) for s in document.sources]
    told = {k: v for k, v in document.training.items() if not (measured and k == "measured")}
    figures = [(name, _figure(value)) for name, value in flat(told).items()]
    calibration = [
        (name, *(f"{numbers.get(key, default):.3g}" for key, default in _NEUTRAL.items()))
        for name, numbers in document.calibration.items()
    ]
    return "\n".join(
        [
            f"# {document.name} {document.version}",
            "",
            *_table(("", ""), facts),
            "## Tasks",
            "",
            *_table(("task", "µm per pixel of its maps", "classes"), tasks),
            "## Training sources and their terms",
            "",
            *_table(("source", "licence", "use", "samples", "citation"), sources),
            "## Measured in training and validation",
            "",
            *_table(("figure", "value"), figures),
            *measured,
            *(["## Calibration of stored probabilities", ""] if calibration else []),
            *(_table(("task", *(key.replace("_", " ") for key in _NEUTRAL)), calibration) if calibration else []),
            "Not a medical device. The figures hold for the sources above: measure on your own slides too.",
            "",
        ]
    )


_NEUTRAL = asdict(Calibration())


def flat(values: Mapping[str, Any], start: str = "") -> dict[str, Any]:
    """Nested mappings as one, keys joined by dots.

    >>> flat({"nuclei": {"pq": 0.5}, "steps": 3})
    {'nuclei.pq': 0.5, 'steps': 3}
    """
    out: dict[str, Any] = {}
    for name, value in values.items():
        out |= flat(value, f"{start}{name}.") if isinstance(value, Mapping) else {start + name: value}
    return out


def _settings(settings: Mapping[str, Any]) -> str:
    return f" ({', '.join(f'{k}: {v}' for k, v in settings.items())})" if settings else ""


def _figure(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    if not rows:
        return ["none", ""]
    lines = [head, tuple("---" for _ in head), *rows]
    return [*("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines), ""]
