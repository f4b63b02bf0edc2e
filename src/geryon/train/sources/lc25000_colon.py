"""LC25000, its colon part: tiles of adenocarcinoma and of benign colon (Borkowski et al., arXiv 1912.12142, 2019).

Layouts: the release, lung_colon_image_set/colon_image_sets/{colon_aca,colon_n}/*.jpeg (768 pixels), and a copy with
images.csv (file, class, side, group). The 5,000 tiles of a class are turned and mirrored copies of 250 pictures, and
the release does not say which: its groups are read from lc25000_image_groups.csv (stem, group_id) of the repository
GeorgeBatch/LC25000-clean, which has to lie beside it. Without groups nothing is read, since any split would leak.

No µm per pixel is stated, and the pictures are not of one magnification. 0.4 is estimated from benign tiles of 768
pixels: round dark nuclei of lymphocytes of about 17 pixels against 6.5 to 7 µm. Scaled copies are coarser accordingly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from geryon.errors import InputError
from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, natural, release, rgb, rows_of

SIDE_PX, MPP = 768, 0.4
OURS = {"colon_aca": "tumour", "colon_n": "normal"}
NAMES = tuple(OURS.values())
GROUPS = "lc25000_image_groups.csv"


def cases(root: Path) -> Iterator[Case]:
    """All colon tiles, grouped by the picture they are copies of."""
    for path, name, group, side in tiles(root):
        read = rgb(path)
        yield Case(
            name=f"{path.parent.parent.name}/{path.stem}",
            group=group,
            image=read,
            mpp=MPP * SIDE_PX / side,
            labels={"tissue": partial(tissue, read, name)},
        )


def tiles(root: Path) -> Iterator[tuple[Path, str, str, int]]:
    """Path, class, group and side in pixels of each tile, in either layout."""
    if (root / "images.csv").exists():
        for row in rows_of(root / "images.csv"):
            yield root / row["file"], row["class"], row["group"], int(row["side"])
        return
    home = release(root, "colon_image_sets/colon_aca") / "colon_image_sets"
    tables = [folder / GROUPS for folder in (root, home.parent, home) if (folder / GROUPS).exists()]
    if not tables:
        what = f"{GROUPS} is not there, and without it copies of one picture would stand on both sides of a split"
        raise InputError(what=what, where=str(root), mend="put it there from github.com/GeorgeBatch/LC25000-clean")
    groups = {row["stem"]: row["group_id"] for row in rows_of(tables[0])}
    for name in OURS:
        for path in sorted((home / name).glob("*.jpeg"), key=natural):
            if path.stem not in groups:
                raise InputError(what=f"{path.name} is not in {GROUPS}", where=str(root), mend="take the whole table")
            yield path, name, f"{name}_{groups[path.stem]}", SIDE_PX


def tissue(read: Callable[[], np.ndarray], name: str) -> Labelled:
    """One class all over the tile."""
    return Labelled(raster=np.full(read().shape[:2], NAMES.index(OURS[name]) + 1, np.int32), raster_names=NAMES)


LC25000_COLON = Source(
    name="lc25000_colon",
    licence="none found",
    use="evaluate",
    citation="Borkowski et al., LC25000, arXiv:1912.12142 (2019)",
    tasks=("tissue",),
    cases=cases,
    mpp="0.4, and 1.37 for tiles scaled to 224",
    mpp_is_estimate=True,
    groups="picture that the tiles are copies of (half automatic table); patients are not told",
    verified="copy: real files; release: documentation",
    traps="20 copies of each picture: split by group; a picture may stand in two groups",
)
