"""A table of points: image, x, y and, where it is known, class; x and y are pixels of the image, edges at integers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from geryon.train import rows
from geryon.train.drawings import Drawing
from geryon.train.own import Format


def draw(points: Sequence[rows.Row]) -> Drawing:
    """Centres and classes."""
    at = np.array([numbers for numbers, _ in points], np.float64).reshape(-1, 2)
    return Drawing(points=at, classes=tuple(name for _, name in points))


FORMAT = Format(
    look=partial(rows.look, columns=("x", "y"), draw=draw),
    reads=("images", "labels", "known", "skip"),
    teaches=("own",),
)
