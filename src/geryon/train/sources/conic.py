"""CoNIC 2022: Lizard cut into squares of 256 pixels (Graham et al., Medical Image Analysis 92, 2024).

Layout as the challenge's readme gives it (no files were at hand): images.npy uint8 [4981, 256, 256, 3]; labels.npy
uint16 [4981, 256, 256, 2], the number of the nucleus and its class; counts.csv, which counts the middle 224 pixels only
and is not read; patch_info.csv, one column, whose rows (consep_1-0000) name the image of Lizard a square was cut from.
20x without µm per pixel, as in Lizard.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from geryon.errors import InputError
from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, present, release

MPP = 0.5
CLASSES = ("neutrophil", "epithelial", "lymphocyte", "plasma", "eosinophil", "connective")


def cases(root: Path) -> Iterator[Case]:
    """All squares, grouped by the image they were cut from."""
    home = release(root, "images.npy")
    with present(home, "patch_info.csv").open(encoding="utf-8-sig", newline="") as file:
        names = [row[-1].strip() for row in csv.reader(file)][1:]
    images, labels = home / "images.npy", present(home, "labels.npy")
    counts = [len(np.load(path, mmap_mode="r")) for path in (images, labels)]
    if {*counts} != {len(names)}:
        what = f"{counts[0]} images, {counts[1]} labels and {len(names)} rows of patch_info.csv do not go together"
        raise InputError(what=what, where=str(home), mend="download the release again")
    for number, name in enumerate(names):
        yield Case(
            name=name,
            group=name.rsplit("-", 1)[0],
            image=partial(square, images, number),
            mpp=MPP,
            labels={"nuclei": partial(nuclei, labels, number)},
        )


def square(path: Path, number: int) -> np.ndarray:
    """One entry of a large array, without reading the others."""
    return np.ascontiguousarray(np.load(path, mmap_mode="r")[number])


def nuclei(path: Path, number: int) -> Labelled:
    """Outlines and classes; a nucleus has one class all over."""
    entry = square(path, number).astype(np.int32)
    objects, kinds = np.ascontiguousarray(entry[..., 0]), entry[..., 1]
    ids, first = np.unique(objects, return_index=True)
    classes = {int(i): CLASSES[kinds.flat[at] - 1] for i, at in zip(ids, first, strict=True) if i and kinds.flat[at]}
    return Labelled(objects=objects, classes=classes)


CONIC = Source(
    name="conic",
    licence="CC BY-NC-SA 4.0",
    use="research",
    citation="Graham et al., CoNIC, Medical Image Analysis 92 (2024) 103047",
    tasks=("nuclei",),
    cases=cases,
    mpp="0.5",
    mpp_is_estimate=True,
    groups="image of Lizard that the square was cut from",
    verified="documentation",
    holds=("lizard",),
    traps="Lizard again, and through it GlaS, CRAG, CoNSeP and PanNuke; counts.csv leaves the borders out",
)
