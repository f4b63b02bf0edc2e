"""Of a place that can't be read whole, all that can be read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geryon.errors import InputError
from geryon.slides.reader import Slide
from geryon.space.arrays import Image, Mask
from geryon.space.boxes import Box


@dataclass(frozen=True, slots=True)
class Salvaged:
    """A place as far as it can be read: white, and True in `unreadable`, where it can't."""

    image: Image
    unreadable: Mask
    fault: InputError | None
    """The first that was met; None when all could be read."""


def salvaged(slide: Slide, box: Box, block_px: int) -> Salvaged:
    """The pixels of the box (whole-number edges) in its own frame; in blocks where it can't be read at once.

    Blocks begin at multiples of `block_px` of the frame, so what is lost does not depend on the box that was asked for.
    """
    mpp = box.frame.mpp_x
    try:
        image = slide.read(box, mpp)
        return Salvaged(image, np.broadcast_to(np.False_, image.shape[:2]), None)
    except InputError as error:
        fault = error
    image = np.full((*box.shape, 3), 255, np.uint8)
    unreadable = np.zeros(box.shape, bool)
    x0, y0, x1, y1 = (round(edge) for edge in (box.xmin, box.ymin, box.xmax, box.ymax))
    for top in range(y0 // block_px * block_px, y1, block_px):
        for left in range(x0 // block_px * block_px, x1, block_px):
            part = box.meet(Box(box.frame, left, top, left + block_px, top + block_px))
            at = np.s_[round(part.ymin) - y0 : round(part.ymax) - y0, round(part.xmin) - x0 : round(part.xmax) - x0]
            try:
                image[at] = slide.read(part, mpp)
            except InputError:
                unreadable[at] = True
    return Salvaged(image, unreadable, fault)
