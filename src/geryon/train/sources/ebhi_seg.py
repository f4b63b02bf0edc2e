"""EBHI-Seg: colorectal biopsies with binary gland masks and a stage (Shi et al., Frontiers in Medicine 10, 2023).

Layouts: the release, EBHI-SEG/<class>/{image,label}/NAME.png with soft grey masks, and a copy with images.csv (image,
mask, class, case). NAME is <case>-<block>-400-<number>; that a case is one patient is inferred, not documented.

The release does not state µm per pixel (microscope fields scaled to 224). 1.3 is estimated from two sizes
in normal images: crypts of 65 to 75 pixels across against 80 to 100 µm, lymphocytes of about 5 against 6.5 µm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from geryon.tasks.task import Labelled
from geryon.train.hollows import hollows
from geryon.train.source import Case, Source, natural, picture, release, rgb, rows_of, values

MPP = 1.3
SOFT = 127
"""Of 255: the release's masks have soft edges."""
GRADE = {
    "Normal": "benign",
    "Polyp": "benign",
    "Serrated adenoma": "benign",
    "Low-grade IN": "benign",
    "Adenocarcinoma": "malignant",
}
"""High-grade neoplasia is left out: it is neither by GlaS' terms."""


def cases(root: Path) -> Iterator[Case]:
    """All images, grouped by case."""
    for image, mask, stage in files(root):
        read = rgb(image)
        yield Case(
            name=image.stem + "-" + stage.lower().replace(" ", "_").replace("-", "_"),
            group=image.stem.split("-")[0],
            image=read,
            mpp=MPP,
            labels={"glands": partial(glands, mask, stage)},
            hints={"lumina": partial(lumina, mask, read)},
        )


def files(root: Path) -> Iterator[tuple[Path, Path, str]]:
    """Image, mask and stage of each case, in either layout; the release has two images without a mask."""
    if (root / "images.csv").exists():
        yield from ((root / row["image"], root / row["mask"], row["class"]) for row in rows_of(root / "images.csv"))
        return
    home = release(root, "Normal/label", "Adenocarcinoma/label")
    for mask in sorted(home.glob("*/label/*.png"), key=natural):
        stage = mask.parents[1]
        yield picture(stage / "image", mask.stem), mask, stage.name


def glands(mask: Path, stage: str) -> Labelled:
    """The area of the glands, which the set does not tell apart, with the image's grade."""
    return Labelled(foreground=inside(mask), classes={1: GRADE[stage]} if stage in GRADE else {})


def inside(mask: Path) -> np.ndarray:
    """bool [y, x]: in any gland of a mask, which has soft edges in the release."""
    return values(mask) > SOFT


def lumina(mask: Path, read: Callable[[], np.ndarray]) -> Labelled:
    """Lumina by rule inside the glands, none outside of them."""
    return hollows(read(), inside(mask), MPP)


EBHI_SEG = Source(
    name="ebhi_seg",
    licence="CC BY 4.0",
    use="open",
    citation="Shi et al., Frontiers in Medicine 10 (2023) 1114673",
    tasks=("glands",),
    cases=cases,
    mpp="1.3",
    groups="case (first part of the name), taken for the patient",
    verified="copy: real files; release: documentation",
    mpp_is_estimate=True,
    traps="masks are binary: touching glands are joined; one case can be in several stages",
)
