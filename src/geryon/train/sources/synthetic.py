"""Synthetic colon (slides.synthetic): the only source that labels one image for all tasks, and exactly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
SLIDE_UM = 4000.0
FIRST_SEED = 1000
"""Apart from the seeds of demos and tests."""
SHARES = (0.0, 0.3, 0.6, 1.0)
"""Of malignant glands, in turn."""


def cases(root: Path) -> Iterator[Case]:
    """Squares of 320 µm from seeded slides, made when asked for; `root` is not looked at."""
    del root
    yield from squares(range(FIRST_SEED, FIRST_SEED + SLIDES))


def squares(seeds: Iterable[int]) -> Iterator[Case]:
    """The squares of a slide of each seed; others than `cases` has are tissue that no model has learnt from."""
    for number, seed in enumerate(seeds):
        slide = SyntheticSlide(
            width_um=SLIDE_UM,
            height_um=SLIDE_UM,
            seed=seed,
            mpp=MPP,
            malignant=SHARES[number % len(SHARES)],
        )
        rng = np.random.default_rng(slide.seed)
        for i in range(CASES_A_SLIDE):
            box = _place(slide, rng)
            labels = {name: partial(labelled, slide, name, box) for name in ("nuclei", "glands", "lumina", "tissue")}
            yield Case(
                name=f"{slide.seed}-{i}",
                group=str(slide.seed),
                image=partial(slide.render, box),
                mpp=MPP,
                labels=labels,
            )


def _place(slide: SyntheticSlide, rng: np.random.Generator) -> Box:
    """A square that is not mostly glass and often has glands: some of six draws, else the last."""
    for attempt in range(6):
        x, y = (32 * int(v) for v in rng.integers(20, (slide.width_px - SIDE_PX) // 32, 2))
        box = Box(slide.frame, x, y, x + SIDE_PX, y + SIDE_PX)
        truth = slide.truth("tissue", box.to(slide.frame.at(16.0)), 16.0)
        assert truth.raster is not None
        share = np.bincount(truth.raster.ravel(), minlength=len(truth.raster_names) + 1)[1:] / truth.raster.size
        of = dict(zip(truth.raster_names, share, strict=True))
        glandular = of["normal"] + of["tumour"]
        if of["background"] < 0.5 and (glandular > 0.3 or attempt > 3 or rng.random() < 0.35):
            break
    return box


def labelled(slide: SyntheticSlide, task: str, box: Box) -> Labelled:
    """The truth of a box as a label; object ids are made dense."""
    truth = slide.truth(task, box.to(slide.frame.at(MPP)), MPP)
    if truth.raster is not None:
        return Labelled(raster=truth.raster, raster_names=truth.raster_names)
    ids, dense = np.unique(truth.objects, return_inverse=True)
    first = 0 if ids[0] == 0 else 1
    objects = dense.reshape(truth.objects.shape).astype(np.int32) + first
    classes = {i + first: truth.classes[int(v)] for i, v in enumerate(ids) if int(v) in truth.classes}
    return Labelled(objects=objects, classes=classes)


SYNTHETIC = Source(
    name="synthetic",
    licence="Apache-2.0, made by this package",
    use="open",
    citation="geryon.slides.synthetic",
    tasks=("nuclei", "glands", "lumina", "tissue"),
    cases=cases,
    mpp="0.5",
    groups="slide",
    verified="real files",
    traps="looks like tissue, is none: figures on it say nothing about real slides",
)
