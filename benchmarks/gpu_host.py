"""What a run costs beside the network: the same run with an engine that has the answers, by the core's clock."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.repeated import written
from geryon import events
from geryon.flows.plan import cutting_of, make_plan
from geryon.flows.reading import read_window
from geryon.flows.segment import Options, decode, segment
from geryon.nets.engine import MapsOfWindow
from geryon.nets.model import HALO_PX, STEP_PX, Model, clipped, core_of, load_model
from geryon.nets.mosaic import Mosaic
from geryon.slides.reader import open_slide
from geryon.space.boxes import Box

WINDOW_PX = STEP_PX + 2 * HALO_PX
MPP = 0.5
CORE_MM2 = (STEP_PX * MPP / 1000) ** 2
"""Tissue that one window answers for."""
SIDES = (2, 4)
"""Windows along a side of the specimens that the host is measured on."""
Answers = dict[tuple[float, float], MapsOfWindow]
"""Left and upper edge of a window, in the work frame -> its maps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """An engine that has the answers: it copies bytes as a card's slots do, and computes nothing.

    `beside`, where given, is asked too and not heard: its network takes its time, the answers decode to true tissue.
    """

    answers: Answers
    beside: Any = None
    held: np.ndarray = field(default_factory=lambda: np.zeros((8, WINDOW_PX, WINDOW_PX, 3), np.uint8))
    name: str = "answering"
    lanes: int = 3
    batch: int = 8
    precision: str = "none"

    def maps(self, images: Sequence[np.ndarray], places: Sequence[Box]) -> list[MapsOfWindow]:
        if self.beside is not None:
            self.beside.maps(images, places)
        for row, image in zip(self.held, images, strict=False):
            row[: image.shape[0], : image.shape[1]] = image
        return [{n: v.copy() for n, v in self.answers[place_of(p)].items()} for p in places]


def place_of(box: Box) -> tuple[float, float]:
    """The key of a window's answers."""
    return box.xmin, box.ymin


@dataclass(frozen=True, slots=True, kw_only=True)
class Noting:
    """An engine whose answers are kept."""

    engine: Any
    answers: Answers
    name: str = "noting"
    precision: str = "none"
    lanes: int = 1
    batch: int = 1

    def maps(self, images: Sequence[np.ndarray], places: Sequence[Box]) -> list[MapsOfWindow]:
        found = self.engine.maps(images, places)
        for place, maps in zip(places, found, strict=True):
            self.answers[place_of(place)] = {name: value.copy() for name, value in maps.items()}
        return list(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Seconds of one core for a mm², everything but the network. What a slide of any size costs is not in it."""

    all: float
    """Of all threads, while windows pass."""
    in_turn: float
    """Of the thread that joins what the others do, while windows pass: a part of `all`."""
    ending: float
    """Of all threads after the last window, when the card has nothing to do."""
    reading_mpx: float
    """Mpx a second of one core, of windows with their halo."""
    nuclei: float
    """A second of one core that decodes all tasks."""
    nuclei_mm2: float


def host_cost() -> Host:
    """Measured on two slides of repeated synthetic tissue, as JPEG at 0.5 µm/px; medians of three runs each."""
    net = load_model("geryon-s", engine="cpu")
    with tempfile.TemporaryDirectory() as folder:
        small, large = (runs(Path(folder) / str(side), side, net) for side in SIDES)
    mm2 = large.mm2 - small.mm2
    return Host(
        all=large.passing_all / large.mm2,
        in_turn=large.passing / large.mm2,
        ending=(large.ending - small.ending) / mm2,
        reading_mpx=large.reading_mpx,
        nuclei=large.nuclei,
        nuclei_mm2=large.found / large.mm2,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """Core seconds of one slide."""

    mm2: float
    passing_all: float
    passing: float
    ending: float
    reading_mpx: float
    nuclei: float
    found: int


def specimen(folder: Path, side: int) -> tuple[Path, Options]:
    """A slide of repeated tissue, `side` whole windows along each side, glass around it; how it is to be run.

    The mask keeps windows at the specimen's border from being counted, which answer for less tissue.
    """
    folder.mkdir(parents=True)
    path = written(folder / "slide.tiff", 2 * side * STEP_PX * MPP / 1000)
    mask = np.zeros((64, 64), np.uint8)
    mask[17:47, 17:47] = 255
    cv2.imwrite(str(folder / "mask.png"), mask)
    return path, Options(mpp=MPP, mask=folder / "mask.png")


def runs(folder: Path, side: int, net: Model) -> Run:
    """Such a specimen, run with an engine that has the answers."""
    path, options = specimen(folder, side)
    answers: Answers = {}
    noting = replace(net, engine=Noting(engine=net.engine, answers=answers))
    segment(path, out=folder / "noting", model=noting, options=options)
    answering = replace(net, engine=Answering(answers=answers))
    taken = [passed(path, folder / f"run{i}", answering, options) for i in range(3)]
    every, passing, ending, found = (statistics.median(column) for column in zip(*taken, strict=True))
    reading_mpx, decoding = rates(path, answering, answers)
    return Run(
        mm2=len(answers) * CORE_MM2,
        passing_all=every,
        passing=passing,
        ending=ending,
        reading_mpx=reading_mpx,
        nuclei=found / decoding,
        found=int(found),
    )


def passed(path: Path, out: Path, net: Model, options: Options) -> tuple[float, float, float, int]:
    """Core seconds while windows pass, of all threads and of this one; of all after; nuclei."""
    marks: list[tuple[float, float]] = []

    def tell(event: events.Event) -> None:
        if isinstance(event, events.Started | events.Finished) and event.stage == "segment":
            marks.append((time.process_time(), time.thread_time()))

    record = segment(path, out=out, model=net, options=options, tell=tell)
    ending = time.process_time() - marks[1][0]
    every, passing = (last - first for first, last in zip(*marks, strict=True))
    return every, passing, ending, record.tasks["nuclei"].objects


def rates(path: Path, net: Model, answers: Answers) -> tuple[float, float]:
    """Mpx a second of one core that reads the windows; core seconds that decode all tasks."""
    with open_slide(path, mpp=MPP) as slide:
        frame = slide.frame
        plan = make_plan(frame, MPP, net, has_tissue=lambda box: True, cutting=cutting_of(net))
        cells = [cell for cell in plan.kept if place_of(plan.window(cell).outer) in answers]
        began = time.thread_time()
        for cell in cells:
            read_window(slide, plan.window(cell).outer)
        reading = time.thread_time() - began
    mosaic = Mosaic(plan.windows, net.tasks)
    for cell in cells:
        window = plan.window(cell)
        mosaic.put(cell, clipped(core_of(answers[place_of(window.outer)], window), window))
    began = time.thread_time()
    for cell in cells:
        decode(net, plan, mosaic, cell)
    return len(cells) * WINDOW_PX**2 / 1e6 / reading, time.thread_time() - began
