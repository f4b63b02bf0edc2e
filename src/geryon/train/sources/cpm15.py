"""CPM-15: brain nuclei with outlines (Vu et al., Frontiers in Bioengineering and Biotechnology 7, 2019).

Layouts: the release, imageNN.png and imageNN_mask.txt (width and height, then one number a pixel, row by row; the
imageNN_poly.png are drawings), and a copy with imageNN_mask.png. The copy that HoVer-Net's authors pass on numbers its
images otherwise and is not read: µm per pixel hangs on the number.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, natural, picture, release, rgb, values

TWENTY = frozenset(f"image{i:02d}" for i in range(1, 8))
"""Scanned at 20x by the release's README; the others at 40x."""


def cases(root: Path) -> Iterator[Case]:
    """All images, µm per pixel by each image's objective."""
    home = release(root, "image*_mask.*")
    for mask in sorted(home.glob("image*_mask.*"), key=natural):
        name = mask.stem.removesuffix("_mask")
        mpp = 0.5 if name in TWENTY else 0.25
        labels = {"nuclei": partial(nuclei, mask)}
        yield Case(name=name, group=name, image=rgb(picture(home, name)), mpp=mpp, labels=labels)


def nuclei(mask: Path) -> Labelled:
    """Outlines without classes, from a picture or the release's text."""
    if mask.suffix != ".txt":
        return Labelled(objects=values(mask))
    width, height, *numbers = map(int, mask.read_text(encoding="ascii").split())
    return Labelled(objects=np.array(numbers, np.int32).reshape(height, width))


CPM15 = Source(
    name="cpm15",
    licence="none found",
    use="evaluate",
    citation="Vu et al., Frontiers in Bioengineering and Biotechnology 7 (2019) 53",
    tasks=("nuclei",),
    cases=cases,
    mpp="0.25 or 0.5, by the release's table of objectives",
    groups="image: no table to patients was published",
    verified="copy: real files; release: documentation",
    mpp_is_estimate=True,
    traps="20x and 40x in one folder; TCGA patients recur elsewhere",
)
