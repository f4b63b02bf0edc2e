"""How much haematoxylin a place holds, in steps: what images tell of themselves, to teach an encoder without labels.

The network sees the image blurred, recoloured and made coarse, and has to say what was there: a denoising
encoder (Vincent et al., ICML 2008) whose target is a stain instead of an intensity. No result of its own is of use.
"""

from __future__ import annotations

import numpy as np

from geryon.tasks import metrics, tissue
from geryon.tasks.task import ClassTree, Labelled, Map, Task

STEPS = (0.05, 0.12, 0.2, 0.3, 0.42, 0.58, 0.8)
"""Decadic optical densities between the classes; of nuclei in usual stains about 0.4."""
NAMES = tuple(f"h{i}" for i in range(len(STEPS) + 1))


def steps_of(density: np.ndarray) -> Labelled:
    """The label of an image whose density of haematoxylin is known (float32 [y, x])."""
    return Labelled(raster=np.digitize(density, STEPS).astype(np.int32) + 1, raster_names=NAMES)


RESTORED = Task(
    name="restored",
    mpp=2.0,
    seam="place",
    reach_um=0.0,
    classes=ClassTree.flat(NAMES),
    maps=(Map(name="class", channels=len(NAMES), activation="softmax", loss="class_cross_entropy"),),
    target=tissue.target,
    decode=tissue.decode,
    metric=metrics.raster_metric,
    colours=tuple((245 - 27 * i, 235 - 30 * i, 245 - 15 * i) for i in range(len(NAMES))),
)
