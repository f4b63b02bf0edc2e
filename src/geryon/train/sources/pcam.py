"""PatchCamelyon: lymph node patches, tumour or not in the middle (Veeling et al., MICCAI 2018).

Layouts: the release, camelyonpatch_level_2_split_{train,valid,test}_{x,y}.h5 (unpacked from .gz; data sets `x` uint8
[n, 96, 96, 3] and `y` [n, 1, 1, 1]) with ..._meta.csv, whose column `wsi` names the slide; and a copy of single
pictures with images.csv (file, label). Reading the release needs h5py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from geryon.errors import MissingPartError
from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, present, release, rgb, rows_of

MIDDLE_PX = 32
NAMES = ("tumour",)
STEM = "camelyonpatch_level_2_split_"


def cases(root: Path) -> Iterator[Case]:
    """All patches; what is not tumour is unknown to us, for no class of ours says just that."""
    if (root / "images.csv").exists():
        for row in rows_of(root / "images.csv"):
            yield patch(row["file"], row["file"], rgb(root / row["file"]), row["label"] == "1")
        return
    h5py = _h5py()
    home = release(root, f"{STEM}*_x.h5")
    for images in sorted(home.glob(f"{STEM}*_x.h5")):
        part = images.stem.removeprefix(STEM).removesuffix("_x")
        with h5py.File(present(home, f"{STEM}{part}_y.h5")) as file:
            labels = np.asarray(file["y"]).ravel()
        slides = [row["wsi"] for row in rows_of(present(home, f"{STEM}{part}_meta.csv"))]
        for number, (label, slide) in enumerate(zip(labels, slides, strict=True)):
            yield patch(f"{part}/{number:06d}", slide, partial(entry, h5py, images, number), bool(label))


def _h5py() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingPartError(what="h5py is needed for PatchCamelyon's files", mend="pip install h5py") from error
    return h5py


def entry(h5py: ModuleType, path: Path, number: int) -> np.ndarray:
    """One patch, uint8 RGB [y, x, 3]."""
    with h5py.File(path) as file:
        return np.ascontiguousarray(file["x"][number])


def patch(name: str, group: str, read: Callable[[], np.ndarray], is_tumour: bool) -> Case:
    """The case of one patch."""
    return Case(name=name, group=group, image=read, mpp=0.97, labels={"tissue": partial(tissue, read, is_tumour)})


def tissue(read: Callable[[], np.ndarray], is_tumour: bool) -> Labelled:
    """Tumour in the middle square, unknown around it."""
    shape = read().shape[:2]
    raster = np.zeros(shape, np.int32)
    y, x = (shape[0] - MIDDLE_PX) // 2, (shape[1] - MIDDLE_PX) // 2
    raster[y : y + MIDDLE_PX, x : x + MIDDLE_PX] = int(is_tumour)
    return Labelled(raster=raster, raster_names=NAMES)


PCAM = Source(
    name="pcam",
    licence="CC0",
    use="open",
    citation="Veeling et al., MICCAI 2018; Ehteshami Bejnordi et al., JAMA 2017",
    tasks=("tissue",),
    cases=cases,
    mpp="0.97",
    groups="slide (patch in the copy, where slides are lost)",
    verified="copy: real files; release: documentation",
    traps="lymph node, not bowel; only the middle 32 pixels are labelled",
)
