"""A folder of images without any labels: each teaches what stain it holds where (task restored)."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2

from geryon.slides.stains import stain_densities
from geryon.space import units
from geryon.tasks.restored import RESTORED, steps_of
from geryon.tasks.task import Labelled
from geryon.train.own import Format, Looked, OwnChoice
from geryon.train.pictures import Picture, pictures, whole
from geryon.train.source import Case


def look(own: OwnChoice, root: Path, finest_mpp: float) -> Looked:
    """A case an image."""
    found = pictures(own, root, finest_mpp)
    cases = [
        Case(
            name=picture.name,
            group=picture.group,
            image=partial(whole, picture),
            mpp=picture.mpp,
            labels={own.task: partial(labelled, picture)},
        )
        for picture in found.pictures
    ]
    return Looked(cases=tuple(cases), faults=tuple(found.faults), notes=tuple(found.notes))


def labelled(picture: Picture) -> Labelled:
    """The haematoxylin of each place, as even as the task's cells."""
    density = stain_densities(whole(picture))[..., 0]
    return steps_of(cv2.GaussianBlur(density, (0, 0), units.px(RESTORED.mpp, picture.mpp) / 2))


FORMAT = Format(look=look, reads=("images",), teaches=("place",), only=RESTORED.name)
