"""Where crops of a compressed slide are centred: deep in tissue rather than at its rim."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import distance_transform_edt

from geryon.space.arrays import Mask


def distance_map(tissue: Mask) -> np.ndarray:
    """float64 [row, column], sum 1: the distance to the nearest cell without tissue, squared (Tellez et al., IEEE TPAMI
    2021, section 3.3, as their code has it). What lies outside the slide has no tissue. All 0 where no cell has any.

    >>> distance_map(np.ones((1, 2), bool)).tolist()
    [[0.5, 0.5]]
    """
    if not tissue.any():
        return np.zeros(tissue.shape)
    distance = distance_transform_edt(np.pad(tissue, 1))[1:-1, 1:-1] ** 2
    whole: np.ndarray = distance / distance.sum()
    return whole
