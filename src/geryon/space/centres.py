"""Where crops of a compressed slide are centred: deep in tissue rather than at its rim."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from geryon.space.arrays import Mask


def distance_map(tissue: Mask, *, is_legacy: bool = False) -> np.ndarray:
    """float64 [row, column], sum 1: the distance to the nearest cell without tissue, squared (Tellez et al., IEEE TPAMI
    2021, section 3.3, as their code has it). What lies outside the slide has no tissue. All 0 where no cell has any.

    The published code does not count what lies outside, and of a grid that is all tissue its map makes no sense;
    `is_legacy` gives its numbers wherever they do.

    >>> distance_map(np.ones((1, 2), bool)).tolist()
    [[0.5, 0.5]]
    """
    if not tissue.any():
        return np.zeros(tissue.shape)
    around = 0 if is_legacy and not tissue.all() else 1
    distance = distance_transform_edt(np.pad(tissue, around)) ** 2
    distance = distance[around : around + tissue.shape[0], around : around + tissue.shape[1]]
    whole: np.ndarray = distance / distance.sum()
    return whole
