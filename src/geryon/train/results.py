"""A folder of results in place of a model: what `geryon segment` wrote, or label maps that other tools wrote."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.io import loadmat

from geryon.errors import InputError, UsageError
from geryon.slides.array import read_values
from geryon.space.boxes import Frame
from geryon.space.objects import Objects
from geryon.store.rasters import read_class_raster
from geryon.store.rows import stored_objects
from geryon.store.run import NAME, RunRecord, TaskDone, read_run
from geryon.tasks import decoding
from geryon.tasks.task import ClassTree, Task, get_task, with_classes
from geryon.train.floors import Found

MASKS = (".png", ".npy", ".mat")


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Stands where a model stands in `evaluate`; finds by the name of the case."""

    name: str
    tasks: tuple[Task, ...]
    places: Mapping[str, Path]
    """Name of a case -> its folder of a run, or its file of labels."""
    classes: tuple[str, ...] = ()
    """Names of the class numbers 1, 2, ... in the files."""

    def find(self, case: Any, image: np.ndarray) -> Found:
        """Objects and rasters of a case by task, in the image's pixels."""
        place = self.places[case.name]
        if place.is_dir():
            return _of_run(read_run(place), image.shape[:2], [task.name for task in self.tasks])
        [task] = self.tasks
        frame = Frame(name="level0", mpp_x=case.mpp, mpp_y=case.mpp, width=image.shape[1], height=image.shape[0])
        labels, kinds = _labels(place)
        if labels.shape != image.shape[:2]:
            raise _other_size(place, labels.shape, image.shape[:2])
        labels, ids = _dense(labels)
        p = _class_columns(ids, kinds, task, self.classes)
        return Found({task.name: _objects(labels, p, frame)}, labels={task.name: labels})


def open_results(
    folder: Path, cases: Sequence[Any], *, tasks: Sequence[str] | None = None, classes: Sequence[str] = ()
) -> Results:
    """The results of all cases; one error names those that are not there. Label maps are of one task: the only one
    that the cases label, or the one asked for."""
    places = {case.name: _place(folder, case.name) for case in cases}
    missing = [name for name, place in places.items() if place is None]
    if missing:
        raise InputError(
            what=f"no result for {len(missing)} of {len(cases)} images: {', '.join(missing[:5])}"
            + (", ..." if len(missing) > 5 else ""),
            where=str(folder),
            mend=f"a result is a folder NAME with {NAME}, or a file NAME of labels ({', '.join(MASKS)})",
        )
    there = {name: place for name, place in places.items() if place is not None}
    runs = [read_run(place) for place in there.values() if place.is_dir()]
    values = _tasks_of_runs(runs, tasks) if runs else (_task_of_masks(cases, tasks, classes),)
    return Results(name=folder.name, tasks=values, places=there, classes=tuple(classes))


def _place(folder: Path, name: str) -> Path | None:
    short = Path(name).name
    for stem in dict.fromkeys((name, short, Path(short).stem)):
        found = [folder / stem] if (folder / stem / NAME).is_file() else []
        found += [folder / f"{stem}{ending}" for ending in MASKS]
        for path in found:
            if path.exists():
                return path
    return None


def _tasks_of_runs(runs: Sequence[RunRecord], asked: Sequence[str] | None) -> tuple[Task, ...]:
    shared = [name for name in runs[0].tasks if all(name in run.tasks for run in runs)]
    wanted = [name for name in shared if asked is None or name in asked]
    if not wanted:
        raise UsageError(what="the results hold none of the tasks", mend=f"choose from: {', '.join(shared) or 'none'}")
    return tuple(_task_of(name, runs[0].tasks[name]) for name in wanted)


def _task_of(name: str, done: TaskDone) -> Task:
    """The task as the run had it: its tree, or the tree cut, where the classes are those; else a flat one."""
    task = replace(get_task(name), mpp=done.mpp)
    trees = [tree for tree in (task.classes, task.classes.cut()) if tree.leaves == done.classes] if task.classes else []
    flat = ClassTree.flat(done.classes) if done.classes else None
    return with_classes(task, trees[0] if trees else flat)


