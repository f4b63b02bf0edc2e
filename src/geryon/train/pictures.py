"""A lab's images by their headers: size, µm per pixel, group; and the pixels of a box when they are asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from geryon.errors import InputError
from geryon.slides.array import claimed_size
from geryon.slides.reader import open_slide
from geryon.slides.resolution import NoResolutionError
from geryon.space.boxes import Box
from geryon.train.faults import Fault
from geryon.train.own import OwnChoice

ENDINGS = {
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"),
    *(".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".svslide", ".czi"),
}
"""What of a folder is taken for an image; which reader can open it is told by its content."""
HEAD_BYTES = 1 << 20
NO_MPP = "no µm per pixel: neither the image nor the recipe says it"
GIVE_MPP = "write it into the source of the recipe, such as mpp: 0.25 for a usual 40x scan, mpp: 0.5 for 20x"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One image, not yet read."""

    path: Path
    name: str
    """Path below the folder of images, without its ending."""
    group: str
    width_px: int
    height_px: int
    mpp: float
    """Of level 0; pixels are square."""
    grid_mpp: float
    """At which boxes of it are read: its own, or of a slide the nearest to the finest that is of use."""

    @property
    def factor(self) -> float:
        """Pixels at grid_mpp per pixel of level 0."""
        return self.mpp / self.grid_mpp

    @property
    def grid_size(self) -> tuple[int, int]:
        """Width and height at grid_mpp, whole pixels."""
        return int(self.width_px * self.factor + 1e-6), int(self.height_px * self.factor + 1e-6)


@dataclass(slots=True)
class Found:
    """Pictures of a folder, and what is wrong with the others."""

    pictures: list[Picture] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def pictures(own: OwnChoice, root: Path, finest_mpp: float, *, images: str = "") -> Found:
    """All images of the source, by name; slides are to be read no finer than `finest_mpp`."""
    folder = root / (images or own.images or "images")
    found = Found()
    if not folder.is_dir():
        fault = Fault(source=own.name, where=str(folder), what="there is no such folder", mend="write images: FOLDER")
        found.faults.append(fault)
        return found
    for path in listed(folder):
        place = path.relative_to(root).as_posix()
        name = name_of(path.relative_to(folder))
        group = group_of(own.group, name)
        if group is None:
            what = f"its name {name} does not fit the pattern of group, {own.group}"
            found.faults.append(Fault(source=own.name, where=place, what=what, mend="change group", is_input=False))
            continue
        try:
            picture, notes = _picture(path, own.mpp, finest_mpp, (name, group))
        except NoResolutionError:
            found.faults.append(Fault(source=own.name, where=place, what=NO_MPP, mend=GIVE_MPP))
        except InputError as error:
            found.faults.append(Fault(source=own.name, where=place, what=error.what, mend=error.mend))
        else:
            found.pictures.append(picture)
            found.notes += [f"{own.name}: {note.replace('--mpp', 'mpp')}" for note in notes]
    found.notes = list(dict.fromkeys(found.notes))
    found.faults += _twice(own, root, found.pictures)
    return found


def _twice(own: OwnChoice, root: Path, pictures: list[Picture]) -> list[Fault]:
    names = [picture.name for picture in pictures]
    return [
        Fault(source=own.name, where=p.path.relative_to(root).as_posix(), what="another image has the same name")
        for i, p in enumerate(pictures)
        if p.name in names[:i]
    ]


def listed(folder: Path) -> Iterator[Path]:
    """Images below the folder, by path; hidden files are not looked at."""
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in ENDINGS and not path.name.startswith(".") and path.is_file():
            yield path


def name_of(path: Path) -> str:
    """A relative path without its ending.

    >>> name_of(Path("case1/a.ome.tiff"))
    'case1/a'
    """
    return re.sub(r"\.ome$", "", path.with_suffix("").as_posix(), flags=re.IGNORECASE)


def group_of(rule: str, name: str) -> str | None:
    """What an image of that name belongs to, None where the rule does not fit it.

    >>> group_of("(case[0-9]+)_.*", "case7_b"), group_of("folder", "case7/b"), group_of("image", "case7/b")
    ('case7', 'case7', 'case7/b')
    """
    if rule == "image":
        return name
    if rule == "folder":
        return name.rpartition("/")[0] or None
    match = re.match(rule, name)
    return (match[1] or None) if match else None


def _picture(path: Path, mpp: float | None, finest_mpp: float, who: tuple[str, str]) -> tuple[Picture, tuple[str, ...]]:
    """The picture, and what its reader warns of."""
    name, group = who
    with path.open("rb") as file:
        size = claimed_size(file.read(HEAD_BYTES))
    if size is not None and path.suffix.lower() in (".png", ".jpg", ".jpeg"):
        # A plain picture says no resolution, and opening it would decode it.
        if mpp is None:
            raise NoResolutionError(what=NO_MPP, where=str(path), mend=GIVE_MPP)
        return Picture(
            path=path, name=name, group=group, width_px=size[0], height_px=size[1], mpp=mpp, grid_mpp=mpp
        ), ()
    with open_slide(path, mpp=mpp) as slide:
        x, y = slide.mpp
        if x != y:
            what = f"its pixels are not square ({x:g} x {y:g} µm)"
            raise InputError(what=what, where=str(path), mend="write mpp into the source if that is wrong")
        grid = slide.grid_mpp(finest_mpp) if finest_mpp > x else x
        width, height = slide.size
        return Picture(
            path=path, name=name, group=group, width_px=width, height_px=height, mpp=x, grid_mpp=grid
        ), slide.warnings


def whole(picture: Picture) -> np.ndarray:
    """uint8 RGB [y, x, 3]: all of the image at its own resolution."""
    return _read(picture, (0, 0, picture.width_px, picture.height_px), picture.mpp)


def part(picture: Picture, box: tuple[int, int, int, int]) -> np.ndarray:
    """uint8 RGB [y, x, 3]: a box xmin, ymin, xmax, ymax of whole pixels at grid_mpp."""
    xmin, ymin, xmax, ymax = (edge / picture.factor for edge in box)
    return _read(picture, (xmin, ymin, xmax, ymax), picture.grid_mpp)


def _read(picture: Picture, box_level0: tuple[float, float, float, float], mpp: float) -> np.ndarray:
    with open_slide(picture.path, mpp=picture.mpp) as slide:
        return slide.read(Box(slide.frame, *box_level0), mpp)
