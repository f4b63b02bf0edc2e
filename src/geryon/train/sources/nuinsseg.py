"""NuInsSeg: nuclei of 31 human and mouse organs with outlines (Mahbod et al., Scientific Data 11, 2024).

Layout as its readme and public code give it (no files were at hand): one folder an organ ("human bladder"), in it
`tissue images/NAME.png` of 512 pixels, `label masks modify/NAME.tif` (one number a nucleus, overlaps given to one) and
the places where experts could not tell: `vague areas/mask binary/NAME.png`, in other copies `mask binary_vague`; both
are taken. 40x without µm per pixel in the readme; 0.25 is what other public code takes.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, natural, picture, release, rgb, values

MPP = 0.25
IMAGES, LABELS = "tissue images", "label masks modify"


def cases(root: Path) -> Iterator[Case]:
    """All images, grouped by organ: 31 slides were cut, and no table tells more than the folders do."""
    home = release(root, f"*/{IMAGES}")
    for path in sorted(home.glob(f"*/{IMAGES}/*.png"), key=natural):
        organ = path.parents[1]
        mask = picture(organ / LABELS, path.stem)
        vague = sorted(organ.glob(f"vague areas/mask binary*/{path.stem}.png"))
        yield Case(
            name=path.stem,
            group=organ.name,
            image=rgb(path),
            mpp=MPP,
            labels={"nuclei": partial(nuclei, mask, vague[0] if vague else None)},
        )


def nuclei(mask: Path, vague: Path | None) -> Labelled:
    """Outlines, known outside the vague areas."""
    return Labelled(objects=values(mask), known=None if vague is None else np.equal(values(vague), 0))


NUINSSEG = Source(
    name="nuinsseg",
    licence="CC BY 4.0 by third parties' word for doi 10.5281/zenodo.10518968; the record could not be read",
    use="research",
    citation="Mahbod et al., NuInsSeg, Scientific Data 11 (2024) 295",
    tasks=("nuclei",),
    cases=cases,
    mpp="0.25",
    mpp_is_estimate=True,
    groups="organ: the nearest to the 31 slides that is told",
    verified="documentation",
    traps="some organs are of mice; vague areas are unknown, not empty",
)
