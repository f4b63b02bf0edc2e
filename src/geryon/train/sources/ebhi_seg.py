"""EBHI-Seg: colorectal biopsies with binary gland masks and a stage (Shi et al., Frontiers in Medicine 10, 2023).

The release does not state µm per pixel (microscope fields scaled to 224). 1.3 is estimated from two sizes
in normal images: crypts of 65 to 75 pixels across against 80 to 100 µm, lymphocytes of about 5 against 6.5 µm.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, present, rgb, values
from geryon.train.sources.hollows import hollows

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
        read = rgb(root / row["image"])
        yield Case(
            name=Path(row["image"]).stem + "-" + Path(row["image"]).parent.name,
            group=row["case"],
            image=read,
            mpp=MPP,
            labels={"glands": partial(glands, root / row["mask"], row["class"])},
            hints={"lumina": partial(lumina, root / row["mask"], read)},
        )


def glands(mask: Path, stage: str) -> Labelled:
    """The area of the glands, which the set does not tell apart, with the image's grade."""
    return Labelled(foreground=values(mask) > 0, classes={1: GRADE[stage]} if stage in GRADE else {})


def lumina(mask: Path, read: Callable[[], np.ndarray]) -> Labelled:
    """Lumina by rule inside the glands, none outside of them."""
    return hollows(read(), values(mask) > 0, MPP)


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
