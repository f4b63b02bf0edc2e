"""The synthetic slide as a value: render a box, tell the truth of a box."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geryon.errors import InputError, UsageError
from geryon.slides.synthetic import layout
from geryon.slides.synthetic.between import cells_between
from geryon.slides.synthetic.cells import KINDS
from geryon.slides.synthetic.glands import GROUP_UM, glands_of, groups_of
from geryon.slides.synthetic.layout import TISSUES, World
from geryon.slides.synthetic.paint import CHUNK_PX, blocks_of, chunk
from geryon.slides.synthetic.polygons import fill
from geryon.slides.synthetic.signet import signets_of
from geryon.slides.synthetic.stain import Look, drawn_look
from geryon.slides.synthetic.surroundings import BLOCK_UM
from geryon.space.arrays import Image
from geryon.space.boxes import Box, Frame

FORMAT = "geryon synthetic slide 2"
"""Changes when the same seed would give another slide."""
KNOWN = ("nuclei", "glands", "lumina", "signet_ring", "tissue")
NUCLEUS_UM = 16.0
"""No nucleus reaches farther from its place."""
PER_BLOCK = 4096
"""More nuclei than a block or a group of glands can hold: ids of a block are this far apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What truly is in a box."""

    objects: np.ndarray
    """int32 [y, x]: ids unique over the slide within a task; 0 where there is none."""
    classes: dict[int, str]
    """Of the objects in the box."""
    raster: np.ndarray | None = None
    """int32 [y, x]: class number + 1; only of the task tissue."""
    raster_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """Objects as they are drawn, later ones over earlier; outlines float64 [n, 2], level0."""

    ids: np.ndarray
    """int64 [n], ascending"""
    classes: tuple[str, ...]
    outlines: tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticSlide:
    """A slide that is made where it is looked at."""

    width_um: float
    height_um: float
    seed: int = 0
    mpp: float = 0.5
    malignant: float = 0.3
    """About this share of the glandular tissue is malignant."""
    tissue_mm2: float | None = None
    """Area of the specimen, in the middle of glass; None: tissue everywhere."""
    look: Look | None = None
    """None: drawn from the seed."""
    signet: float = 0.0
    """Of the places that signet ring cells and their nests may take, the share that they try to; 0: none."""
    lesion_um: tuple[float, float, float] | None = None
    """x, y and radius of the one lesion, a wavy disc: all malignant glands are in it, whatever `malignant` says, and it
    grows over stroma and muscle too. None: malignant patches keep together in places of their own."""
    cribriform: float = 0.4
    """About this share of the malignant glands has many holes in place of one lumen: the higher grade."""

    def __post_init__(self) -> None:
        faults = [
            (self.width_um >= 1 and self.height_um >= 1, f"a slide of {self.width_um:g} x {self.height_um:g} µm"),
            (0.1 <= self.mpp <= 4, f"{self.mpp:g} µm/px (0.1 to 4 can be painted)"),
            (0 <= self.malignant <= 1, f"a share of {self.malignant:g} malignant"),
            (0 <= self.signet <= 1, f"a share of {self.signet:g} signet ring cells"),
            (0 <= self.cribriform <= 1, f"a share of {self.cribriform:g} cribriform"),
            (self.lesion_um is None or self.lesion_um[2] >= 0, f"a lesion of {self.lesion_um}"),
            (self.tissue_mm2 is None or self.tissue_mm2 > 0, f"{self.tissue_mm2} mm² of tissue"),
            (0 <= self.seed < 1 << 31, f"the seed {self.seed}"),
            (self._last_id() < 1 << 31, f"{self.width_um:g} x {self.height_um:g} µm: ids would not fit 32 bits"),
        ]
        wrong = "; ".join(text for fine, text in faults if not fine)
        if wrong:
            raise UsageError(what=f"no such slide can be made: {wrong}", mend="change its size or settings")

    def _last_id(self) -> float:
        return 2.0 * PER_BLOCK * (self.width_um / BLOCK_UM + 5) * (self.height_um / BLOCK_UM + 5)

    @property
    def frame(self) -> Frame:
        """Level0."""
        return Frame(name="level0", mpp_x=self.mpp, mpp_y=self.mpp, width=self.width_px, height=self.height_px)

    @property
    def width_px(self) -> int:
        return max(1, round(self.width_um / self.mpp))

    @property
    def height_px(self) -> int:
        return max(1, round(self.height_um / self.mpp))

    @property
    def world(self) -> World:
        """What the plane is made from."""
        return World(
            width_um=self.width_um,
            height_um=self.height_um,
            seed=self.seed,
            malignant=self.malignant,
            tissue_mm2=self.tissue_mm2,
            signet=self.signet,
            lesion_um=self.lesion_um,
            cribriform=self.cribriform,
        )

    def render(self, box: Box) -> Image:
        """The picture of a box (any frame of this slide, edges on whole level0 pixels); white outside the slide."""
        at = box.to(self.frame)
        x0, y0, x1, y1 = (round(edge) for edge in (at.xmin, at.ymin, at.xmax, at.ymax))
        out = np.full((y1 - y0, x1 - x0, 3), 255, np.uint8)
        left, top, right, bottom = max(0, x0), max(0, y0), min(x1, self.width_px), min(y1, self.height_px)
        look, world = self.look or drawn_look(self.seed), self.world
        for row in range(top // CHUNK_PX, -(-bottom // CHUNK_PX)):
            for column in range(left // CHUNK_PX, -(-right // CHUNK_PX)):
                cx, cy = column * CHUNK_PX, row * CHUNK_PX
                u0, v0, u1, v1 = max(left, cx), max(top, cy), min(right, cx + CHUNK_PX), min(bottom, cy + CHUNK_PX)
                made = chunk(world, look, self.mpp, column, row)
                out[v0 - y0 : v1 - y0, u0 - x0 : u1 - x0] = made[v0 - cy : v1 - cy, u0 - cx : u1 - cx]
        return out

    def objects(self, task: str, box: Box) -> Drawn:
        """The objects whose bounding box meets the box; whole, also where they leave the box or the slide."""
        um = box.to(self.frame.um)
        edges = (um.xmin, um.ymin, um.xmax, um.ymax)
        found = sorted(self._found(task, edges), key=lambda each: each[0])
        return Drawn(
            ids=np.array([each[0] for each in found], np.int64),
            classes=tuple(each[1] for each in found),
            outlines=tuple(each[2] / self.mpp for each in found),
        )

    def truth(self, task: str, box: Box, mpp: float) -> Truth:
        """What is in the box, at `mpp`; a pixel says what lies at its centre, nothing outside the slide."""
        um = box.to(self.frame.um)
        x, y = _centres(um.xmin, um.xmax, mpp), _centres(um.ymin, um.ymax, mpp)
        labels = np.zeros((len(y), len(x)), np.int32)
        if task == "tissue":
            return Truth(objects=labels, classes={}, raster=self._raster(x, y), raster_names=TISSUES)
        found = sorted(self._found(task, (um.xmin, um.ymin, um.xmax, um.ymax)), key=lambda each: each[0])
        fill(labels, [each[2] for each in found], np.array([each[0] for each in found], np.int32), x_px=x, y_px=y)
        labels[~self._is_on_slide(x, y)] = 0
        seen = set(np.unique(labels).tolist()) if found else set()
        return Truth(objects=labels, classes={i: name for i, name, _ in found if i in seen})

    def _raster(self, x_um: np.ndarray, y_um: np.ndarray) -> np.ndarray:
        raster = np.zeros((len(y_um), len(x_um)), np.int32)
        for start in range(0, len(y_um), 256):  # bounded memory
            rows = slice(start, start + 256)
            raster[rows] = layout.tissue_at(self.world, *np.meshgrid(x_um, y_um[rows])).astype(np.int32) + 1
        raster[~self._is_on_slide(x_um, y_um)] = 0
        return raster

    def _is_on_slide(self, x_um: np.ndarray, y_um: np.ndarray) -> np.ndarray:
        width, height = self.width_px * self.mpp, self.height_px * self.mpp
        return ((y_um >= 0) & (y_um < height))[:, None] & ((x_um >= 0) & (x_um < width))[None, :]

    def _found(self, task: str, edges: tuple[float, float, float, float]) -> list[tuple[int, str, np.ndarray]]:
        """Id, class and outline (µm) of the objects that meet the box."""
        if task not in KNOWN[:-1]:
            raise UsageError(what=f"no truth about {task!r}", mend=f"choose one of: {', '.join(KNOWN)}")
        if task == "signet_ring":
            return [each for each in self._signets(edges) if _meets(each[2], edges)]
        every: list[tuple[int, str, np.ndarray]] = []
        across, down = int(self.width_um // GROUP_UM) + 5, int(self.height_um // GROUP_UM) + 5
        for row, column in groups_of(*edges):
            group = (row + 2) * across + column + 2
            if -2 <= row < down - 2 and -2 <= column < across - 2:
                every += _in_group(task, glands_of(self.world, row, column), group)
        if task == "nuclei":
            x0, y0, x1, y1 = edges
            for row, column, block in self._blocks(
                (x0 - NUCLEUS_UM, y0 - NUCLEUS_UM, x1 + NUCLEUS_UM, y1 + NUCLEUS_UM)
            ):
                cells = cells_between(self.world, row, column)
                every += _named(cells.kind, cells.outline, 2 * PER_BLOCK * block + 1)
        return [each for each in every if _meets(each[2], edges)]

    def _signets(self, edges: tuple[float, float, float, float]) -> Iterator[tuple[int, str, np.ndarray]]:
        for row, column, block in self._blocks(edges):
            for i, outline in enumerate(signets_of(self.world, row, column).outline):
                yield PER_BLOCK * block + i + 1, "signet ring cell", outline

    def _blocks(self, edges: tuple[float, float, float, float]) -> Iterator[tuple[int, int, int]]:
        """Row, column and number of the blocks of cells that meet the box."""
        across, down = int(self.width_um // BLOCK_UM) + 5, int(self.height_um // BLOCK_UM) + 5
        for row, column in blocks_of(*edges):
            if -2 <= row < down - 2 and -2 <= column < across - 2:
                yield row, column, (row + 2) * across + column + 2

    def settings(self) -> dict[str, Any]:
        """All that makes this slide again, as JSON holds it."""
        return {
            "format": FORMAT,
            **dataclasses.asdict(dataclasses.replace(self, look=self.look or drawn_look(self.seed))),
        }

    @classmethod
    def from_file(cls, path: Path) -> SyntheticSlide:
        """The slide whose settings lie in `path` (.json), or beside a slide called `path`; InputError where none do."""
        path = Path(path)
        path = path if path.suffix == ".json" else truth_path(path)
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            if held.pop("format") != FORMAT:
                raise InputError(what="was made by another version", where=str(path), mend="make the slide again")
            look = Look(**_as_tuples(held.pop("look")))
            return cls(**_as_tuples(held), look=look)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(what=f"holds no synthetic slide: {error}", where=str(path), mend="geryon synth") from error


def _as_tuples(held: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in held.items()}


def truth_path(path: Path) -> Path:
    """Where the settings of a slide's file lie."""
    stem = path.name
    for ending in (".tiff", ".tif", ".ome"):
        stem = stem.removesuffix(ending)
    return path.with_name(f"{stem}.truth.json")


