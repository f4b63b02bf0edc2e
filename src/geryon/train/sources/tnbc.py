"""TNBC: breast nuclei as binary masks (Naylor et al., IEEE TMI 38(2), 2019).

Layout: TNBC_NucleiSegmentation/{Slide_PP,GT_PP}/PP_K.png, PP the patient. Later releases add patients and brain tiles;
how those are named was not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from geryon.tasks.decoding import components
from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, natural, picture, release, rgb, values


def cases(root: Path) -> Iterator[Case]:
    """All tiles, grouped by patient."""
    folder = release(root, "GT_*")
    for mask in sorted(folder.glob("GT_*/*.png"), key=natural):
        patient = mask.parent.name.removeprefix("GT_")
        image = picture(folder / f"Slide_{patient}", mask.stem)
        yield Case(name=mask.stem, group=patient, image=rgb(image), mpp=0.25, labels={"nuclei": partial(nuclei, mask)})


def nuclei(path: Path) -> Labelled:
    """4-connected parts as objects: the release has no instances, and 4-neighbours come nearest to its count."""
    return Labelled(objects=components(values(path) > 0)[0])


TNBC = Source(
    name="tnbc",
    licence="CC BY 4.0 as commonly cited for doi 10.5281/zenodo.1175282",
    use="open",
    citation="Naylor et al., IEEE Transactions on Medical Imaging 38 (2019) 448-459",
    tasks=("nuclei",),
    cases=cases,
    mpp="0.25",
    groups="patient",
    verified="real files (images in a copy of JPEG)",
    traps="several tiles a patient; touching nuclei are joined in the masks now and then",
)
