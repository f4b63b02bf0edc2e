"""CoNSeP: colorectal nuclei with outlines and classes (Graham et al., Medical Image Analysis 58, 2019).

Layout: CoNSeP/{Train,Test}/{Images,Labels}/NAME.{png,mat}, train_1..27 and test_1..14, each .mat with `inst_map`,
`type_map`, `inst_type` and `inst_centroid`. Some copies merge the seven classes to four, as the paper does.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, natural, picture, release, rgb

SEVEN = ("other", "inflammatory", "epithelial", "epithelial", "connective", "connective", "connective")
"""Classes of the release: other, inflammatory, healthy and malignant epithelial, fibroblast, muscle, endothelial."""
FOUR = ("other", "inflammatory", "epithelial", "connective")
"""Classes of copies that are merged as in the paper."""


def cases(root: Path) -> Iterator[Case]:
    """train_* and test_*, one group each: no table of image to slide was published."""
    home = release(root, "Train/Labels", "Test/Labels")
    for part in ("Train", "Test"):
        for path in sorted((home / part / "Labels").glob("*.mat"), key=natural):
            image = picture(home / part / "Images", path.stem)
            labels = {"nuclei": partial(nuclei, path)}
            yield Case(name=path.stem, group=path.stem, image=rgb(image), mpp=0.25, labels=labels)


def nuclei(path: Path) -> Labelled:
    """Outlines and classes of one .mat file; whether classes are merged is told by the largest number."""
    content = loadmat(path)
    kinds = content["inst_type"].ravel().astype(int)
    names = SEVEN if kinds.max(initial=0) > 4 else FOUR
    classes = {i + 1: names[kind - 1] for i, kind in enumerate(kinds) if kind > 0}
    return Labelled(objects=np.ascontiguousarray(content["inst_map"].astype(np.int32)), classes=classes)


CONSEP = Source(
    name="consep",
    licence="Apache-2.0 by a third party's word; the release states none",
    use="open",
    citation="Graham et al., HoVer-Net, Medical Image Analysis 58 (2019) 101563",
    tasks=("nuclei",),
    cases=cases,
    mpp="0.25",
    groups="image: no table to the 16 slides was published",
    verified="real files (Train, in a copy of JPEG)",
    traps="41 images of 16 slides without a table: a split by image may share slides; hold out test_* for the "
    "official one; Lizard and CoNIC hold 16 of them again",
)
