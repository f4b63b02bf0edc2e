"""GlaS: colon glands with outlines and grade (Sirinukunwattana et al., Medical Image Analysis 35, 2017)."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, present, rgb, values
from geryon.train.sources.hollows import hollows

MPP = 0.62005


def cases(root: Path) -> Iterator[Case]:
    """train_* and testA_*, grouped by patient."""
    with present(root, "Grade.csv").open(encoding="utf-8", newline="") as file:
        rows = [{key.strip(): value.strip() for key, value in row.items()} for row in csv.DictReader(file)]
    for row in rows:
        name, grade = row["name"], row["grade (GlaS)"]
        [image] = (root / "images").glob(f"{name}.*")
        mask = root / "masks" / f"{name}.png"
        read = rgb(image)
        yield Case(
            name=name,
            group=row["patient ID"],
            image=read,
            mpp=MPP,
            labels={"glands": partial(glands, mask, grade)},
            hints={"lumina": partial(lumina, mask, read)},
            stratum=grade,
        )


def glands(mask: Path, grade: str) -> Labelled:
    """Outlines; all glands of an image have its grade."""
    objects = values(mask)
    return Labelled(objects=objects, classes={int(i): grade for i in np.unique(objects) if i})


def lumina(mask: Path, read: Callable[[], np.ndarray]) -> Labelled:
    """Lumina by rule inside the glands, none outside of them."""
    return hollows(read(), values(mask) > 0, MPP)


GLAS = Source(
    name="glas",
    licence="for research only, no commercial use",
    use="research",
    citation="Sirinukunwattana et al., Medical Image Analysis 35 (2017) 489-502",
    tasks=("glands",),
    cases=cases,
    traps="patients 3, 4, 7, 9, 10, 11, 13 and 15 stand in train and testA; masks hold the lumen",
)
