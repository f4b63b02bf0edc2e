"""EBHI-Seg: which of six stages a biopsy is of; the stage is that of the whole image."""

from __future__ import annotations

import numpy as np

from geryon.train.encoders.patches import PatchTask, Places, grid_um, is_tissue, share_of
from geryon.train.source import Case

CLASSES = ("normal", "polyp", "serrated_adenoma", "low_grade_in", "high_grade_in", "adenocarcinoma")
TISSUE = 0.5
"""Least part of a patch that is no glass."""


def look(case: Case, image: np.ndarray, patch_um: float) -> Places:
    """Patches a side apart; the source tells the stage in a case's name."""
    xy_um = grid_um(image.shape, case.mpp, patch_um, patch_um)
    xy_um = xy_um[share_of(is_tissue(image), xy_um, case.mpp, patch_um) >= TISSUE]
    return Places(xy_um=xy_um, labels=np.full(len(xy_um), CLASSES.index(case.name.rpartition("-")[2])))


EBHI = PatchTask(name="ebhi", source="ebhi_seg", classes=CLASSES, look=look, jitter_um=32.0)
