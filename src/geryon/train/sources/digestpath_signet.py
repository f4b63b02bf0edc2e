"""DigestPath 2019, signet ring cells as boxes (Da et al., Medical Image Analysis 80, 2022).

Layout: Signet_ring_cell_dataset/sig-train-pos/NAME.{jpeg,xml} and sig-train-neg/NAME.jpeg without XML. NAME begins with
the slide and the time of its scan: <slide>_<date> <time>-lv0-<x>-<y>-<width>-<height>, in some files with `_` for the
blank. XML like Pascal VOC's: bndbox with xmin, ymin, xmax, ymax in pixels. Pictures outside of the two folders have no
known label and are left out.

No µm per pixel is stated, only 40x: 0.25. At that, boxes (median 90 pixels) are of 22 µm and round dark nuclei of
lymphocytes (21 to 27 pixels in the pictures at hand) of 5.3 to 6.8 µm.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, release, rgb

MPP = 0.25
SCANNED = re.compile(r"_\d{4}-\d{2}-\d{2}[ _]\d{2}_\d{2}_\d{2}-lv0-")


def cases(root: Path) -> Iterator[Case]:
    """Pictures with boxes, then those without any cell, grouped by slide."""
    home = release(root, "sig-train-pos")
    for folder in ("sig-train-pos", "sig-train-neg"):
        for path in sorted((home / folder).glob("*.jpeg")):
            xml = path.with_suffix(".xml") if folder.endswith("pos") else None
            read = rgb(path)
            yield Case(
                name=f"{folder}/{path.stem}",
                group=SCANNED.split(path.stem)[0],
                image=read,
                mpp=MPP,
                labels={"signet_ring": partial(boxes, xml, read)},
            )


def boxes(xml: Path | None, read: Callable[[], np.ndarray]) -> Labelled:
    """Boxes of a picture: some of its cells only, but a negative picture has surely none."""
    everywhere = np.ones(read().shape[:2], bool)
    if xml is None:
        return Labelled(boxes=np.zeros((0, 4)), known=everywhere)
    sides = ("xmin", "ymin", "xmax", "ymax")
    found = [[float(box.findtext(side, "nan")) for side in sides] for box in ElementTree.parse(xml).iter("bndbox")]
    return Labelled(boxes=np.array(found, np.float64).reshape(-1, 4), exhaustive=False, known=everywhere)


DIGESTPATH_SIGNET = Source(
    name="digestpath_signet",
    licence="none found; given to the contest's participants",
    use="evaluate",
    citation="Da et al., DigestPath, Medical Image Analysis 80 (2022) 102485",
    tasks=("signet_ring",),
    cases=cases,
    mpp="0.25",
    mpp_is_estimate=True,
    groups="slide; patients are not told",
    verified="real files (3 images)",
    traps="boxes of positive images are some of the cells only: what is not boxed is unknown",
)
