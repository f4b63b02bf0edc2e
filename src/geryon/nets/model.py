"""A model: its tasks and a network that answers them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from geryon.errors import UsageError
from geryon.nets.catalogue import find_model
from geryon.nets.encoders.document import EncoderDocument
from geryon.nets.engine import Engine, MapsOfWindow, open_engine
from geryon.nets.image import at_model_mpp, checked
from geryon.nets.mosaic import Mosaic, core_of
from geryon.nets.topologies import FEATURES, Head
from geryon.nets.weights import ModelDocument, file_sha256, read_document, read_tensors
from geryon.space.boxes import Box, Frame
from geryon.space.holding import held
from geryon.space.objects import Objects, join_objects
from geryon.space.seams import Fragments, Gathering, link
from geryon.space.windows import Tiling, Window
from geryon.tasks import regions
from geryon.tasks.calibration import calibrated
from geryon.tasks.given import ClassMap, class_map_of
from geryon.tasks.task import Task

STEP_PX = 1024
"""Core of a network window: large enough that the halo costs a third, small enough for caches and laptops."""
CELL_PX = 64
"""Windows at the right and lower border are whole multiples of this."""
HALO_PX = 96
"""Halo of a network window; docs/topology.md has what smaller ones change."""


class ResearchOnly(UserWarning):
    """A model was loaded whose sources allow research only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What a model found in one image, in the image's own pixels."""

    objects: dict[str, Objects]
    rasters: dict[str, np.ndarray]
    """uint8 [y, x, class] on the task's own grid."""
    class_maps: dict[str, ClassMap] = field(default_factory=dict)
    """Of tasks whose objects have classes; filled by `predict_with_class_maps` only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """Tasks, the resolution that they are asked at, and the engine that runs the network."""

    document: ModelDocument
    sha256: str
    tasks: tuple[Task, ...]
    engine: Engine
    gives_features: bool = False
    """Whether the engine was opened with FEATURES beside the maps."""
    path: Path | None = None
    """The file that it was read from."""

    @property
    def mpp(self) -> float:
        """µm per pixel of the images that the network takes."""
        return self.document.mpp

    def window_px(self, name: str = "default") -> tuple[int, int]:
        """Core and halo of the model's windows of that name, in pixels of its input."""
        return window_sizes(self.document, name)

    def maps(self, images: Sequence[np.ndarray], places: Sequence[Box]) -> list[MapsOfWindow]:
        """The maps of images at the model's mpp; those of one size go through the network together."""
        out: dict[int, MapsOfWindow] = {}
        for size in sorted({image.shape for image in images}):
            chosen = [i for i, image in enumerate(images) if image.shape == size]
            out.update(
                zip(chosen, self.engine.maps([images[i] for i in chosen], [places[i] for i in chosen]), strict=True)
            )
        return [out[i] for i in range(len(images))]

    def only(self, tasks: Sequence[str] | str | None) -> Model:
        """The same model asked for some of its tasks; see `choose`."""
        return replace(self, tasks=choose(self.tasks, tasks))

    def predict(self, image: np.ndarray, mpp: float) -> Prediction:
        """Objects and rasters of one image (uint8 [y, x, 3]) in memory, in one piece."""
        return self._predict(image, mpp, keep=False)

    def predict_with_class_maps(self, image: np.ndarray, mpp: float) -> Prediction:
        """The same, and the class maps beside: a byte for each class and cell of the image are kept."""
        return self._predict(image, mpp, keep=True)

    def _predict(self, image: np.ndarray, mpp: float, *, keep: bool) -> Prediction:
        image = checked(image, mpp)
        height, width = image.shape[:2]
        level0 = Frame(name="level0", mpp_x=mpp, mpp_y=mpp, width=width, height=height)
        work, scaled = at_model_mpp(image, level0, self.mpp)
        mosaic = self.mosaic(scaled, work)
        objects, rasters, class_maps = {}, {}, {}
        for task in self.tasks:
            frame = frame_of(task, work, self.mpp)
            window = whole_window(frame, task)
            maps = mosaic.region(task, window)
            said = class_map_of(maps, window, task, mpp) if keep else None
            if said is not None:
                class_maps[task.name] = said
            found = task.decode(maps, window, task)
            if task.seam == "join":
                found = whole_objects(found, task)
            found = calibrated(found, task.calibration)
            if task.seam == "place":
                rasters[task.name] = found
            else:
                objects[task.name] = found.to(level0)
        for task in self.tasks:
            if task.only_within and task.within in objects:
                objects[task.name] = held(objects[task.name], objects[task.within])
        return Prediction(objects=objects, rasters=rasters, class_maps=class_maps)

    def mosaic(self, image: np.ndarray, work: Frame, windows: str = "default") -> Mosaic:
        """The maps of a whole image in the work frame."""
        step, halo = self.window_px(windows)
        tiling = Tiling(frame=work, step=step, cell=min(CELL_PX, step))
        mosaic = Mosaic(tiling, self.tasks)
        cells = [(row, column) for row in range(tiling.rows) for column in range(tiling.columns)]
        batch = max(1, self.engine.batch)

        def answer(some: list[tuple[int, int]]) -> list[MapsOfWindow]:
            windows = [tiling.window(*cell, halo) for cell in some]
            found = self.maps([cut(image, w.outer) for w in windows], [w.outer for w in windows])
            return [clipped(core_of(maps, w), w) for maps, w in zip(found, windows, strict=True)]

        batches = [cells[i : i + batch] for i in range(0, len(cells), batch)]
        with ThreadPoolExecutor(max(1, self.engine.lanes), thread_name_prefix="predict") as pool:
            for some, found in zip(batches, pool.map(answer, batches), strict=True):
                for cell, maps in zip(some, found, strict=True):
                    mosaic.put(cell, maps)
        return mosaic


