"""CRAG: colorectal adenocarcinoma glands with outlines (Graham et al., MILD-Net, Medical Image Analysis 52, 2019).

Layout as public code reads it (no files were at hand): CRAG/{train,valid}/{Images,Annotation}/NAME.png, train_1..173
and test_1..40, each annotation one number a gland. The readme writes test and Annotations, so both spellings are
taken; version 1 has five annotations without an image, so the images lead. The readme says 20x and no µm per pixel:
0.5 is what that objective usually gives (CRCHistoPhenotypes, of the same hospital, states 0.55 for its 20x).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from geryon.tasks.task import Labelled
from geryon.train.hollows import hollows
from geryon.train.source import Case, Source, natural, picture, release, rgb, values

MPP = 0.5
PARTS = ("train", "valid", "test")
ANNOTATIONS = ("Annotation", "Annotations")


def cases(root: Path) -> Iterator[Case]:
    """train_* and test_*, one group each: no table of image to slide was published."""
    home = release(root, "train/Images", "valid/Images", "test/Images")
    for part in PARTS:
        for path in sorted((home / part / "Images").glob("*.png"), key=natural):
            folders = [home / part / name for name in ANNOTATIONS]
            mask = picture(next((f for f in folders if f.exists()), folders[0]), path.stem)
            read = rgb(path)
            yield Case(
                name=path.stem,
                group=path.stem,
                image=read,
                mpp=MPP,
                labels={"glands": partial(glands, mask)},
                hints={"lumina": partial(lumina, mask, read)},
            )


def glands(mask: Path) -> Labelled:
    """Outlines without a grade: benign glands lie beside malignant ones."""
    return Labelled(objects=values(mask), classes={})


def lumina(mask: Path, read: Callable[[], np.ndarray]) -> Labelled:
    """Lumina by rule inside the glands, none outside of them."""
    return hollows(read(), values(mask) > 0, MPP)


CRAG = Source(
    name="crag",
    licence="none found in its readme; its publisher's Lizard holds images of it under CC BY-NC-SA 4.0",
    use="research",
    citation="Graham et al., MILD-Net, Medical Image Analysis 52 (2019) 199-211",
    tasks=("glands",),
    cases=cases,
    mpp="0.5",
    mpp_is_estimate=True,
    groups="image: no table to slides was published",
    verified="documentation",
    traps="a split by image may share slides; hold out test_* for the official one; masks hold the lumen",
)
