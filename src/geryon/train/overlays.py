"""Pictures of what was found: outlines in the colour of their class, the truth in black."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from geryon.atomic import whole_file
from geryon.space.objects import Objects

COLOURS = ((0, 160, 0), (230, 0, 0), (0, 90, 255), (255, 170, 0))
TRUTH = (0, 0, 0)


def overlays(out: Path, most: int | None = None) -> Callable[[Any, np.ndarray, Any], None]:
    """A listener that writes one picture an image and task that the image labels, or all of it without labels, into
    `out`; of the first `most` images of each task."""
    written: dict[str, int] = {}

    def seen(case: Any, image: np.ndarray, prediction: Any) -> None:
        for task, objects in prediction.objects.items():
            if most is not None and (task not in case.labels or written.get(task, 0) >= most):
                continue
            written[task] = written.get(task, 0) + 1
            name = str(case.name).replace("/", "-")
            write_jpeg(out / f"{name}_{task}.jpg", drawn(image, case, task, objects))

    return seen


def drawn(image: np.ndarray, case: Any, task: str, objects: Objects) -> np.ndarray:
    """The image (uint8 [y, x, 3]) with found outlines in the colour of their class; true rims, points, boxes in
    black."""
    picture = image.copy()
    if task in case.labels:
        _draw_truth(picture, case.labels[task]())
    for i in range(len(objects)):
        colour = COLOURS[int(objects.p[i].argmax()) % len(COLOURS)] if objects.p.shape[1] else COLOURS[0]
        rings = [np.round(ring - 0.5).astype(np.int32) for ring in objects.outlines.rings(i)]
        cv2.polylines(picture, rings, isClosed=True, color=colour, thickness=1)
    return picture


def _draw_truth(picture: np.ndarray, labelled: Any) -> None:
    size = (picture.shape[1], picture.shape[0])
    labels = labelled.objects if labelled.objects is not None else labelled.foreground
    if labels is not None:
        on_image = cv2.resize(labels.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
        picture[cv2.morphologyEx(on_image, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0] = TRUTH
    grid = size if labelled.known is None else labelled.known.shape[::-1]
    x, y = size[0] / grid[0], size[1] / grid[1]
    for point in labelled.points if labelled.points is not None else ():
        cv2.circle(picture, (int(point[0] * x), int(point[1] * y)), 2, TRUTH, thickness=-1)
    for box in labelled.boxes if labelled.boxes is not None else ():
        corners = np.round(box * [x, y, x, y]).astype(int).tolist()
        cv2.rectangle(picture, corners[:2], corners[2:], TRUTH, thickness=2)


def write_jpeg(path: Path, picture: np.ndarray) -> None:
    """Write an RGB image, whole or not at all."""
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    with whole_file(path) as fresh:
        fresh.write_bytes(data.tobytes())
