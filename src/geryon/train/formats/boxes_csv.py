"""A table of boxes: image, xmin, ymin, xmax, ymax and, where it is known, class, in pixels of the image.

A box says where its object is, and not which pixels it has: a task of outlines learns from the point in its middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from geryon.train import rows
from geryon.train.drawings import Drawing
from geryon.train.own import Format


def draw(boxes: Sequence[rows.Row]) -> Drawing:
    """Middles, extents and classes."""
    at = np.array([numbers for numbers, _ in boxes], np.float64).reshape(-1, 4)
    return Drawing(points=(at[:, :2] + at[:, 2:]) / 2, extents=at, classes=tuple(name for _, name in boxes))


FORMAT = Format(
    look=partial(rows.look, columns=("xmin", "ymin", "xmax", "ymax"), draw=draw),
    reads=("images", "labels", "known", "skip"),
    teaches=("own",),
)