def _task_of_masks(cases: Sequence[Any], asked: Sequence[str] | None, classes: Sequence[str]) -> Task:
    names = list(asked or dict.fromkeys(name for case in cases for name in case.labels))
    if len(names) != 1:
        raise UsageError(what=f"label maps are of one task, not of {', '.join(names)}", mend="say which: --task NAME")
    task = get_task(names[0])
    strangers = [name for name in classes if task.classes is None or not task.classes.below(name)]
    if strangers:
        known = ", ".join(task.class_names) or "none"
        raise UsageError(what=f"{task.name} has no class {', '.join(strangers)}", mend=f"its classes: {known}")
    return task if classes else replace(task, classes=None)


def _of_run(record: RunRecord, shape: tuple[int, int], tasks: Sequence[str]) -> Found:
    size = record.size_level0[::-1]
    if size != shape:
        raise _other_size(record.folder or Path(record.slide), size, shape)
    objects = {name: stored_objects(record, name) for name in tasks if name in record.object_tasks}
    rasters = {name: read_class_raster(record.paths[name]).p for name in tasks if name not in record.object_tasks}
    return Found(objects, rasters)


def _labels(path: Path) -> tuple[np.ndarray, dict[int, int]]:
    """int32 [y, x], and the class number of each id where the file says one: `inst_type` of .mat (HoVer-Net), the
    second plane of .npy (CoNIC)."""
    kinds: dict[int, int] = {}
    try:
        if path.suffix == ".mat":
            content = loadmat(path)
            read = content["inst_map"]
            kinds = {i: int(kind) for i, kind in enumerate(content.get("inst_type", np.zeros(0)).ravel(), start=1)}
        elif path.suffix == ".npy":
            read = np.load(path, allow_pickle=False)
        else:
            read = read_values(path)
        if read.ndim == 3 and read.shape[2] == 2:
            ids, first = np.unique(read[..., 0], return_index=True)
            kinds = dict(zip(ids.tolist(), read[..., 1].ravel()[first].tolist(), strict=True))
            read = read[..., 0]
        if read.ndim != 2:
            raise ValueError(f"its shape is {read.shape}, not [y, x]")
    except (KeyError, ValueError, OSError, NotImplementedError) as error:
        raise InputError(
            what=f"holds no label map: {error}", where=str(path), mend="write int labels [y, x]; .mat: inst_map"
        ) from error
    return read.astype(np.int32), kinds


def _dense(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels 1..n and the id that each had. Of a mask with one value only, the connected pieces are the objects."""
    ids = np.unique(labels[labels > 0])
    if len(ids) == 1:
        pieces, n = decoding.components(labels > 0)
        return pieces, np.repeat(ids, n)
    return np.searchsorted(np.concatenate([[0], ids]), np.maximum(labels, 0)).astype(np.int32), ids


def _class_columns(ids: np.ndarray, kinds: Mapping[int, int], task: Task, classes: tuple[str, ...]) -> np.ndarray:
    """uint8 [object, leaf]: 255 at what the file says, zeros where it says nothing that has a name."""
    p = np.zeros((len(ids), len(task.class_names)), np.uint8)
    for row, i in enumerate(ids.tolist()):
        if task.classes is not None and 0 < kinds.get(i, 0) <= len(classes):
            p[row, list(task.classes.below(classes[kinds[i] - 1]))] = 255
    return p


def _objects(labels: np.ndarray, p: np.ndarray, frame: Frame) -> Objects:
    """Objects of the labels 1..n, scores 1; an outline is that of the label's largest piece."""
    whole = np.zeros(labels.shape, np.int32)
    for i, place in enumerate(ndimage.find_objects(labels), start=1):
        pieces, _ = decoding.components(labels[place] == i)
        whole[place][pieces == np.bincount(pieces.ravel())[1:].argmax() + 1] = i
    score = np.full((*labels.shape, 1), 255, np.uint8)
    return replace(decoding.objects_from_labels(whole, score=score, classes=None, frame=frame), p=p)


def _other_size(where: Path, found: tuple[int, ...], asked: tuple[int, ...]) -> InputError:
    return InputError(
        what=f"is of {found[1]} x {found[0]} pixels, the image of {asked[1]} x {asked[0]}",
        where=str(where),
        mend="give results of the image itself, at its own size",
    )
