"""CRCHistoPhenotypes: colorectal nuclei as points, part of them with a class (IEEE TMI 35(5), 2016).

Layout: CRCHistoPhenotypes_2016_04_28/Detection/imgK/imgK.bmp and Classification/imgK/imgK_<class>.mat, each with
`detection` [n, 2], x and y. The images stand under Classification again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, natural, picture, release, rgb

OURS = {"epithelial": "epithelial", "inflammatory": "inflammatory", "fibroblast": "connective", "others": "other"}


def cases(root: Path) -> Iterator[Case]:
    """All images, one group each: no table of image to patient was published."""
    folder = release(root, "Detection")
    for place in sorted((folder / "Detection").glob("img*"), key=natural):
        name = place.name
        read = rgb(picture(place, name))
        yield Case(
            name=name,
            group=name,
            image=read,
            mpp=0.55,
            labels={"nuclei": partial(nuclei, folder / "Classification" / name, read)},
        )


def nuclei(folder: Path, read: Callable[[], np.ndarray]) -> Labelled:
    """Points with a class; MATLAB counts pixels from 1, so a centre at 1 is at 0.5 of ours."""
    found = [(points(folder / f"{folder.name}_{kind}.mat"), name) for kind, name in OURS.items()]
    return Labelled(
        points=np.concatenate([at for at, _ in found]) - 0.5,
        point_classes=tuple(name for at, name in found for _ in range(len(at))),
        known=np.ones(read().shape[:2], bool),
    )


def points(path: Path) -> np.ndarray:
    """float64 [n, 2]: x, y."""
    read: np.ndarray = loadmat(path)["detection"].reshape(-1, 2).astype(np.float64)
    return read


CRCHISTOPHENOTYPES = Source(
    name="crchistophenotypes",
    licence="for research only",
    use="research",
    citation="Sirinukunwattana et al., IEEE Transactions on Medical Imaging 35 (2016) 1196-1206",
    tasks=("nuclei",),
    cases=cases,
    mpp="0.55",
    groups="image: no table to the 9 patients was published",
    verified="real files (images in a copy of WebP)",
    traps="a quarter of the nuclei have no class; images of 9 patients without a table",
)
