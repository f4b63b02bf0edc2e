"""A task as a value: what is asked of the pixels, and all that depends on the question."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from geryon import plugins
from geryon.space.boxes import Frame
from geryon.tasks.calibration import Calibration

TASKS = {
    "nuclei": "geryon.tasks.nuclei:NUCLEI",
    "glands": "geryon.tasks.glands:GLANDS",
    "lumina": "geryon.tasks.lumina:LUMINA",
    "signet_ring": "geryon.tasks.signet_ring:SIGNET_RING",
    "tissue": "geryon.tasks.tissue:TISSUE",
    "restored": "geryon.tasks.restored:RESTORED",
}
"""Entry points of the group geryon.tasks add to it."""
PUBLISHED = {
    "geryon.tasks.published:NUCLEI": "geryon.tasks.published:NUCLEI",
    "geryon.tasks.published:GLANDS": "geryon.tasks.published:GLANDS",
    "geryon.tasks.published:LUMINA": "geryon.tasks.published:LUMINA",
    "geryon.tasks.published:TISSUE": "geryon.tasks.published:TISSUE",
}
"""Tasks that only model files name, beside those above. A whitelist: other paths in a file are no names."""


CLASS_LOSS = "class_cross_entropy"
"""The loss of maps with one channel a class."""
NOT = "not "
"""Begins the label of what is only known to be no object of a class: "not epithelial"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """One output of the network for one task."""

    name: str
    channels: int
    activation: str
    """"sigmoid", "softmax" (over the channels) or "identity": how logits become 0..1, kept as 0..255."""
    loss: str
    """Name in train.losses.LOSSES."""
    coarse: int = 1
    """Its pixels are this many times the task's."""


