"""CPM-17: brain, lung and head-and-neck nuclei with outlines (Vu et al., Frontiers in Bioengineering 7, 2019).

Layout as HoVer-Net's authors pass it on and public code reads it (no files were at hand):
cpm17/{train,test}/{Images,Labels}/image_NN.{png,mat}, 32 and 32, each .mat with `inst_map` [y, x].

The set mixes 20x and 40x without a table. µm per pixel is estimated by image: nuclei of 310 pixels or more (median
area) are of 40x. CPM-15, of the same organisers, tells its objectives, and there the rule is right for 15 of 15 images
(medians of 76 to 237 pixels at 20x, 406 to 720 at 40x).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from geryon.train.source import Case, Source, natural, outlined, picture, release, rgb

FINE, COARSE = 0.25, 0.5
"""µm per pixel of 40x and 20x."""
AREA_PX = 310
"""Median area of nuclei that parts the two."""


def cases(root: Path) -> Iterator[Case]:
    """All images, one group each; both parts count from 00, so the part stands before the name: train/image_00."""
    home = release(root, "train/Labels", "test/Labels")
    for part in ("train", "test"):
        for path in sorted((home / part / "Labels").glob("*.mat"), key=natural):
            name = f"{part}/{path.stem}"
            objects = outlined(path).objects
            assert objects is not None
            yield Case(
                name=name,
                group=name,
                image=rgb(picture(home / part / "Images", path.stem)),
                mpp=mpp_by_nuclei(objects),
                labels={"nuclei": partial(outlined, path)},
            )


def mpp_by_nuclei(objects: np.ndarray) -> float:
    """µm per pixel of an image by the median area of its nuclei (int32 [y, x], numbered); 40x where there are none."""
    areas = np.bincount(objects.ravel())[1:]
    areas = areas[areas > 0]
    return COARSE if len(areas) and np.median(areas) < AREA_PX else FINE


CPM17 = Source(
    name="cpm17",
    licence="none found",
    use="evaluate",
    citation="Vu et al., Frontiers in Bioengineering and Biotechnology 7 (2019) 53",
    tasks=("nuclei",),
    cases=cases,
    mpp="0.25 or 0.5, by the size of the nuclei",
    mpp_is_estimate=True,
    groups="image: no table to patients was published",
    verified="documentation",
    traps="20x and 40x in one folder without a table; TCGA patients recur elsewhere",
)
