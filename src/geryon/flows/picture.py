"""A picture of a result: outlines in their class colours over the slide."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from geryon.atomic import whole_file
from geryon.slides.reader import Slide
from geryon.space import units
from geryon.space.boxes import Box
from geryon.store.run import RunRecord
from geryon.store.tables import read_objects
from geryon.store.wkb import outlines_from_wkb

_SUBPIXEL_BITS = 4


def picture(slide: Slide, record: RunRecord, box: Box, *, mpp: float = 0.5) -> np.ndarray:
    """uint8 RGB [y, x, 3]: the place at `mpp`, regions with thick outlines, bounded objects with thin ones."""
    image = slide.read(box, mpp).copy()
    for name in sorted(record.object_tasks, key=lambda n: record.tasks[n].kind, reverse=True):
        _draw(image, record, name, box.to(slide.frame), mpp)
    return image


def _draw(image: np.ndarray, record: RunRecord, name: str, box: Box, mpp: float) -> None:
    assert record.folder is not None
    task = record.tasks[name]
    columns = ["geometry", "class"] if task.classes else ["geometry"]
    table = read_objects(record.folder, name, box=(box.xmin, box.ymin, box.xmax, box.ymax), columns=columns)
    outlines = outlines_from_wkb(table["geometry"])
    names = table["class"].to_pylist() if task.classes else [""] * len(table)
    scale = np.array([units.px(own, mpp) for own in record.mpp]) * (1 << _SUBPIXEL_BITS)
    origin = np.array([box.xmin, box.ymin])
    thick = 1 if task.kind == "bounded" else 2
    for i, class_name in enumerate(names):
        rings = [np.round((ring - origin) * scale - 0.5).astype(np.int32) for ring in outlines.rings(i)]
        colour = task.colours[task.classes.index(class_name) if class_name in task.classes else 0]
        cv2.polylines(image, rings, True, colour, thick, cv2.LINE_AA, _SUBPIXEL_BITS)


def save_picture(image: np.ndarray, path: Path) -> Path:
    """Write an RGB image as PNG."""
    with whole_file(path) as fresh:
        fresh.write_bytes(cv2.imencode(".png", image[..., ::-1])[1].tobytes())
    return path