@dataclass(frozen=True, slots=True)
class ClassTree:
    """Class names as a tree of depth two: {"inflammatory": ("lymphocyte", ...), "other": ()}.

    >>> tree = ClassTree.of({"epithelial": (), "inflammatory": ("lymphocyte", "plasma")})
    >>> tree.leaves
    ('epithelial', 'lymphocyte', 'plasma')
    >>> tree.below("inflammatory")
    (1, 2)

    What is only said not to be something may be all the rest.

    >>> tree.below("not inflammatory")
    (0,)

    A cut tree has its branches as leaves; a label below a branch counts for the branch.

    >>> tree.cut().leaves, tree.cut().below("plasma")
    (('epithelial', 'inflammatory'), (1,))
    """

    branches: tuple[tuple[str, tuple[str, ...]], ...]
    is_cut: bool = False

    def cut(self) -> ClassTree:
        """The same tree with its branches as leaves: for models whose data go no deeper."""
        return ClassTree(self.branches, True)

    @classmethod
    def of(cls, tree: Mapping[str, Sequence[str]]) -> ClassTree:
        return cls(tuple((name, tuple(leaves)) for name, leaves in tree.items()))

    @classmethod
    def flat(cls, names: Sequence[str]) -> ClassTree:
        return cls(tuple((name, ()) for name in names))

    @classmethod
    def told(cls, names: Mapping[str, Sequence[str]] | Sequence[str]) -> ClassTree:
        """From names of leaves, or of branches with theirs."""
        return cls.of(names) if isinstance(names, Mapping) else cls.flat(names)

    @property
    def leaves(self) -> tuple[str, ...]:
        """The finest classes, in channel order."""
        if self.is_cut:
            return tuple(name for name, _ in self.branches)
        return tuple(leaf for name, leaves in self.branches for leaf in (leaves or (name,)))

    def below(self, name: str) -> tuple[int, ...]:
        """Channels of the leaves that a label of this name stands for; () for a class that is not ours."""
        leaves = self.leaves
        if name.startswith(NOT):
            inside = self.below(name.removeprefix(NOT))
            return tuple(i for i in range(len(leaves)) if i not in inside) if inside else ()
        for branch, inner in self.branches:
            if self.is_cut and name in (branch, *inner):
                return (leaves.index(branch),)
            if branch == name:
                return tuple(leaves.index(leaf) for leaf in (inner or (branch,)))
        return (leaves.index(name),) if name in leaves else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One question. Flows, trainer and store know a task only through this value."""

    name: str
    mpp: float
    """µm per pixel of its maps."""
    seam: str
    """"own" (bounded objects), "join" (unbounded objects) or "place" (a raster)."""
    reach_um: float
    """How far from a place its objects depend on the maps: sets the halo."""
    classes: ClassTree | None
    maps: tuple[Map, ...]
    target: Callable[..., dict[str, tuple[np.ndarray, np.ndarray]]]
    """(Labelled, task) -> {map: (target float32 [y, x, channel], weight float32 [y, x])}, weight 0 where unknown."""
    decode: Callable[..., Any]
    """({map: uint8 [y, x, channel]}, frame, task) -> Objects, or for "join" tasks Fragments, or a raster."""
    metric: Callable[..., dict[str, float]]
    """(found, truth) -> {name: number}; 1 is perfect."""
    smallest_um2: float = 0.0
    """Smaller regions are dropped once they are whole."""
    smallest_hole_um2: float = 0.0
    """Smaller holes of regions are filled."""
    neck_um: float = 0.0
    """Regions that meet in a neck no wider than this (beside their rims) are two."""
    least_score: float = 0.0
    """Regions less sure than this, 0..1, are dropped once they are whole."""
    within: str = ""
    """Name of the task whose objects hold these (nuclei and lumina: glands)."""
    only_within: bool = False
    """Objects that no such object holds are dropped: a hollow outside of glands is no lumen."""
    boxes: bool = False
    """Its objects are boxes: what is labelled counts by its bounding box, and what is found is given as one."""
    singular: str = ""
    """One of its objects: the column in which others say which of them holds them; by default the task's name."""
    colours: tuple[tuple[int, int, int], ...] = ()
    """One RGB a class (or one in all), for overlays and QuPath."""
    calibration: Calibration | None = None
    """What a model's document says of the probabilities that are stored; None: as the network says them."""

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.classes.leaves if self.classes else ()

    def map(self, name: str) -> Map:
        """The map of that name."""
        return next(m for m in self.maps if m.name == name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """What a source says about one image for one task, at the task's mpp.

    Absence of a label is not a negative label: `known` is False wherever the source is silent.
    """

    objects: np.ndarray | None = None
    """int32 [y, x]: one id an object, 0 where there is none."""
    foreground: np.ndarray | None = None
    """bool [y, x]: inside any object, where the source can't tell them apart."""
    known: np.ndarray | None = None
    """bool [y, x]: where the above is the whole truth; None: everywhere."""
    classes: Mapping[int, str] | None = None
    """Object id -> class name, at any depth of the tree, or "not NAME"; ids left out are unknown."""
    classes_known: tuple[str, ...] = ()
    """The classes that the source tells apart, at any depth; (): all. The others are neither right nor wrong here."""
    raster: np.ndarray | None = None
    """int32 [y, x]: class number + 1 of each pixel, 0 unknown; `raster_names` gives the names."""
    raster_names: tuple[str, ...] = ()
    points: np.ndarray | None = None
    """float64 [n, 2]: x, y of object centres, where only those are known."""
    point_classes: tuple[str, ...] = ()
    """One name a point, "" unknown."""
    boxes: np.ndarray | None = None
    """float64 [n, 4]: xmin, ymin, xmax, ymax of objects in pixels, where only those are known."""
    exhaustive: bool = True
    """False where there may be more objects than the source names: then what it leaves out is unknown, not absent."""


def with_classes(task: Task, classes: ClassTree | None) -> Task:
    """The same task with a model's own classes."""
    n = len(classes.leaves) if classes else 0
    maps = tuple(replace(m, channels=n) if m.loss == CLASS_LOSS else m for m in task.maps if n or m.loss != CLASS_LOSS)
    return replace(task, classes=classes, maps=maps)


def get_task(name: str) -> Task:
    """The task of that name, ours or another package's."""
    task: Task = plugins.find(TASKS, "geryon.tasks", name)
    return task


def task_of_file(name: str) -> Task:
    """The task that a model file means: looked up, never imported by what the file says."""
    task: Task = plugins.look_up(TASKS | PUBLISHED, "geryon.tasks", name)
    return task


def task_frame(level0: Frame, task: Task) -> Frame:
    """The frame that the task's maps are counted in."""
    return level0.at(task.mpp)
