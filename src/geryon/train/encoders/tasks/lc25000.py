"""LC25000, colon: adenocarcinoma or normal; the class is that of the whole tile."""

from __future__ import annotations

import numpy as np

from geryon.train.encoders.patches import PatchTask, Places, all_over, grid_um
from geryon.train.source import Case

CLASSES = ("normal", "tumour")


def look(case: Case, image: np.ndarray, patch_um: float) -> Places:
    """Patches a side apart."""
    xy_um = grid_um(image.shape, case.mpp, patch_um, patch_um)
    return Places(xy_um=xy_um, labels=np.full(len(xy_um), CLASSES.index(all_over(case.labels["tissue"]()))))


LC25000 = PatchTask(name="lc25000", source="lc25000_colon", classes=CLASSES, look=look, jitter_um=32.0)
