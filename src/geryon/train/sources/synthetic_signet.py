"""Synthetic signet ring cells (slides.synthetic): every cell boxed, exactly, beside tissue that holds none."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from geryon.slides.synthetic import SyntheticSlide
from geryon.space.boxes import Box
from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source

SLIDES = 32
CASES_A_SLIDE = 2
SIDE_PX = 640
MPP = 0.5
SLIDE_UM = 2560.0
FIRST_SEED = 3000
"""Apart from the seeds of demos, tests and the source `synthetic`."""
CELLS = (0.3, 0.6, 1.0)
"""Share of the places for cells that are taken, in turn."""
MALIGNANT = (0.0, 0.5, 0.2, 0.8)
SEEN = 0.35
"""Part of a cell's box that has to lie in the picture to count; what is less is unknown."""
DRAWS = 4


def cases(root: Path) -> Iterator[Case]:
    """Squares of 320 µm from seeded slides, made when asked for; `root` is not looked at."""
    del root
    for number in range(SLIDES):
        slide = SyntheticSlide(
            width_um=SLIDE_UM,
            height_um=SLIDE_UM,
            seed=FIRST_SEED + number,
            mpp=MPP,
            malignant=MALIGNANT[number % len(MALIGNANT)],
            signet=CELLS[number % len(CELLS)],
        )
        for i in range(CASES_A_SLIDE):
            box = _place(slide, i)
            yield Case(
                name=f"{slide.seed}-{i}",
                group=str(slide.seed),
                image=partial(slide.render, box),
                mpp=MPP,
                labels={"signet_ring": partial(boxes, slide, box)},
            )


def _place(slide: SyntheticSlide, number: int) -> Box:
    """A square of the slide: every second one anywhere, the others where most cells are, of some draws."""
    rng = np.random.default_rng([slide.seed, number])
    corners = 32 * rng.integers(2, (slide.width_px - SIDE_PX) // 32 - 2, (DRAWS if number % 2 == 0 else 1, 2))
    draws = [Box(slide.frame, int(x), int(y), int(x) + SIDE_PX, int(y) + SIDE_PX) for x, y in corners]
    return max(draws, key=lambda box: len(slide.objects("signet_ring", box).ids)) if len(draws) > 1 else draws[0]


def boxes(slide: SyntheticSlide, box: Box) -> Labelled:
    """The boxes of all cells, as far as they lie in the picture; too little of a cell is unknown."""
    drawn = slide.objects("signet_ring", box).outlines
    whole = np.array([(*o.min(axis=0), *o.max(axis=0)) for o in drawn]).reshape(-1, 4) - (box.xmin, box.ymin) * 2
    cut = np.clip(whole, 0.0, SIDE_PX)
    seen = np.prod(cut[:, 2:] - cut[:, :2], axis=1) >= SEEN * np.prod(whole[:, 2:] - whole[:, :2], axis=1)
    known = np.ones((SIDE_PX, SIDE_PX), bool)
    for x0, y0, x1, y1 in np.concatenate([np.floor(cut[:, :2]), np.ceil(cut[:, 2:])], axis=1)[~seen].astype(int):
        known[y0:y1, x0:x1] = False
    return Labelled(boxes=cut[seen], known=known)


SYNTHETIC_SIGNET = Source(
    name="synthetic_signet",
    licence="Apache-2.0, made by this package",
    use="open",
    citation="geryon.slides.synthetic",
    tasks=("signet_ring",),
    cases=cases,
    mpp="0.5",
    groups="slide",
    verified="real files",
    traps="looks like tissue, is none: figures on it say nothing about real slides",
)
