"""Kather: colorectal tissue tiles with a class (Scientific Reports 6, 2016; PLOS Medicine 16, 2019).

Layouts: the releases as they unpack, any number of them in one folder, and a copy with images.csv (file, class,
um_per_px, slide).
* Kather_texture_2016_image_tiles_5000/<class>/<id>_CRC-Prim-HE-<NN>_<nnn>.tif_Row_<r>_Col_<c>.tif, 150 pixels, NN the
  slide of ten;
* NCT-CRC-HE-100K and NCT-CRC-HE-100K-NONORM/<class>/<class>-<letters>.tif, 224 pixels: the same tiles with and without
  normalised colour, of 86 slides that are not told;
* CRC-VAL-HE-7K/<class>/<class>-TCGA-<letters>.tif, 224 pixels, of 50 other patients that are not told.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from geryon.errors import InputError
from geryon.tasks.task import Labelled
from geryon.train.source import Case, Source, natural, none_at_all, rgb, rows_of

NAMES = ("adipose", "background", "debris", "lymphocytes", "mucus", "muscle", "normal", "stroma", "tumour")
OURS = {
    **{"ADI": "adipose", "ADIPOSE": "adipose", "BACK": "background", "EMPTY": "background", "DEB": "debris"},
    **{"DEBRIS": "debris", "LYM": "lymphocytes", "LYMPHO": "lymphocytes", "MUC": "mucus", "MUS": "muscle"},
    **{"NORM": "normal", "MUCOSA": "normal", "STR": "stroma", "STROMA": "stroma", "TUM": "tumour", "TUMOR": "tumour"},
}
"""Classes of both families by name; COMPLEX (a mixture) is left out."""
RELEASES = {
    "Kather_texture_2016_image_tiles_5000": 0.495,
    "NCT-CRC-HE-100K": 0.5,
    "NCT-CRC-HE-100K-NONORM": 0.5,
    "CRC-VAL-HE-7K": 0.5,
}
"""Folder of each release -> µm per pixel."""
SLIDE = re.compile(r"CRC-Prim-HE-(\d+)")
RESCALED_MPP = 0.495 * 150 / 224
"""Tiles of 150 pixels that were scaled to 224."""
NOWHERE = {
    "background": ("nuclei", "glands", "lumina", "signet_ring"),
    **dict.fromkeys(("adipose", "lymphocytes", "muscle"), ("glands", "lumina", "signet_ring")),
    **dict.fromkeys(("debris", "normal", "stroma"), ("signet_ring",)),
}
"""What a pure tile of the class can't hold: glass is no lumen, nor is a fat cell, nor a goblet cell a signet ring."""


class Tile(NamedTuple):
    """One tile of either layout."""

    path: Path
    name: str
    label: str
    group: str
    mpp: float


def cases(root: Path) -> Iterator[Case]:
    """All tiles of a class of ours, grouped by slide where the name gives it."""
    for tile in copied(root) if (root / "images.csv").exists() else released(root):
        name = OURS.get(tile.label.split("_")[-1])
        if name is None:
            continue
        read = rgb(tile.path)
        yield Case(
            name=tile.name,
            group=tile.group,
            image=read,
            mpp=tile.mpp,
            labels={"tissue": partial(tissue, read, name)},
            hints={task: partial(none_at_all, read) for task in NOWHERE.get(name, ())},
        )


def copied(root: Path) -> Iterator[Tile]:
    """The tiles that images.csv lists."""
    for row in rows_of(root / "images.csv"):
        mpp = float(row["um_per_px"]) if row["um_per_px"] else RESCALED_MPP
        yield Tile(root / row["file"], row["file"], row["class"], row["slide"] or row["file"], mpp)


def released(root: Path) -> Iterator[Tile]:
    """The tiles of each release in the folder, which may be one release itself."""
    folders = [root] if root.name in RELEASES else [root / name for name in RELEASES if (root / name).exists()]
    if not folders:
        what = f"none of {', '.join(RELEASES)} is there"
        raise InputError(what=what, where=str(root), mend="give the folder that holds them (--data, --root)")
    for folder in folders:
        for place in sorted(p for p in folder.iterdir() if p.is_dir()):
            for path in sorted(place.glob("*.tif"), key=natural):
                slide = SLIDE.search(path.name)
                group = f"slide_{slide[1]}" if slide else path.stem
                yield Tile(path, f"{folder.name}/{place.name}/{path.name}", place.name, group, RELEASES[folder.name])


def tissue(read: Callable[[], np.ndarray], name: str) -> Labelled:
    """One class all over the tile."""
    return Labelled(raster=np.full(read().shape[:2], NAMES.index(name) + 1, np.int32), raster_names=NAMES)


KATHER_CRC = Source(
    name="kather_crc",
    licence="CC BY 4.0 (2016 set: Creative Commons Attribution)",
    use="open",
    citation="Kather et al., Scientific Reports 6 (2016) 27988; PLOS Medicine 16 (2019) e1002730",
    tasks=("tissue",),
    cases=cases,
    mpp="0.495 (2016), 0.5 (NCT, CRC-VAL), 0.3315 for 2016 tiles scaled to 224",
    groups="slide (2016); tile where the slide is not told (NCT, CRC-VAL)",
    verified="copy: real files; releases: documentation",
    traps="neighbouring tiles of ten slides (2016): split by slide; tiles of one NCT slide can stand on both sides "
    "of a split, so hold out CRC-VAL-HE-7K/*; NCT tiles are colour-normalised but for NONORM",
)
