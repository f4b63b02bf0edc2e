"""GlaS: colon glands with outlines and grade (Sirinukunwattana et al., Medical Image Analysis 35, 2017).

Layouts: the release, one flat folder `Warwick QU Dataset (Released 2016_07_08)` with NAME.bmp, NAME_anno.bmp and
Grade.csv (names train_*, testA_*, testB_*), and a copy with images/NAME.jpg and masks/NAME.png beside Grade.csv.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from geryon.tasks.task import Labelled
from geryon.train.hollows import hollows
from geryon.train.source import Case, Source, none_at_all, picture, release, rgb, rows_of, values

MPP = 0.62005
BENIGN, NO_CANCER = "benign", "signet_ring"
"""Goblet cells of benign mucosa look most like signet ring cells, and none of them is one."""


def cases(root: Path) -> Iterator[Case]:
    """train_*, testA_* and testB_*, grouped by patient."""
    home = release(root, "Grade.csv")
    is_flat = not (home / "masks").exists()
    for row in rows_of(home / "Grade.csv"):
        name, grade = row["name"], row["grade (GlaS)"]
        mask = picture(home, f"{name}_anno") if is_flat else picture(home / "masks", name)
        read = rgb(picture(home if is_flat else home / "images", name))
        yield Case(
            name=name,
            group=row["patient ID"],
            image=read,
            mpp=MPP,
            labels={"glands": partial(glands, mask, grade)},
            hints={
                "lumina": partial(lumina, mask, read),
                **({NO_CANCER: partial(none_at_all, read)} if grade == BENIGN else {}),
            },
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
    mpp="0.62005",
    groups="patient",
    verified="copy: real files; release: documentation",
    traps="patients 3, 4, 7, 9, 10, 11, 13 and 15 stand in train and testA; masks hold the lumen",
)
