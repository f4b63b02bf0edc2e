"""An image in memory as a network takes it: checked, and at the model's resolution."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from geryon.errors import InputError, UsageError
from geryon.slides.array import MAX_PX, slide_of_image
from geryon.space import units
from geryon.space.boxes import Box, Frame


def checked(image: Any, mpp: Any) -> np.ndarray:
    """The image, when it is uint8 [y, x, 3] and its µm per pixel can be; an error that says what it is, when not."""
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise InputError(
            what=f"an image is RGB, uint8 [y, x, 3] of 0 to 255, and this is {array.dtype} {list(array.shape)}",
            where="image",
            mend="convert it, such as (image * 255).astype(np.uint8) or image[..., :3]",
        )
    if isinstance(mpp, bool) or not isinstance(mpp, int | float | np.number) or not units.is_plausible(float(mpp)):
        raise UsageError(
            what=f"mpp {mpp!r} is no µm per pixel of a slide",
            mend=f"give a value between {units.MPP_MIN:g} and {units.MPP_MAX:g}; 0.25 is usual for 40x, 0.5 for 20x",
        )
    return array


def at_model_mpp(image: np.ndarray, level0: Frame, mpp: float) -> tuple[Frame, np.ndarray]:
    """The frame the network works in and the image in it: the grid that a slide of these pixels would be read on.

    So an image and a slide of the same pixels get the same answer (Slide.grid_mpp has the rule).
    """
    slide = slide_of_image(image, mpp=level0.mpp_x)
    grid = slide.grid_mpp(mpp)
    if grid == level0.mpp_x:
        return replace(level0, name="task"), image
    work = level0.at(grid)
    width, height = math.ceil(work.width - 1e-6), math.ceil(work.height - 1e-6)
    if width * height > MAX_PX:
        raise InputError(
            what=f"{image.shape[1]} x {image.shape[0]} px at {level0.mpp_x:g} µm would be {width} x {height} px at the "
            f"model's {mpp:g} µm, more than is held in memory",
            where="image",
            mend="check the mpp, or segment it as a slide",
        )
    return work, slide.read(Box(work, 0, 0, width, height), grid)
