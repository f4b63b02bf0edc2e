"""Kumar: nuclei of seven organs with outlines (Kumar et al., IEEE TMI 36(7), 2017), as HoVer-Net's authors pass it on.

Layout as that code reads it (no files were at hand): kumar/{train,test_same,test_diff}/{Images,Labels}/NAME.{tif,mat},
each .mat with `inst_map` [y, x]. Some copies write Kumar, some png for tif. The first release's XML is that of MoNuSeg:
use that source for it. 40x of TCGA without µm per pixel; MoNuSeg's XML files of the same images say 0.2456 to 0.2527.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from geryon.train.source import Case, Source, natural, outlined, picture, release, rgb

MPP = 0.25
PARTS = ("train", "test_same", "test_diff", "test")


def cases(root: Path) -> Iterator[Case]:
    """All images, one TCGA patient each; the official part stands before the name: train/TCGA-..."""
    home = release(root, "train/Labels", "test_same/Labels", "test_diff/Labels")
    for part in PARTS:
        for path in sorted((home / part / "Labels").glob("*.mat"), key=natural):
            yield Case(
                name=f"{part}/{path.stem}",
                group="-".join(path.stem.split("-")[:3]),
                image=rgb(picture(home / part / "Images", path.stem)),
                mpp=MPP,
                labels={"nuclei": partial(outlined, path)},
            )


KUMAR = Source(
    name="kumar",
    licence="CC BY-NC-SA 4.0 as commonly stated (the same images as MoNuSeg)",
    use="research",
    citation="Kumar et al., IEEE Transactions on Medical Imaging 36 (2017) 1550-1560",
    tasks=("nuclei",),
    cases=cases,
    mpp="0.25",
    mpp_is_estimate=True,
    groups="patient (TCGA)",
    verified="documentation",
    traps="its 30 images are the 30 first training images of MoNuSeg; TCGA patients recur in other sets",
)
