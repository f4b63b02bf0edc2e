"""What encoders know of patch tasks: probes of one or several, on the same patches, folds and draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geryon.errors import GeryonError
from geryon.events import Tell, Warned, nobody
from geryon.nets.encoder import Encoder, load_encoder
from geryon.tasks.intervals import span
from geryon.train import leaks, splits
from geryon.train.encoders.checks import look_at
from geryon.train.encoders.figures import FIGURES, Figure, figures_of
from geryon.train.encoders.patches import Patches, gather, get_patch_task, still
from geryon.train.encoders.probe import ProbeSettings, answers, folds_of
from geryon.train.encoders.validation import some
from geryon.train.faults import of_error, refuse, told
from geryon.train.splits import Item, Split

PLACES_UM, PLACES_MPP = 64.0, 0.5
"""Places of a task are those of patches of this size, whatever an encoder sees of them; images are kept at this."""
AT_ONCE = 512
"""Patches cut and encoded together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probed:
    """One encoder on one task."""

    encoder: str
    sha256: str
    task: str
    figures: Mapping[str, Figure]
    patches: int
    """Scored ones; 0 in a mean over unlike ones."""
    groups: int
    note: str = ""
    """Why only a part was scored, or why the figures are too good."""

    def document(self) -> dict[str, Any]:
        """For JSON."""
        figures = {
            name: {
                "value": _known(figure.value),
                "seeds": [_known(v) for v in figure.seeds],
                "low_high": [_known(v) for v in figure.low_high],
                "drawn": [_known(round(float(v), 6)) for v in figure.drawn],
            }
            for name, figure in self.figures.items()
        }
        same = {name: getattr(self, name) for name in ("encoder", "sha256", "task", "patches", "groups", "note")}
        return {**same, "figures": figures}


def _known(value: float) -> float | None:
    """JSON has nothing that is no number."""
    return None if np.isnan(value) else float(value)


def read_probed(document: Mapping[str, Any]) -> Probed:
    """What `Probed.document` wrote."""
    figures = {
        name: Figure(
            value=float(np.array(f["value"], float)),
            seeds=tuple(np.array(f["seeds"], float).tolist()),
            drawn=np.array(f["drawn"], float),
        )
        for name, f in document["figures"].items()
    }
    return Probed(**{**document, "figures": figures})


def places_of(name: str, data: Path, most: int) -> Patches:
    """The places of a task that probes see: at most so many, the same ones each time."""
    patches = gather(get_patch_task(name), data, patch_um=PLACES_UM, mpp=PLACES_MPP)
    return patches.rows(some(len(patches.labels), most))


def codes_of(encoder: Encoder, patches: Patches) -> np.ndarray:
    """float32 [n, code] of the places of a task, cut as the encoder takes them."""
    parts = [np.arange(i, min(i + AT_ONCE, len(patches.labels))) for i in range(0, len(patches.labels), AT_ONCE)]
    return np.concatenate(
        [encoder(still(patches.rows(part), side_px=encoder.patch_px, mpp=encoder.mpp)) for part in parts]
    )


def probe(encoder: Encoder, patches: Patches, settings: ProbeSettings, *, taught: bool = True) -> Probed:
    """Figures of one encoder on the places of one task.

    Where the encoder learnt from the task's source, only groups that it left out are scored; `taught` False: it saw
    no labels, so all are.
    """
    folds, classes = folds_of(patches, settings.folds), len(patches.task.classes)
    said = answers(codes_of(encoder, patches), patches.labels, folds, classes=classes, settings=settings)
    scored, note = _fair(encoder, patches, taught)
    figures = figures_of(said[:, scored], patches.labels[scored], patches.groups[scored])
    return Probed(
        encoder=encoder.name,
        sha256=encoder.sha256,
        task=patches.task.name,
        figures=figures,
        patches=int(scored.sum()),
        groups=len(np.unique(patches.groups[scored])),
        note=note,
    )


def _fair(encoder: Encoder, patches: Patches, taught: bool) -> tuple[np.ndarray, str]:
    """bool [n]: places that may be scored; and what is to be said of it."""
    every = np.ones(len(patches.labels), bool)
    source, document = patches.task.source, encoder.document
    again = leaks.in_evaluation(document, source, (), unseen=True)  # through other sources
    if source not in {s.name for s in document.sources}:
        return every, "; ".join(again)
    if not taught:
        return every, "; ".join(["it saw patches of these images, without labels", *again])
    away = Split(held_out={source: tuple(document.held_out.get(source, ()))})
    items = [Item(source=source, group=image.group, name=image.name) for image in patches.images]
    left_out = np.array([splits.is_held_out(item, away) for item in items], bool)[patches.image]
    if not left_out.any():
        return every, "; ".join(["it learnt from these groups: too good", *again])
    return left_out, "; ".join(["only groups that it did not learn from are scored", *again])


def differences(one: Probed, other: Probed) -> Mapping[str, tuple[float, float, float]]:
    """{figure: one minus other, low, high}, by the same draws of groups; {} where other places were scored."""
    if not one.patches or (one.task, one.patches, one.groups) != (other.task, other.patches, other.groups):
        return {}
    both = {name: (one.figures[name], other.figures[name]) for name in one.figures if name in other.figures}
    return {name: (a.value - b.value, *span(a.drawn - b.drawn)) for name, (a, b) in both.items()}


def probe_all(
    encoders: Sequence[str],
    *,
    tasks: Sequence[str],
    data: Path,
    settings: ProbeSettings = ProbeSettings(),  # noqa: B008 (a frozen value)
    engine: str = "auto",
    tell: Tell = nobody,
) -> list[Probed]:
    """Each encoder (as geryon.load_encoder takes it) on each task, task by task.

    Before the first probe one error tells all encoders, tasks and sources' folders that are not there.
    """
    loaded, (_, faults) = [], look_at(tasks, data)
    for name in encoders:
        try:
            loaded.append(load_encoder(name, engine=engine))
        except GeryonError as error:
            faults.append(of_error(error, name))
    if faults:
        is_input = all(fault.is_input for fault in faults)
        raise refuse(told(faults), where=", ".join(tasks), is_input=is_input)
    found = []
    for task in tasks:
        patches = places_of(task, data, settings.patches)
        for encoder in loaded:
            probed = probe(encoder, patches, settings, taught=is_taught(encoder))
            if probed.note:
                tell(Warned(text=f"{probed.encoder} on {task}: {probed.note}"))
            found.append(probed)
    return found


def is_taught(encoder: Encoder) -> bool:
    """False where its document says that it learnt without labels."""
    return encoder.document.training.get("objective", "supervised") == "supervised"


def table(found: Sequence[Probed], *, figures: Sequence[str] = FIGURES) -> list[str]:
    """Lines of Markdown: a row an encoder, task and figure; the difference is to the task's first encoder."""
    lines = ["| task | encoder | figure | value | seeds | difference | note |", f"|{' --- |' * 7}"]
    first: dict[str, Probed] = {}
    for one in found:
        other = first.setdefault(one.task, one)
        change = {} if other is one else differences(one, other)
        for name in figures:
            figure = one.figures[name]
            low, high = figure.low_high
            seeds = ", ".join(f"{v:.3f}" for v in figure.seeds)
            less = change.get(name)
            change_to_first = f"{less[0]:+.3f} ({less[1]:+.3f} to {less[2]:+.3f})" if less else ""
            value = f"{figure.value:.3f} ({low:.3f} to {high:.3f})"
            lines.append(
                f"| {one.task} | {one.encoder} | {name} | {value} | {seeds} | {change_to_first} | {one.note} |"
            )
    return lines
