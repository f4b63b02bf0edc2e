"""Where crops of a compressed slide are centred: deep in tissue rather than at its rim."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from geryon.space.arrays import Mask


def distance_map(tissue: Mask, *, is_legacy: bool = False) -> np.ndarray:
    """float64 [row, column], sum 1, or 0 where there is no tissue: how often the centre of a crop falls on a cell.

    The distance to the nearest cell without tissue, over the largest one, squared (NIC, Tellez et al. 2019). Beyond
    the grid there is none. The published code does not count that, and of a grid that is all tissue its map makes no
    sense; `is_legacy` gives its numbers wherever they do.

    >>> distance_map(np.ones((1, 2), bool)).tolist()
    [[0.5, 0.5]]
    """
    around = 0 if is_legacy and not tissue.all() else 1
    distance = distance_transform_edt(np.pad(tissue, around))
    distance = distance[around : around + tissue.shape[0], around : around + tissue.shape[1]]
    weight = (distance / max(distance.max(initial=0.0), 1.0)) ** 2
    whole: np.ndarray = weight / weight.sum() if weight.any() else weight
    return whole
