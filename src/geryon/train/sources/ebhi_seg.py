"""EBHI-Seg: colorectal biopsies with binary gland masks and a stage (Shi et al., Frontiers in Medicine 10, 2023).

The release does not state µm per pixel (microscope fields scaled to 224). 1.3 is estimated from two sizes
in normal images: crypts of 65 to 75 pixels across against 80 to 100 µm, lymphocytes of about 5 against 6.5 µm.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, present, rgb, values

MPP = 1.3
GRADE = {
    "Normal": "benign",
    "Polyp": "benign",
    "Serrated adenoma": "benign",
    "Low-grade IN": "benign",
    "Adenocarcinoma": "malignant",
}
"""High-grade neoplasia is left out: it is neither by GlaS' terms."""


def cases(root: Path) -> Iterator[Case]:
    """All images, grouped by case."""
    with present(root, "images.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        yield Case(
            name=Path(row["image"]).stem + "-" + Path(row["image"]).parent.name,
            group=row["case"],
            image=rgb(root / row["image"]),
            mpp=MPP,
            labels={"glands": partial(glands, root / row["mask"], row["class"])},
            nowhere={"lumina": partial(outside, root / row["mask"])},
        )


def glands(mask: Path, stage: str) -> Labelled:
    """The area of the glands, which the set does not tell apart, with the image's grade."""
    return Labelled(foreground=values(mask) > 0, classes={1: GRADE[stage]} if stage in GRADE else {})


def outside(mask: Path) -> np.ndarray:
    """bool [y, x]: outside the glands, where a white place is no lumen."""
    return values(mask) == 0


EBHI_SEG = Source(
    name="ebhi_seg",
    licence="CC BY 4.0",
    use="open",
    citation="Shi et al., Frontiers in Medicine 10 (2023) 1114673",
    tasks=("glands",),
    cases=cases,
    mpp_is_estimate=True,
    traps="masks are binary: touching glands are joined; one case can be in several stages",
)
