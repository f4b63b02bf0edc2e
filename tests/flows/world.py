"""A small world whose truth is known exactly: label maps drawn once, cut as asked."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import cv2
import numpy as np

from geryon.nets.engines.oracle import OracleEngine
from geryon.nets.model import Model
from geryon.nets.weights import ModelDocument, task_document
from geryon.slides.array import slide_of_image
from geryon.slides.reader import Slide
from geryon.space.boxes import Box
from geryon.tasks.task import get_task

MPP = 0.5
NAMES = ("nuclei", "glands", "lumina", "tissue")


@dataclass(frozen=True)
class World:
    """Nuclei, glands with lumina, and tissue classes on a small slide at 0.5 µm per pixel."""

    shape: tuple[int, int]
    maps: dict[str, np.ndarray]
    classes: dict[str, dict[int, str]]

    def truth(self, task: str, box: Box, mpp: float) -> SimpleNamespace:
        """The truth of a box whose edges are whole pixels of `mpp`; nothing outside the slide."""
        x0, y0, x1, y1 = (round(edge) for edge in (box.xmin, box.ymin, box.xmax, box.ymax))
        whole = self.maps[task]
        out = np.zeros((y1 - y0, x1 - x0), np.int32)
        top, left = max(0, y0), max(0, x0)
        part = whole[top : max(top, y1), left : max(left, x1)]
        out[top - y0 : top - y0 + part.shape[0], left - x0 : left - x0 + part.shape[1]] = part
        if task == "tissue":
            return SimpleNamespace(raster=out, raster_names=get_task("tissue").class_names)
        return SimpleNamespace(objects=out, classes=self.classes[task], raster=None)


def make_world(height: int, width: int, seed: int = 0, nuclei: int = 400, glands: int = 12) -> World:
    """A world of that many pixels at 0.5 µm per pixel; objects touch now and then and cross every seam."""
    rng = np.random.default_rng(seed)
    small = (-(-height // 4), -(-width // 4))
    drawn = {"nuclei": _draw(rng, (height, width), nuclei, (6, 13)), "glands": _draw(rng, small, glands, (25, 90))}
    drawn["lumina"] = _shrunk(drawn["glands"])
    cells = (-(-height // 32), -(-width // 32))
    drawn["tissue"] = cv2.resize(
        rng.integers(1, 10, (4, 5)).astype(np.float32), cells[::-1], interpolation=cv2.INTER_NEAREST
    ).astype(np.int32)
    leaves = {"nuclei": get_task("nuclei").class_names, "glands": get_task("glands").class_names, "lumina": ("",)}
    classes = {
        name: {i: names[i % len(names)] for i in range(1, int(drawn[name].max()) + 1)} for name, names in leaves.items()
    }
    return World((height, width), drawn, classes)


def _draw(rng: np.random.Generator, shape: tuple[int, int], n: int, radii: tuple[int, int]) -> np.ndarray:
    labels = np.zeros(shape, np.int32)
    done = 0
    for _ in range(5 * n):
        x, y = rng.uniform(0, shape[1]), rng.uniform(0, shape[0])
        a = rng.uniform(*radii)
        pen = np.zeros(shape, np.uint8)
        axes = (round(a), round(a * rng.uniform(0.6, 1.0)))
        cv2.ellipse(pen, (round(x), round(y)), axes, rng.uniform(0, 180), 0, 360, 1, -1)
        inside = pen > 0
        if (labels[inside] > 0).any() or not inside.any():
            continue
        done += 1
        labels[inside] = done
        if done == n:
            break
    return labels


def _shrunk(glands: np.ndarray) -> np.ndarray:
    distance = cv2.distanceTransform((glands > 0).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.where(distance > 10, glands, 0).astype(np.int32)


def slide_of(world: World, name: str = "world") -> Slide:
    """A slide of that size; its pixels say nothing, the oracle knows."""
    return slide_of_image(np.full((*world.shape, 3), 200, np.uint8), mpp=MPP, name=name)


def oracle(world: World, names: tuple[str, ...] = NAMES) -> Model:
    """A model that knows the world."""
    tasks = tuple(get_task(name) for name in names)
    document = ModelDocument(
        name="oracle", version="1", topology="none", tasks=tuple(task_document(t) for t in tasks), mpp=MPP
    )
    return Model(
        document=document, sha256="0" * 64, tasks=tasks, engine=OracleEngine(source=world, tasks=tasks, model_mpp=MPP)
    )
