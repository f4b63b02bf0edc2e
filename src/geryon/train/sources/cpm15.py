"""CPM-15: brain nuclei with outlines (Vu et al., Frontiers in Bioengineering and Biotechnology 7, 2019)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, present, rgb, values

TWENTY = frozenset(f"image{i:02d}" for i in range(1, 8))
"""Scanned at 20x by the release's README; the others at 40x."""


def cases(root: Path) -> Iterator[Case]:
    """All images, µm per pixel by each image's objective."""
    with present(root, "index.csv").open(encoding="utf-8", newline="") as file:
        names = [Path(row["image"]).stem for row in csv.DictReader(file)]
    for name in names:
        mask = root / f"{name}_mask.png"
        [image] = (p for p in root.glob(f"{name}.*"))
        mpp = 0.5 if name in TWENTY else 0.25
        yield Case(name=name, group=name, image=rgb(image), mpp=mpp, labels={"nuclei": partial(nuclei, mask)})


def nuclei(mask: Path) -> Labelled:
    """Outlines without classes."""
    return Labelled(objects=values(mask))


CPM15 = Source(
    name="cpm15",
    licence="none found",
    use="evaluate",
    citation="Vu et al., Frontiers in Bioengineering and Biotechnology 7 (2019) 53",
    tasks=("nuclei",),
    cases=cases,
    mpp_is_estimate=True,
    traps="20x and 40x in one folder; TCGA patients recur elsewhere",
)
