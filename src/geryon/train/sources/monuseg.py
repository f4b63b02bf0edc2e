"""MoNuSeg 2018: nuclei of several organs as polygons (Kumar et al., IEEE TMI 39(5), 2020).

Layouts: the release, `MoNuSeg 2018 Training Data/{Tissue Images,Annotations}/NAME.{tif,xml}` and
`MoNuSegTestData/NAME.{tif,xml}` side by side, and a copy with names without blanks and gzip'ed XML. The XML is of
Aperio ImageScope: one Region a nucleus, vertices in fractions of a pixel.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

from geryon.errors import InputError
from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, natural, picture, rgb

USUAL_MPP = 0.25
IMAGES = ("Tissue Images", "Tissue_Images")
"""Folders beside the annotations'; test images lie with their XML."""


def cases(root: Path) -> Iterator[Case]:
    """Training and test tiles, one TCGA patient each."""
    found = [path for depth in ("", "*/", "*/*/") for path in sorted(root.glob(f"{depth}TCGA-*.xml*"), key=natural)]
    if not found:
        what, mend = "there is no XML file of a TCGA slide", "give the folder of the release (--data, --root)"
        raise InputError(what=what, where=str(root), mend=mend)
    for path in found:
        name = path.name.split(".")[0]
        beside = (path.parent.with_name(folder) for folder in IMAGES)
        read = rgb(picture(next((f for f in beside if f.exists()), path.parent), name))
        yield Case(
            name=name,
            group="-".join(name.split("-")[:3]),
            image=read,
            mpp=mpp_of(path),
            labels={"nuclei": partial(nuclei, path, read)},
        )


def mpp_of(path: Path) -> float:
    """MicronsPerPixel of the XML's root, which one file lacks."""
    given = re.search(r'MicronsPerPixel="([0-9.]+)"', text_of(path)[:4096])
    return float(given[1]) if given and float(given[1]) > 0 else USUAL_MPP


def nuclei(path: Path, read: Callable[[], np.ndarray]) -> Labelled:
    """Polygons filled in file order; those of fewer than three points are no nuclei."""
    labels = np.zeros(read().shape[:2], np.int32)
    number = 0
    for region in ElementTree.fromstring(text_of(path)).iter("Region"):
        points = np.array([[float(v.get("X", "nan")), float(v.get("Y", "nan"))] for v in region.iter("Vertex")])
        if len(points) < 3:
            continue
        number += 1
        cv2.fillPoly(labels, [np.round((points - 0.5) * 16).astype(np.int32)], number, shift=4)
    return Labelled(objects=labels)


def text_of(path: Path) -> str:
    """The XML, unpacked where it is gzip'ed."""
    raw = path.read_bytes()
    return (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")


MONUSEG = Source(
    name="monuseg",
    licence="CC BY-NC-SA 4.0 as commonly stated",
    use="research",
    citation="Kumar et al., IEEE Transactions on Medical Imaging 39 (2020) 1380-1391",
    tasks=("nuclei",),
    cases=cases,
    mpp="0.2456 to 0.2527 by the XML, 0.25 where it is silent",
    groups="patient (TCGA)",
    verified="copy: real files; release: documentation",
    holds=("kumar",),
    traps="its 30 first training images are Kumar's; TCGA patients recur in other sets",
)
