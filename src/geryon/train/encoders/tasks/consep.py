"""CoNSeP: the type of most nuclei in the middle of a patch."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from geryon.train.encoders.patches import PatchTask, Places, grid_um
from geryon.train.source import Case

CLASSES = ("epithelial", "inflammatory", "connective", "other")
MIDDLE = 0.5
"""Side of the middle over that of the patch."""
LEAST = 3
"""Nuclei in the middle, of any type."""


def look(case: Case, image: np.ndarray, patch_um: float) -> Places:
    """Patches a quarter of a side apart, those whose middle has enough nuclei and one type more often than others."""
    labelled = case.labels["nuclei"]()
    assert labelled.objects is not None and labelled.classes is not None
    known = {i: CLASSES.index(name) for i, name in labelled.classes.items() if name in CLASSES}
    centres = np.array(ndimage.center_of_mass(labelled.objects > 0, labelled.objects, list(known))).reshape(-1, 2)
    at_um = (centres[:, ::-1] + 0.5) * case.mpp
    kinds = np.fromiter(known.values(), np.int64, len(known))
    xy_um = grid_um(image.shape, case.mpp, patch_um, patch_um / 4)
    near = (np.abs(at_um[None] - xy_um[:, None]) <= MIDDLE * patch_um / 2).all(axis=2)
    counts = np.stack([(near & (kinds == k)).sum(axis=1) for k in range(len(CLASSES))], axis=1)
    first, second = np.sort(counts, axis=1)[:, -1], np.sort(counts, axis=1)[:, -2]
    clear = (counts.sum(axis=1) >= LEAST) & (first > second)
    return Places(xy_um=xy_um[clear], labels=counts[clear].argmax(axis=1))


CONSEP = PatchTask(name="consep", source="consep", classes=CLASSES, look=look, jitter_um=4.0)
