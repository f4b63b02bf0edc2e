"""NuCLS: breast nuclei as outlines and boxes with classes (Amgad et al., GigaScience 11, 2022), corrected single-rater.

Layout as its page on the data format, its code and one of its CSV files give it (no images were at hand): rgb/NAME.png,
csv/NAME.csv, mask/NAME.png; NAME is TCGA-A1-A0SP-DX1_id-..._left-..._top-..._bottom-..._right-.... A CSV has a row a
nucleus: raw_classification, main_classification, super_classification, type (polyline or rectangle), xmin, ymin, xmax,
ymax, coords_x, coords_y (numbers joined by commas). The first channel of a mask is 0 outside the field that was
annotated (253 in it, the class on nuclei). All at 0.2 µm per pixel, as the page says.

Nuclei without a good outline are rectangles: inside them nothing is known to us, and their classes are not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from geryon.slides.array import read_picture
from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, natural, picture, release, rgb, rows_of

MPP = 0.2
OURS = {
    **dict.fromkeys(("tumor", "mitotic_figure", "ductal_epithelium", "myoepithelium"), "epithelial"),
    **dict.fromkeys(("fibroblast", "vascular_endothelium"), "connective"),
    **{"lymphocyte": "lymphocyte", "plasma_cell": "plasma", "neutrophil": "neutrophil", "eosinophil": "eosinophil"},
    "apoptotic_body": "other",
}
"""Macrophages have no leaf of ours, and `unlabeled` says nothing: both are left out."""
NO_IMAGE = "all_fov_locations"
"""A table of the fields that lies among the others."""


def cases(root: Path) -> Iterator[Case]:
    """All fields, grouped by TCGA patient."""
    home = release(root, "csv/TCGA-*.csv")
    for path in sorted((home / "csv").glob("*.csv"), key=natural):
        if path.stem.lower() == NO_IMAGE:
            continue
        yield Case(
            name=path.stem,
            group="-".join(path.stem.split("_")[0].split("-")[:3]),
            image=rgb(picture(home / "rgb", path.stem)),
            mpp=MPP,
            labels={"nuclei": partial(nuclei, path, picture(home / "mask", path.stem))},
        )


def nuclei(table: Path, mask: Path) -> Labelled:
    """Outlines and classes; unknown outside the field and inside rectangles that no outline fills."""
    known = read_picture(mask)[..., 0] > 0
    objects, boxes = np.zeros(known.shape, np.int32), np.zeros(known.shape, bool)
    classes: dict[int, str] = {}
    for number, row in enumerate(rows_of(table), start=1):
        if row["type"] == "rectangle" or not row["coords_x"]:
            x0, y0, x1, y1 = (max(0, int(float(row[key]))) for key in ("xmin", "ymin", "xmax", "ymax"))
            boxes[y0 : y1 + 1, x0 : x1 + 1] = True
            continue
        corners = [[float(v) for v in row[key].split(",") if v] for key in ("coords_x", "coords_y")]
        cv2.fillPoly(objects, [np.array(corners).T.round().astype(np.int32)], number)
        name = OURS.get(row["raw_classification"])
        classes |= {number: name} if name else {}
    return Labelled(objects=objects, classes=classes, known=known & ~(boxes & (objects == 0)))


NUCLS = Source(
    name="nucls",
    licence="CC0 1.0",
    use="open",
    citation="Amgad et al., NuCLS, GigaScience 11 (2022) giac037",
    tasks=("nuclei",),
    cases=cases,
    mpp="0.2",
    groups="patient (TCGA)",
    verified="documentation, and one of its CSV files",
    traps="many nuclei are boxes only; outlines come from an algorithm that raters let pass; "
    "breast, not bowel; TCGA patients recur in other sets",
)
