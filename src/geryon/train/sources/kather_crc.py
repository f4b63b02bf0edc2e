"""Kather: colorectal tissue tiles with a class (Scientific Reports 6, 2016; PLOS Medicine 16, 2019)."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, nothing, present, rgb

NAMES = ("adipose", "background", "debris", "lymphocytes", "mucus", "muscle", "normal", "stroma", "tumour")
OURS = {
    **{"ADI": "adipose", "ADIPOSE": "adipose", "BACK": "background", "EMPTY": "background", "DEB": "debris"},
    **{"DEBRIS": "debris", "LYM": "lymphocytes", "LYMPHO": "lymphocytes", "MUC": "mucus", "MUS": "muscle"},
    **{"NORM": "normal", "MUCOSA": "normal", "STR": "stroma", "STROMA": "stroma", "TUM": "tumour", "TUMOR": "tumour"},
}
"""Classes of both families by name; COMPLEX (a mixture) is left out."""
RESCALED_MPP = 0.495 * 150 / 224
"""Tiles of 150 pixels that were scaled to 224."""
NOWHERE = {
    "background": ("nuclei", "glands", "lumina"),
    **dict.fromkeys(("adipose", "lymphocytes", "muscle"), ("glands", "lumina")),
}
"""What a pure tile of the class can't hold: glass is no lumen, and neither is a fat cell."""


def cases(root: Path) -> Iterator[Case]:
    """All tiles of a class of ours, grouped by slide where the name gives it."""
    with present(root, "images.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        name = OURS.get(row["class"].split("_")[-1])
        if name is None:
            continue
        read = rgb(root / row["file"])
        yield Case(
            name=row["file"],
            group=row["slide"] or row["file"],
            image=read,
            mpp=float(row["um_per_px"]) if row["um_per_px"] else RESCALED_MPP,
            labels={"tissue": partial(tissue, read, name)},
            hints={task: partial(none_at_all, read) for task in NOWHERE.get(name, ())},
        )


def tissue(read: Callable[[], np.ndarray], name: str) -> Labelled:
    """One class all over the tile."""
    return Labelled(raster=np.full(read().shape[:2], NAMES.index(name) + 1, np.int32), raster_names=NAMES)


def none_at_all(read: Callable[[], np.ndarray]) -> Labelled:
    """None in the whole tile."""
    return nothing(np.ones(read().shape[:2], bool))


KATHER_CRC = Source(
    name="kather_crc",
    licence="CC BY 4.0 (2016 set: Creative Commons Attribution)",
    use="open",
    citation="Kather et al., Scientific Reports 6 (2016) 27988; PLOS Medicine 16 (2019) e1002730",
    tasks=("tissue",),
    cases=cases,
    traps="neighbouring tiles of ten slides (2016): split by slide; NCT tiles are colour-normalised",
)
