"""CRCHistoPhenotypes: colorectal nuclei as points, part of them with a class (IEEE TMI 35(5), 2016).

Layout: CRCHistoPhenotypes_2016_04_28/Detection/imgK/imgK.bmp and imgK_detection.mat (all nuclei),
Classification/imgK/imgK_<class>.mat, each with `detection` [n, 2], x and y.
Images stand under Classification again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from geryon.tasks.class_metrics import match_points
from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, natural, picture, release, rgb

SAME_PX = 10.0
"""A point of a class this near a detected nucleus is that nucleus."""
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
            labels={"nuclei": partial(nuclei, place, folder / "Classification" / name, read)},
        )


def nuclei(detected: Path, classified: Path, read: Callable[[], np.ndarray]) -> Labelled:
    """All nuclei, a class where they have one; MATLAB counts pixels from 1, so a centre at 1 is at 0.5 of ours.

    Points of a class lie on those of detection, or a few pixels off: 49 of 17,801 in a copy of 80 images.
    """
    found = [(points(classified / f"{classified.name}_{kind}.mat"), name) for kind, name in OURS.items()]
    of_class = np.concatenate([at for at, _ in found])
    classes = [name for at, name in found for _ in range(len(at))]
    every = points(detected / f"{detected.name}_detection.mat")
    pairs = match_points(of_class, every, SAME_PX)
    names = dict(zip(pairs[:, 1].tolist(), (classes[i] for i in pairs[:, 0]), strict=True))
    alone = np.setdiff1d(np.arange(len(of_class)), pairs[:, 0])
    return Labelled(
        points=np.concatenate([every, of_class[alone]]) - 0.5,
        point_classes=tuple(names.get(i, "") for i in range(len(every))) + tuple(classes[i] for i in alone),
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
