"""A folder a class: each image is of that class all over."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import numpy as np

from geryon.tasks.task import Labelled
from geryon.train.faults import Fault, nearest
from geryon.train.own import Format, Looked, OwnChoice
from geryon.train.pictures import Picture, pictures, whole
from geryon.train.source import Case


def look(own: OwnChoice, root: Path, finest_mpp: float) -> Looked:
    """A case an image of the named folders; its group is found in its name below the folder of its class."""
    cases: list[Case] = []
    faults: list[Fault] = []
    notes: list[str] = []
    names = tuple(dict.fromkeys(name for name in own.names.values() if name))
    top = root / own.images
    for folder in sorted(path for path in top.iterdir() if path.is_dir() and not path.name.startswith(".")):
        if any(fnmatchcase(folder.name, str(each)) for each in own.skip):
            continue
        if folder.name not in own.names:
            what = f"is not in classes{nearest(folder.name, own.names)}"
            mend = "add it, or name it in skip"
            faults.append(Fault(source=own.name, where=folder.relative_to(root).as_posix(), what=what, mend=mend))
            continue
        found = pictures(own, top, finest_mpp, images=folder.name)
        faults += found.faults
        notes += found.notes
        name = own.names[folder.name]
        cases += [
            Case(
                name=f"{folder.name}/{picture.name}",
                group=f"{folder.name}/{picture.name}" if own.group == "image" else picture.group,
                image=partial(whole, picture),
                mpp=picture.mpp,
                labels={own.task: partial(labelled, picture, name, names)},
                stratum=name,
            )
            for picture in found.pictures
            if name
        ]
    missing = [label for label in own.names if not (top / label).is_dir()]
    faults += [
        Fault(source=own.name, where=label, what="there is no such folder", mend="mend classes") for label in missing
    ]
    return Looked(cases=tuple(cases), faults=tuple(faults), notes=tuple(notes))


def labelled(picture: Picture, name: str, names: tuple[str, ...]) -> Labelled:
    """One class all over the image."""
    shape = (picture.height_px, picture.width_px)
    return Labelled(raster=np.full(shape, names.index(name) + 1, np.int32), raster_names=names)


FORMAT = Format(look=look, reads=("images", "skip"), teaches=("place",), needs_classes=True)
