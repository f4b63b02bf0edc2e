"""CRCHistoPhenotypes: of which type the nucleus in the middle of a patch is."""

from __future__ import annotations

import numpy as np

from geryon.train.encoders.patches import PatchTask, Places
from geryon.train.source import Case

CLASSES = ("epithelial", "inflammatory", "connective", "other")


def look(case: Case, image: np.ndarray, patch_um: float) -> Places:
    """One patch a nucleus with a class."""
    labelled = case.labels["nuclei"]()
    assert labelled.points is not None and labelled.point_classes is not None
    known = np.array([name in CLASSES for name in labelled.point_classes], bool)
    labels = [CLASSES.index(name) for name in labelled.point_classes if name in CLASSES]
    return Places(xy_um=labelled.points[known] * case.mpp, labels=np.array(labels, np.int64))


CRCHISTO = PatchTask(name="crchisto", source="crchistophenotypes", classes=CLASSES, look=look, jitter_um=1.5)
