"""Kather: which of nine tissues a tile is of, glass and fat among them."""

from __future__ import annotations

import numpy as np

from geryon.train.encoders.patches import PatchTask, Places, all_over, grid_um
from geryon.train.source import Case
from geryon.train.sources.kather_crc import NAMES


def look(case: Case, image: np.ndarray, patch_um: float) -> Places:
    """Patches a quarter of a side apart: tiles are hardly larger than a patch."""
    xy_um = grid_um(image.shape, case.mpp, patch_um, patch_um / 4)
    return Places(xy_um=xy_um, labels=np.full(len(xy_um), NAMES.index(all_over(case.labels["tissue"]()))))


KATHER = PatchTask(name="kather", source="kather_crc", classes=NAMES, look=look, jitter_um=8.0)