def load_model(
    name: str | Path, *, engine: str = "auto", tasks: Sequence[str] | str | None = None, features: bool = False
) -> Model:
    """The model of that name, in that .safetensors file, or at that place of a hub (nets/catalogue.py).

    With `features` its maps hold those of FEATURES too; with no tasks (an empty list) nothing else is computed.
    """
    path = find_model(name)
    document = read_document(path)
    warn_of_terms(document)
    chosen = choose(document.task_values(), tasks)
    heads = heads_of(chosen, document.mpp) + ((FEATURES,) if features else ())
    opened = open_engine(engine, document, read_tensors(path), heads)
    return Model(
        document=document,
        sha256=file_sha256(path),
        tasks=chosen,
        engine=opened,
        gives_features=features,
        path=path,
    )


def warn_of_terms(document: ModelDocument | EncoderDocument) -> None:
    """Say it where a model may not be used by everybody."""
    if document.use == "research":
        text = f"the model {document.name} is for research only: it learnt from sources that forbid commercial use"
        warnings.warn(text, ResearchOnly, stacklevel=3)
    if document.use == "experiment":
        text = f"{document.name} is an experiment: it learnt from sources that are there to evaluate on; never ship it"
        warnings.warn(text, ResearchOnly, stacklevel=3)


def window_sizes(document: ModelDocument, name: str) -> tuple[int, int]:
    """Core and halo of a model's windows of that name, in pixels of its input."""
    known = {"default": {}, **document.windows}
    if name not in known:
        raise UsageError(
            what=f"the model {document.name} has no windows called {name!r}",
            mend=f"choose among: {', '.join(sorted(known))}",
        )
    return known[name].get("window_px", STEP_PX), known[name].get("halo_px", HALO_PX)


def choose(tasks: Sequence[Task], asked: Sequence[str] | str | None) -> tuple[Task, ...]:
    """The asked tasks in the model's order; all where none are asked.

    A task whose objects count only within those of another brings that one along (lumina bring glands).
    """
    names = [t.name for t in tasks]
    asked = [asked] if isinstance(asked, str) else asked
    unknown = [name for name in asked or () if name not in names]
    if unknown:
        raise UsageError(
            what=f"this model has no task {', '.join(map(repr, unknown))}", mend=f"choose among: {', '.join(names)}"
        )
    wanted = set(names if asked is None else asked)
    wanted |= {t.within for t in tasks if t.only_within and t.name in wanted}
    return tuple(t for t in tasks if t.name in wanted)


def heads_of(tasks: Sequence[Task], mpp: float) -> tuple[Head, ...]:
    """What the network must give for these tasks when it sees `mpp`."""
    return tuple(
        Head(name=f"{t.name}/{m.name}", channels=m.channels, stride=round(t.mpp * m.coarse / mpp))
        for t in tasks
        for m in t.maps
    )


def frame_of(task: Task, work: Frame, model_mpp: float) -> Frame:
    """The frame of a task's maps when the network sees the work frame."""
    return work.at(work.mpp_x * (task.mpp / model_mpp))


def whole_window(frame: Frame, task: Task) -> Window:
    """All of a slide as one window, its core whole cells of the coarsest map, with the task's halo."""
    cell = max(m.coarse for m in task.maps)
    columns = -(-int(np.ceil(frame.width - 1e-6)) // cell) * cell
    rows = -(-int(np.ceil(frame.height - 1e-6)) // cell) * cell
    core = Box(frame, 0.0, 0.0, columns, rows)
    return Window(core, core.grow(halo_px(task, frame)))


def halo_px(task: Task, frame: Frame) -> int:
    """The task's reach in whole cells of its coarsest map, in pixels of the frame."""
    cell = max(m.coarse for m in task.maps)
    return int(np.ceil(task.reach_um / task.mpp / cell)) * cell


def cut(image: np.ndarray, box: Box) -> np.ndarray:
    """The part of the image in a box of whole pixels, mirrored where the box reaches outside."""
    x0, y0, x1, y1 = (round(edge) for edge in (box.xmin, box.ymin, box.xmax, box.ymax))
    height, width = image.shape[:2]
    part = image[max(0, y0) : min(height, y1), max(0, x0) : min(width, x1)]
    return mirrored(part, (max(0, -y0), max(0, y1 - height), max(0, -x0), max(0, x1 - width)))


def mirrored(image: np.ndarray, margins: tuple[int, int, int, int]) -> np.ndarray:
    """The image with margins (above, below, left, right) filled by mirroring it at its border."""
    above, below, left, right = margins
    if not any(margins):
        return np.ascontiguousarray(image)
    return cv2.copyMakeBorder(image, above, below, left, right, cv2.BORDER_REFLECT_101)


def clipped(maps: MapsOfWindow, window: Window) -> MapsOfWindow:
    """The maps of a core with zeros where it reaches past the slide, so that no object does."""
    frame = window.frame
    if window.core.xmax <= frame.width and window.core.ymax <= frame.height:
        return maps
    for plane in maps.values():
        stride = window.core.height / plane.shape[0]
        plane[max(0, int(np.ceil((frame.height - window.core.ymin) / stride - 1e-6))) :] = 0
        plane[:, max(0, int(np.ceil((frame.width - window.core.xmin) / stride - 1e-6))) :] = 0
    return maps


def whole_objects(fragments: Fragments, task: Task) -> Objects:
    """The regions of one window that holds everything."""
    cell = (0, 0)
    gathering = Gathering(link([(cell, fragments.band)]).groups())
    found = [regions.finished(fragments, gathering.single(cell, fragments), task)]
    found += [regions.finished_region(region, task) for region in gathering.add(cell, fragments)]
    return regions.wanted(join_objects(found), task)[0]
