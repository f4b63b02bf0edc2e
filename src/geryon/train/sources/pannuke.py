"""PanNuke: nuclei of 19 tissues with outlines and five classes (Gamper et al., arXiv 2003.10778, 2020).

Layout as the folds' readme and public code give it (no files were at hand): Fold N/images/foldN/{images,types}.npy and
Fold N/masks/foldN/masks.npy; images float64 [n, 256, 256, 3] of 0 to 255, types the name of the tissue, masks float64
[n, 256, 256, 6] with one layer of object numbers for each of neoplastic, inflammatory, connective, dead and epithelial,
and a background. Data cards say 40x and 0.25 µm per pixel; no number was found in the release itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from geryon.errors import InputError
from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source

MPP = 0.25
LAYERS = ("neoplastic", "inflammatory", "connective", "other", "epithelial")
"""Ours for the five layers; dead nuclei are among the others, as in CRCHistoPhenotypes."""
NOT_EPITHELIAL = ("Adrenal_gland", "Skin", "Testis")
"""Tissues whose tumours are often none of epithelium: their neoplastic nuclei have no class of ours."""


def cases(root: Path) -> Iterator[Case]:
    """All squares, grouped by the official fold: no patient or slide is told."""
    found = sorted({p for depth in ("", "*/", "*/*/", "*/*/*/", "*/*/*/*/") for p in root.glob(f"{depth}images.npy")})
    if not found:
        what, mend = "there is no images.npy of a fold", "give the folder of the release (--data, --root)"
        raise InputError(what=what, where=str(root), mend=mend)
    for images in found:
        masks, kinds = masks_of(images), np.load(images.with_name("types.npy"))
        fold = "fold" + re.sub(r"\D", "", images.parent.name)
        for number, tissue in enumerate(kinds):
            yield Case(
                name=f"{fold}-{number:04d}-{tissue}",
                group=fold,
                image=partial(square, images, number),
                mpp=MPP,
                labels={"nuclei": partial(nuclei, masks, number, str(tissue))},
            )


def masks_of(images: Path) -> Path:
    """masks.npy of the same fold: beside the images, or where the release has it."""
    beside = images.with_name("masks.npy")
    places = [beside, images.parents[min(2, len(images.parents) - 1)] / "masks" / images.parent.name / "masks.npy"]
    there = [path for path in places if path.exists()]
    if not there:
        raise InputError(what="the masks of the fold are not there", where=str(images), mend="unpack the fold whole")
    return there[0]


def square(images: Path, number: int) -> np.ndarray:
    """One image as uint8, without reading the others."""
    return np.ascontiguousarray(np.load(images, mmap_mode="r")[number]).astype(np.uint8)


def nuclei(masks: Path, number: int, tissue: str) -> Labelled:
    """Outlines and classes; the layers are numbered apart, so their numbers are made anew."""
    layers = np.asarray(np.load(masks, mmap_mode="r")[number]).astype(np.int64)
    objects = np.zeros(layers.shape[:2], np.int32)
    classes: dict[int, str] = {}
    last = 0
    for layer, name in zip(np.moveaxis(layers, 2, 0), LAYERS, strict=False):
        for value in np.unique(layer[layer > 0]):
            last += 1
            objects[layer == value] = last
            ours = class_of(name, tissue)
            classes |= {last: ours} if ours else {}
    return Labelled(objects=objects, classes=classes)


def class_of(layer: str, tissue: str) -> str:
    """Our class of a layer's nuclei; "" for none."""
    if layer != "neoplastic":
        return layer
    return "" if tissue in NOT_EPITHELIAL else "epithelial"


PANNUKE = Source(
    name="pannuke",
    licence="CC BY-NC-SA 4.0",
    use="research",
    citation="Gamper et al., PanNuke Dataset Extension, arXiv:2003.10778 (2020)",
    tasks=("nuclei",),
    cases=cases,
    mpp="0.25",
    mpp_is_estimate=True,
    groups="official fold: no patient or slide is told",
    verified="documentation",
    traps="half automatic labels; its readme says that it holds other public sets again without naming them; "
    "nuclei at the borders are cut",
)
