"""The measure `stain`: haematoxylin and eosin inside each object, from the slide's own pixels."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from geryon import events
from geryon.compiling import compiled
from geryon.errors import InputError
from geryon.flows.measure import Measure, Place
from geryon.runtime.stream import ahead
from geryon.slides.stains import stain_densities
from geryon.space.boxes import Box, Frame
from geryon.space.drawing import by_square, inside
from geryon.space.objects import Outlines

BLOCK_PX = 1024
"""Side of what is read at once, in pixels of the task."""
READERS = 2
"""Threads that read; one block more is in memory than there are of them."""
COLUMNS = ("haematoxylin_od", "haematoxylin_sd_od", "eosin_od", "eosin_sd_od")


Block = tuple[Box, np.ndarray]
"""A box in the task's frame, and the numbers of the objects that meet it."""


def stain_of(outlines_level0: Outlines, place: Place) -> dict[str, np.ndarray]:
    """float64 [object] for each of COLUMNS: mean and standard deviation over the pixels whose centre an object holds.

    Pixels are those of the task's µm per pixel. NaN for an object that holds no centre, or that lies in part where the
    slide can't be read.
    """
    level0, frame = place.slide.frame, place.slide.frame.at(place.mpp)
    outlines = outlines_level0.scaled(level0.mpp_x / frame.mpp_x, level0.mpp_y / frame.mpp_y)
    total = np.zeros((len(outlines), 5))
    for (box, objects), image in _read(blocks(outlines, frame), place):
        if image is None:
            total[objects] = np.nan
            continue
        number, pixel = inside(outlines.take(objects), box)
        if len(pixel) == 0:
            continue
        total[objects] += _sums(number, stain_densities(_picked(image.reshape(-1, 3), pixel)), len(objects))
    with np.errstate(divide="ignore", invalid="ignore"):
        h, e, h2, e2 = total[:, 1:].T / total[:, 0]
    return dict(zip(COLUMNS, (h, _deviation(h, h2), e, _deviation(e, e2)), strict=True))


@compiled
def _picked(pixels, at):  # type: ignore[no-untyped-def]
    """uint8 [1, k, 3]: some of the pixels, as an image."""
    out = np.empty((1, len(at), 3), np.uint8)
    for k in range(len(at)):
        for c in range(3):
            out[0, k, c] = pixels[at[k], c]
    return out


@compiled
def _sums(number, densities, n):  # type: ignore[no-untyped-def]
    """float64 [n, 5]: pixels of each number, sums of both densities (float32 [1, k, 2]) and of their squares."""
    out = np.zeros((n, 5))
    for k in range(len(number)):
        i, h, e = number[k], np.float64(densities[0, k, 0]), np.float64(densities[0, k, 1])
        out[i, 0] += 1.0
        out[i, 1] += h
        out[i, 2] += e
        out[i, 3] += h * h
        out[i, 4] += e * e
    return out


def blocks(outlines: Outlines, frame: Frame) -> Iterator[Block]:
    """The squares of BLOCK_PX that hold something of the outlines (in the frame), each cut down to what it holds."""
    boxes = outlines.boxes()
    for (row, column), objects in by_square(outlines, BLOCK_PX):
        held = boxes[objects]
        around = Box(frame, *held[:, :2].min(axis=0).tolist(), *held[:, 2:].max(axis=0).tolist())
        x, y = column * BLOCK_PX, row * BLOCK_PX
        box = around.meet(Box(frame, x, y, x + BLOCK_PX, y + BLOCK_PX)).whole()
        if not box.is_empty:
            yield box, objects


def _read(places: Iterator[Block], place: Place) -> Iterator[tuple[Block, np.ndarray | None]]:
    def read(block: Block) -> np.ndarray | None:
        try:
            return place.slide.read(block[0], place.mpp)
        except InputError as error:  # one bad place costs its objects this measure, not the others theirs
            place.tell(events.Warned(text=f"not measured: {error}"))
            return None

    with ThreadPoolExecutor(READERS, thread_name_prefix="read") as pool:
        yield from ahead(pool, read, places, READERS)


def _deviation(mean: np.ndarray, mean_of_squares: np.ndarray) -> np.ndarray:
    return np.sqrt(np.maximum(mean_of_squares - mean**2, 0.0))


STAIN = Measure(columns=COLUMNS, of=stain_of)
