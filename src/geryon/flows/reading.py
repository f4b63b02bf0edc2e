"""Windows of a slide as they are read: mirrored at its border, and as far as a damaged file lets them be."""

from __future__ import annotations

import numpy as np

from geryon.nets.model import mirrored
from geryon.slides.reader import Slide
from geryon.slides.salvage import Salvaged, salvaged
from geryon.space import units
from geryon.space.boxes import Box
from geryon.space.windows import Window

UNREADABLE_PX = 128
"""Side of the blocks in which a damaged place is read: what scanners write as one tile, at half a micrometre."""


def read_window(slide: Slide, outer: Box) -> Salvaged:
    """A window as far as it can be read, white elsewhere; outside the slide it is mirrored at the slide's border."""
    frame = outer.frame
    right, bottom = int(np.ceil(frame.width - 1e-6)), int(np.ceil(frame.height - 1e-6))
    x0, y0, x1, y1 = (round(edge) for edge in (outer.xmin, outer.ymin, outer.xmax, outer.ymax))
    inside = Box(frame, max(0, x0), max(0, y0), min(right, x1), min(bottom, y1))
    seen = salvaged(slide, inside, UNREADABLE_PX)
    past = max(0, -y0), max(0, y1 - bottom), max(0, -x0), max(0, x1 - right)
    image = mirrored(seen.image, past)
    if seen.fault is None:
        return Salvaged(image, np.broadcast_to(np.False_, image.shape[:2]), None)
    return Salvaged(image, mirrored(seen.unreadable.view(np.uint8), past).view(bool), seen.fault)


def said_of_loss(seen: Salvaged, lost: np.ndarray, window: Window) -> str:
    if lost.all():
        return f"left out: {seen.fault}"
    if not lost.any():
        return f"a window's halo can't be read in part, and counts as empty glass there: {seen.fault}"
    lost_mm2 = np.count_nonzero(lost) * units.um(1.0, window.frame.mpp_x) ** 2 / 1e6
    return f"{lost_mm2:.4f} mm² of a window ({lost.mean():.0%}) can't be read and count as empty glass: {seen.fault}"
