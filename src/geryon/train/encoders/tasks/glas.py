"""GlaS: benign or malignant, told from a patch with tissue in it; the grade is that of the whole image."""

from __future__ import annotations

import numpy as np

from geryon.train.encoders.patches import PatchTask, Places, grid_um, is_tissue, share_of
from geryon.train.source import Case

CLASSES = ("benign", "malignant")
TISSUE = 0.5
"""Least part of a patch that is no glass."""


def look(case: Case, image: np.ndarray, patch_um: float) -> Places:
    """Patches half a side apart."""
    xy_um = grid_um(image.shape, case.mpp, patch_um, patch_um / 2)
    xy_um = xy_um[share_of(is_tissue(image), xy_um, case.mpp, patch_um) >= TISSUE]
    return Places(xy_um=xy_um, labels=np.full(len(xy_um), CLASSES.index(case.stratum)))


GLAS = PatchTask(name="glas", source="glas", classes=CLASSES, look=look, jitter_um=16.0)
