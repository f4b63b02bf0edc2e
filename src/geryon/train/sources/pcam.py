"""PatchCamelyon: lymph node patches, tumour or not in the middle (Veeling et al., MICCAI 2018)."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, present, rgb

MIDDLE_PX = 32
NAMES = ("tumour",)


def cases(root: Path) -> Iterator[Case]:
    """All patches; what is not tumour is unknown to us, for no class of ours says just that."""
    with present(root, "images.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        read = rgb(root / row["file"])
        yield Case(
            name=row["file"],
            group=row["file"],
            image=read,
            mpp=0.97,
            labels={"tissue": partial(tissue, read, row["label"] == "1")},
        )


def tissue(read: Callable[[], np.ndarray], is_tumour: bool) -> Labelled:
    """Tumour in the middle square, unknown around it."""
    shape = read().shape[:2]
    raster = np.zeros(shape, np.int32)
    y, x = (shape[0] - MIDDLE_PX) // 2, (shape[1] - MIDDLE_PX) // 2
    raster[y : y + MIDDLE_PX, x : x + MIDDLE_PX] = int(is_tumour)
    return Labelled(raster=raster, raster_names=NAMES)


PCAM = Source(
    name="pcam",
    licence="CC0",
    use="open",
    citation="Veeling et al., MICCAI 2018; Ehteshami Bejnordi et al., JAMA 2017",
    tasks=("tissue",),
    cases=cases,
    traps="ten patches: for smoke tests of the format",
)
