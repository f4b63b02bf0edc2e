"""A lab's own annotations as a source: what a recipe says of them, and what is found in their folder.

A format turns files into cases in one pass that looks at headers, names and labels, never at an image's pixels, and
gathers all faults; so the check before training and the reading of cases are the same pass.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from geryon import plugins
from geryon.space import units
from geryon.tasks.task import Task
from geryon.train.augment_settings import STRICT
from geryon.train.faults import Fault, nearest, refuse, told
from geryon.train.source import Case, Source

FORMATS = {
    "boxes_csv": "geryon.train.formats.boxes_csv:FORMAT",
    "class_folders": "geryon.train.formats.class_folders:FORMAT",
    "coco": "geryon.train.formats.coco:FORMAT",
    "geojson": "geryon.train.formats.geojson:FORMAT",
    "label_masks": "geryon.train.formats.label_masks:FORMAT",
    "points_csv": "geryon.train.formats.points_csv:FORMAT",
    "unlabelled": "geryon.train.formats.unlabelled:FORMAT",
}
"""Entry points of the group geryon.formats add to it."""
GROUP_WORDS = ("image", "folder")
IMAGE, OBJECTS = "image", "objects"
"""Values of `known` that are no class names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnChoice:
    """A lab's own annotations, and the facts that no file tells."""

    __pydantic_config__ = STRICT

    name: str
    """Yours to choose; no name of a public source."""
    format: str
    """In train.own.FORMATS or an entry point of the group geryon.formats."""
    root: str = ""
    """Its folder, below the data folder; by default called like the source."""
    task: str
    """What is annotated: one of the recipe's tasks."""
    classes: Mapping[str | int, str | None] = field(default_factory=dict)
    """{your label (number or name): class of the task}; null: an object whose class is not told."""
    group: str
    """Which images belong together (patient, slide, case), so that no split parts them.

    "image": each alone; "folder": those of one folder; else a regular expression for the image's name without its
    ending, whose first group is the answer: "(case[0-9]+)_.*".
    """
    mpp: float | None = None
    """µm per pixel of the images; by default what their scanner wrote into them."""
    licence: str
    """On which terms the images and annotations may be used, such as "ours"."""
    use: Literal["open", "research"]
    """open: weights that learn from it may go to anybody; research: for research only."""
    share: float = 1.0
    """Its part of each batch, in any unit common to all sources."""
    scales: tuple[float, ...] = (1.0,)
    """Sizes at which each case is packed: 1.2 is a fifth larger than it truly is."""
    first: int = 0
    """Learn from so many of its groups only, chosen by train.seed; more hold the fewer. 0: from all."""
    images: str = ""
    """Folder of the images, below root; by default "images"."""
    labels: str = ""
    """Folder or file of the annotations, below root; in "masks/*_mask.png" the star stands for the image's name."""
    class_labels: str = ""
    """Label masks: where the masks of class numbers are, if `labels` number the objects."""
    objects: Literal["", "numbers", "pieces", "area"] = ""
    """Label masks. numbers: each number is an object; pieces: each connected piece is (the default with `classes`);
    area: objects that touch are not told apart, so that only their area is learnt."""
    known: str = ""
    """Where everything is annotated. image: all over; objects: nothing is known beside what is annotated; else the
    class of the annotations around such places, such as "Region*" (GeoJSON, its default)."""
    unknown: tuple[str | int, ...] = ()
    """Labels of places that teach nothing, such as 255 or "Ignore*"."""
    skip: tuple[str | int, ...] = ()
    """Labels to leave out as if nobody had drawn them, such as "Tissue"."""

    @property
    def names(self) -> dict[str, str]:
        """{label as text: class, "" where it is not told}."""
        return {str(label): name or "" for label, name in self.classes.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What a pass over a folder found."""

    cases: tuple[Case, ...] = ()
    faults: tuple[Fault, ...] = ()
    notes: tuple[str, ...] = ()
    """What a person should know, though nothing is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One way in which labs keep annotations."""

    look: Callable[[OwnChoice, Path, float], Looked]
    """(choice, root, finest µm per pixel that is of use) -> what is there."""
    reads: tuple[str, ...]
    """Those settings of OwnChoice that only some formats read."""
    teaches: tuple[str, ...]
    """Seams of the tasks that it can teach: "own", "join", "place"."""
    needs_classes: bool = False
    only: str = ""
    """The one task it teaches, whose classes it knows; "": such as `teaches` says."""
    is_numbered: bool = False
    """True where labels are whole numbers."""


SOMETIMES = ("images", "labels", "class_labels", "objects", "known", "unknown", "skip")


def get_format(name: str) -> Format:
    """The format of that name, ours or another package's; a recipe is a file, so the name is only looked up."""
    found: Format = plugins.look_up(FORMATS, "geryon.formats", name)
    return found


def source_of(own: OwnChoice, *, mpp: float) -> Source:
    """The source that a recipe describes, for a network that sees `mpp`."""
    told_of = {key: value for key, value in asdict(own).items() if key not in ("name", "root", "share", "scales")}
    return Source(
        name=own.name,
        licence=own.licence,
        use=own.use,
        citation=f"own annotations ({own.format})",
        tasks=(own.task,),
        cases=partial(_cases, own, mpp),
        mpp=f"{own.mpp:g}" if own.mpp else "as the scanner wrote it",
        groups=own.group if own.group in GROUP_WORDS else f"by name: {own.group}",
        verified="its own files",
        facts=json.dumps(told_of, sort_keys=True),
    )


def look(own: OwnChoice, root: Path, *, mpp: float) -> Looked:
    """Cases and faults of the source's folder, for a network that sees `mpp`."""
    finest = mpp / max([1.0, *own.scales])
    if not root.is_dir():
        what, mend = f"there is no folder {root}", "write its path as root, below --data"
        return Looked(faults=(Fault(source=own.name, what=what, mend=mend),))
    looked = get_format(own.format).look(own, root, finest)
    if not looked.cases and not looked.faults:
        what, mend = "the source is empty: no image is annotated there", "check root, images and labels"
        return Looked(faults=(Fault(source=own.name, where=str(root), what=what, mend=mend),), notes=looked.notes)
    return looked


def _cases(own: OwnChoice, mpp: float, root: Path) -> Iterator[Case]:
    looked = look(own, root, mpp=mpp)
    if looked.faults:
        raise refuse(told(looked.faults), where=str(root), is_input=True)
    yield from looked.cases


def faults(own: OwnChoice, tasks: Mapping[str, Task]) -> dict[str, str]:
    """{setting: what is wrong with it}, as far as the recipe alone shows; `tasks` are the recipe's."""
    known = plugins.names(FORMATS, "geryon.formats")
    said: dict[str, str] = {}
    if own.format not in known:
        said["format"] = f"no format is called {own.format!r} (there are: {', '.join(known)})"
    if own.task not in tasks:
        said["task"] = f"{own.task!r} is none of the recipe's tasks ({', '.join(tasks)})"
    if own.mpp is not None and not units.is_plausible(own.mpp):
        said["mpp"] = f"{own.mpp:g} is no µm per pixel of tissue (0.25 is usual for 40x, 0.5 for 20x)"
    if own.first < 0:
        said["first"] = f"is {own.first}, must not be negative"
    if own.group not in GROUP_WORDS and (wrong := _pattern_fault(own.group)):
        said["group"] = wrong
    if said:
        return said
    return _format_faults(own, get_format(own.format), tasks[own.task])


def _pattern_fault(pattern: str) -> str:
    try:
        return "" if re.compile(pattern).groups else "has no (group) that names what belongs together, nor is it image"
    except re.error as error:
        return f"is no regular expression: {error}"


def _format_faults(own: OwnChoice, form: Format, task: Task) -> dict[str, str]:
    unread = [key for key in SOMETIMES if getattr(own, key) and key not in form.reads]
    said = dict.fromkeys(unread, f"the format {own.format} does not read it")
    if task.seam not in form.teaches or form.only not in ("", task.name):
        said["format"] = f"{own.format} can't teach {task.name}"
    if task.classes is None and own.classes:
        said["classes"] = f"{task.name} has no classes"
    if not own.classes and not form.only and (form.needs_classes or task.seam == "place"):
        said["classes"] = f"are needed: {{your label: class}}; the classes are {', '.join(task.class_names)}"
    wrong = [str(label) for label in (*own.classes, *own.unknown) if form.is_numbered and not str(label).isdigit()]
    if wrong:
        said["classes"] = f"labels of {own.format} are whole numbers, and {', '.join(wrong)} is none"
    if own.classes and own.objects == "numbers" and not own.class_labels:
        said["objects"] = "with numbers of objects, class_labels must say where the class numbers are"
    if own.class_labels and not own.classes:
        said["class_labels"] = "classes must say what its numbers mean"
    if task.classes is not None:
        tree = task.classes
        every = [name for branch, leaves in tree.branches for name in (branch, *leaves)]
        for label, name in own.names.items():
            if name and not tree.below(name):
                said[f"classes.{label}"] = (
                    f"{task.name} has no class {name!r} (there are: {', '.join(every)}){nearest(name, every)}"
                )
    return said