def _centres(low_um: float, high_um: float, mpp: float) -> np.ndarray:
    """Centres of the pixels between the edges; the same numbers in whatever box, where edges are whole pixels."""
    first, n = low_um / mpp, round((high_um - low_um) / mpp)
    if abs(first - round(first)) < 1e-6:
        first = round(first)
    return (np.arange(n) + (first + 0.5)) * mpp


def _meets(outline: np.ndarray, edges: tuple[float, float, float, float]) -> bool:
    low, high = outline.min(axis=0), outline.max(axis=0)
    return bool(low[0] < edges[2] and low[1] < edges[3] and high[0] > edges[0] and high[1] > edges[1])


def _in_group(task: str, glands: tuple[Any, ...], group: int) -> list[tuple[int, str, np.ndarray]]:
    if task == "nuclei":
        found, first = [], 2 * PER_BLOCK * group + 2
        for gland in glands:
            found += _named(gland.nuclei.kind, gland.nuclei.outline, first)
            first += 2 * len(gland.nuclei)
        return found
    if task == "glands":
        return [(16 * group + g.number + 1, "malignant" if g.malignant else "benign", g.outline) for g in glands]
    return [(1024 * group + 64 * g.number + k + 1, "lumen", lumen) for g in glands for k, lumen in enumerate(g.lumina)]


def _named(kind: np.ndarray, outlines: np.ndarray, first: int) -> list[tuple[int, str, np.ndarray]]:
    return [(first + 2 * i, KINDS[k].name, outline) for i, (k, outline) in enumerate(zip(kind, outlines, strict=True))]
