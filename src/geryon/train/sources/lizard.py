"""Lizard: colon nuclei with outlines and six classes (Graham et al., ICCV Workshops, 2021).

Layout as the release's read_label.py and public code give it (no files were at hand): Lizard_Images1/*.png (80 images),
Lizard_Images2/*.png (158), Lizard_Labels/Labels/NAME.mat with `inst_map` [y, x], `id`, `class` [n, 1], `bbox` and
`centroid`, and Lizard_Labels/info.csv with Filename, Source and Split (1 to 3); copies wrap each folder in another of
its name in small letters. Rows of `class` go with `id`, not with the order of numbers in the map. The readme calls
class 5 neutrophil like class 1: a misprint for eosinophil (CoNIC's list of the same classes). It says 20x and no µm per
pixel; 0.5 is what that objective usually gives, and what data cards of CoNIC repeat.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from geryon.errors import InputError
from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, picture, release, rgb, rows_of

MPP = 0.5
CLASSES = ("neutrophil", "epithelial", "lymphocyte", "plasma", "eosinophil", "connective")


def cases(root: Path) -> Iterator[Case]:
    """All images; a group is one image, with its official split before it: split1/consep_1."""
    home = release(root, "Lizard_Labels/info.csv")
    folders = sorted(folder for depth in ("", "*/", "*/*/") for folder in root.glob(f"{depth}Lizard_Images[12]"))
    for row in rows_of(home / "Lizard_Labels" / "info.csv"):
        name = row["Filename"]
        folder = next((f for f in folders if (f / f"{name}.png").exists()), root / "Lizard_Images1")
        path = home / "Lizard_Labels" / "Labels" / f"{name}.mat"
        yield Case(
            name=name,
            group=f"split{row['Split']}/{name}",
            image=rgb(picture(folder, name)),
            mpp=MPP,
            labels={"nuclei": partial(nuclei, path)},
        )


def nuclei(path: Path) -> Labelled:
    """Outlines, and the class of each by its id."""
    content = loadmat(path)
    kinds = {int(i): int(kind) for i, kind in zip(content["id"].ravel(), content["class"].ravel(), strict=True)}
    wrong = sorted({kind for kind in kinds.values() if not 1 <= kind <= len(CLASSES)})
    if wrong:
        raise InputError(what=f"class {wrong[0]} is none of 1 to 6", where=str(path), mend="unpack the release again")
    classes = {i: CLASSES[kind - 1] for i, kind in kinds.items()}
    return Labelled(objects=np.ascontiguousarray(content["inst_map"].astype(np.int32)), classes=classes)


LIZARD = Source(
    name="lizard",
    licence="CC BY-NC-SA 4.0",
    use="research",
    citation="Graham et al., Lizard, ICCV Workshops (2021) 684-693",
    tasks=("nuclei",),
    cases=cases,
    mpp="0.5",
    mpp_is_estimate=True,
    groups="image, its official split before it; patients are not told",
    verified="documentation",
    holds=("glas", "crag", "consep", "pannuke"),
    traps="all its images are of other sets (glas_*, crag_*, consep_*, pannuke_*, dpath_* of DigestPath), at 20x; "
    "labels are half automatic",
)
