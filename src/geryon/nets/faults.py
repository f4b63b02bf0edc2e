"""What is wrong with a model's document: all that would fail later, or give nonsense, said when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from geryon.nets.topologies import TOPOLOGIES
from geryon.plugins import names
from geryon.space import units
from geryon.tasks.calibration import SHIFT, TEMPERATURES
from geryon.tasks.task import PUBLISHED, TASKS, task_of_file

if TYPE_CHECKING:
    from geryon.nets.encoders.document import EncoderDocument
    from geryon.nets.weights import ModelDocument, TaskDocument

RANGE = (1e-6, 1e6)
"""Least and most between the least and the largest value of a layer's input."""
USES = ("open", "research")
SIZES_PX = {"window_px": (16, 8192), "halo_px": (0, 2048)}
"""Least and most of each size of a window; more is no network's field of view but a memory of gigabytes."""
GRID_PX = 16
"""Windows with their halo are multiples of this, the least that a network here asks for."""


def faults(document: ModelDocument) -> list[str]:
    """Every fault of the document, in words; [] where it can be used."""
    found = [
        f"{name} is {value!r}, not a text"
        for name, value in (("name", document.name), ("version", document.version), ("topology", document.topology))
        if not isinstance(value, str) or not value
    ]
    if not found and document.topology not in names(TOPOLOGIES, "geryon.topologies"):
        found.append(f"no topology is called {document.topology!r}")
    found += of_mpp(document.mpp)
    found += [
        f"{name} is {value!r}, not an object"
        for name in ("settings", "windows", "held_out", "training", "calibration", "ranges")
        if not isinstance(value := getattr(document, name), Mapping)
    ]
    found = found or _of_tasks(document) + _of_windows(document.windows) + of_terms(document)
    return found or _of_calibration(document) + of_ranges(document.ranges)


def _of_tasks(document: ModelDocument) -> list[str]:
    if not document.tasks:
        return ["it names no task"]
    known = {*names(TASKS, "geryon.tasks"), *PUBLISHED}
    found = [f"no task is called {t.name!r}" for t in document.tasks if t.name not in known]
    return found or [fault for task in document.tasks for fault in _of_task(task, document.mpp)]


def _of_task(told: TaskDocument, mpp: float) -> list[str]:
    if told.mpp is not None and not _is_plausible(told.mpp):
        return [f"the mpp of {told.name} is {told.mpp!r}, must be {units.MPP_MIN:g} to {units.MPP_MAX:g}"]
    task = task_of_file(told.name)
    steps = (told.mpp or task.mpp) / mpp
    if steps < 1 - 1e-6 or abs(steps - round(steps)) > 1e-6:
        return [f"the maps of {told.name} are {steps:g} times coarser than its images, must be a whole number"]
    if told.classes is None:
        return []
    leaves = [leaf for name, below in told.classes for leaf in (below or (name,))]
    if task.classes is None and leaves:
        return [f"{told.name} has classes, which that task does not have"]
    if task.classes is not None and (not leaves or len(set(leaves)) < len(leaves)):
        return [f"the classes of {told.name} are none, or one stands twice"]
    return []


def _of_windows(windows: Mapping[str, Any]) -> list[str]:
    found = []
    for name, sizes in windows.items():
        if not isinstance(sizes, Mapping) or set(sizes) - set(SIZES_PX):
            found.append(f"windows {name!r} is {sizes!r}, must give {' and '.join(SIZES_PX)} only")
            continue
        wrong = [
            f"{key} of windows {name!r} is {value!r}, must be {SIZES_PX[key][0]} to {SIZES_PX[key][1]}"
            for key, value in sizes.items()
            if type(value) is not int or not SIZES_PX[key][0] <= value <= SIZES_PX[key][1]
        ]
        if not wrong and any(value * (2 if key == "halo_px" else 1) % GRID_PX for key, value in sizes.items()):
            wrong = [f"windows {name!r} with their halo are no multiple of {GRID_PX} px"]
        found += wrong
    return found


def of_terms(document: ModelDocument | EncoderDocument, uses: tuple[str, ...] = USES) -> list[str]:
    """What is wrong with its use and those of its sources; what is there for experiments may have any source."""
    of_sources = (*USES, "evaluate") if document.use == "experiment" else USES
    found = [
        f"the use of {name} is {use!r}, must be one of {', '.join(allowed)}"
        for name, use, allowed in (
            ("the model", document.use, uses),
            *((f"source {s.name}", s.use, of_sources) for s in document.sources),
        )
        if use not in allowed
    ]
    bound = [source.name for source in document.sources if source.use == "research"]
    if document.use == "open" and bound:
        found.append(f"it says open use, but some of its sources do not: {', '.join(bound)}")
    return found


def _of_calibration(document: ModelDocument) -> list[str]:
    limits = dict.fromkeys(("class_temperature", "score_temperature"), TEMPERATURES) | {"score_shift": (-SHIFT, SHIFT)}
    names, found = {task_of_file(t.name).name for t in document.tasks}, []
    for name, numbers in document.calibration.items():
        if name not in names or not isinstance(numbers, Mapping) or set(numbers) - set(limits):
            found.append(f"the calibration of {name} is {numbers!r}, must give {', '.join(limits)} of one of its tasks")
            continue
        found += [
            f"{key} of {name} is {value!r}, must be {limits[key][0]:g} to {limits[key][1]:g}"
            for key, value in numbers.items()
            if type(value) not in (int, float) or not limits[key][0] <= value <= limits[key][1]
        ]
    return found


def of_mpp(mpp: Any) -> list[str]:
    """What is wrong with the resolution of a network's images."""
    return [] if _is_plausible(mpp) else [f"mpp is {mpp!r}, must be {units.MPP_MIN:g} to {units.MPP_MAX:g}"]


def _is_plausible(mpp: Any) -> bool:
    return type(mpp) in (int, float) and units.is_plausible(mpp)


def of_ranges(ranges: Mapping[str, Any]) -> list[str]:
    """What is wrong with the ranges of what layers see (nets/ranges.py)."""
    return [
        f"the range of {name} is {value!r}, not two numbers around 0 that are {RANGE[0]:g} to {RANGE[1]:g} apart"
        for name, value in ranges.items()
        if not (isinstance(value, list | tuple) and len(value) == 2 and is_range(*value))
    ]


def is_range(low: Any, high: Any) -> bool:
    """True for least and largest values that eight bits can stand for."""
    if type(low) not in (int, float) or type(high) not in (int, float):
        return False
    return -RANGE[1] <= low <= 0 < high <= RANGE[1] and high - low >= RANGE[0]
