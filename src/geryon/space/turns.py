"""The eight ways in which a square can lie: four quarter turns, each plain or mirrored."""

from __future__ import annotations

import numpy as np

TURNS = 8


def turned(array: np.ndarray, k: int) -> np.ndarray:
    """[row, column, ...] turned k % 4 quarters counter-clockwise, then mirrored left to right where k >= 4: a view.

    >>> turned(np.array([[1, 2], [3, 4]]), 1).tolist()
    [[2, 4], [1, 3]]
    """
    _refuse_other(k)
    quarters = np.rot90(array, k % 4)
    return quarters[:, ::-1] if k >= 4 else quarters


def turned_back(array: np.ndarray, k: int) -> np.ndarray:
    """What `turned(it, k)` made this of: a view."""
    _refuse_other(k)
    return np.rot90(array[:, ::-1] if k >= 4 else array, -(k % 4))


def _refuse_other(k: int) -> None:
    if not 0 <= k < TURNS:
        raise ValueError(f"a turn is a number from 0 to {TURNS - 1}, not {k}")
