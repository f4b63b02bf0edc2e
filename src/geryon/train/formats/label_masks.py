"""A folder of images and a folder of masks: one channel, whose numbers are objects or classes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from geryon.errors import InputError
from geryon.slides.array import read_values
from geryon.tasks import decoding
from geryon.tasks.task import Labelled, get_task
from geryon.train.faults import Fault
from geryon.train.own import Format, Looked, OwnChoice
from geryon.train.pictures import Picture, pictures, whole
from geryon.train.source import Case

ENDINGS = (".png", ".tif", ".tiff", ".bmp")


def look(own: OwnChoice, root: Path, finest_mpp: float) -> Looked:
    """A case an image; its masks are called like it."""
    found = pictures(own, root, finest_mpp)
    cases, faults, all_read = [], found.faults, not found.faults
    for picture in found.pictures:
        masks, wrong = _masks(own, root, picture)
        faults += wrong
        if wrong:
            continue
        stratum, wrong = _checked(own, root, picture, masks)
        faults += wrong
        cases.append(
            Case(
                name=picture.name,
                group=picture.group,
                image=partial(whole, picture),
                mpp=picture.mpp,
                labels={own.task: partial(labelled, own, masks)},
                stratum=stratum,
            )
        )
    faults += _lonely(own, root, [picture.name for picture in found.pictures]) if all_read and found.pictures else ()
    return Looked(cases=tuple(cases), faults=tuple(faults), notes=tuple(found.notes))


def _lonely(own: OwnChoice, root: Path, names: list[str]) -> Iterator[Fault]:
    """Masks in a folder of their own that no image is called like."""
    labels, known = own.labels or "masks", set(names)
    if "*" in labels:
        return
    others = [
        root / own.images if own.images else root / "images",
        *([root / own.class_labels] * bool(own.class_labels)),
    ]
    for path in sorted(path for path in (root / labels).rglob("*") if path.suffix in ENDINGS):
        is_other = any(path.is_relative_to(other) for other in others)
        if not is_other and path.relative_to(root / labels).with_suffix("").as_posix() not in known:
            where, what = path.relative_to(root).as_posix(), "the mask has no image of its name"
            yield Fault(source=own.name, where=where, what=what, mend="add the image, or remove the mask")


def _masks(own: OwnChoice, root: Path, picture: Picture) -> tuple[list[Path], list[Fault]]:
    """The mask of an image, and that of its classes where they have their own."""
    place = picture.path.relative_to(root).as_posix()
    found, faults = [], []
    for labels, kind in ((own.labels or "masks", "mask"), (own.class_labels, "mask of classes")):
        if not labels:
            continue
        path = _called(root, labels, picture.name)
        if path is None:
            mend = f"add {labels.replace('*', picture.name) if '*' in labels else f'{labels}/{picture.name}.png'}"
            faults.append(Fault(source=own.name, where=place, what=f"the image has no {kind}", mend=mend))
        else:
            found.append(path)
    return found, faults


def _called(root: Path, labels: str, name: str) -> Path | None:
    if "*" in labels:
        paths = [root / labels.replace("*", name)]
    else:
        paths = [root / labels / f"{name}{ending}" for ending in ENDINGS]
    return next((path for path in paths if path.is_file()), None)


def _checked(own: OwnChoice, root: Path, picture: Picture, masks: list[Path]) -> tuple[str, list[Fault]]:
    """The commonest class of a case, and what is wrong with its masks."""
    faults: list[Fault] = []

    def wrong(path: Path, what: str, mend: str) -> None:
        faults.append(Fault(source=own.name, where=path.relative_to(root).as_posix(), what=what, mend=mend))

    read: list[np.ndarray] = []
    for path in masks:
        try:
            mask = mask_of(path)
        except InputError as error:
            wrong(path, error.what, error.mend)
            continue
        if mask.shape != (picture.height_px, picture.width_px):
            size = f"{mask.shape[1]} x {mask.shape[0]} px, its image {picture.width_px} x {picture.height_px}"
            wrong(path, f"the mask has {size}", "save it at the size of its image")
        read.append(mask)
    if faults:
        return "", faults
    void = {str(label) for label in own.unknown}
    numbered = _how(own) == "numbers" and (own.class_labels or not own.classes)
    if numbered and {str(n) for n in np.unique(read[0]) if n} - void == {"255"}:
        mend = "write objects: pieces (each piece is an object) or objects: area (those that touch are not told apart)"
        wrong(masks[0], "holds 0 and 255 alone: a mask of area, not of numbered objects", mend)
    numbers, counts = np.unique(read[-1], return_counts=True)
    there = {str(n): int(c) for n, c in zip(numbers, counts, strict=True) if n and str(n) not in void}
    strange = [label for label in there if own.classes and label not in own.names]
    if strange:
        mend = "add them to classes, or name them in unknown"
        more = f" and {len(strange) - 8} more" if len(strange) > 8 else ""
        mend += "; for numbers of objects, give the masks of their classes as class_labels" if more else ""
        wrong(masks[-1], f"holds labels that are not in classes: {', '.join(strange[:8])}{more}", mend)
    by_class: dict[str, int] = {}
    for label, count in there.items():
        if name := own.names.get(label):
            by_class[name] = by_class.get(name, 0) + count
    return min(by_class, key=lambda name: (-by_class[name], name), default=""), faults


def _how(own: OwnChoice) -> str:
    return own.objects or ("pieces" if own.classes and not own.class_labels else "numbers")


def mask_of(path: Path) -> np.ndarray:
    """int32 [y, x]: the stored numbers; InputError for a colour picture or numbers that are not whole."""
    mask = read_values(path)
    if mask.ndim == 3:
        what, mend = f"has {mask.shape[2]} channels: a colour picture, no mask", "save it as one channel of numbers"
        raise InputError(what=what, where=str(path), mend=mend)
    whole_numbers: np.ndarray = mask.astype(np.int32)
    if not np.array_equal(whole_numbers, mask) or whole_numbers.min(initial=0) < 0:
        what = "holds numbers that are not whole or are below 0"
        raise InputError(what=what, where=str(path), mend="save whole numbers from 0 on")
    return whole_numbers


def labelled(own: OwnChoice, masks: list[Path]) -> Labelled:
    """What the masks say: objects, an area or a raster of classes."""
    first = mask_of(masks[0])
    classes = mask_of(masks[1]) if len(masks) > 1 else first
    void = [int(label) for label in own.unknown]
    known = ~(np.isin(first, void) | np.isin(classes, void)) if void else None
    if known is not None:
        first, classes = first * known, classes * known
    named = {int(label): name for label, name in own.names.items()}
    if get_task(own.task).seam == "place":
        return _raster(first, named)
    if _how(own) == "area":
        there = {named[int(n)] for n in np.unique(first) if n} if named else set()
        return Labelled(foreground=first > 0, known=known, classes={1: there.pop()} if len(there) == 1 else {})
    objects = _pieces(first) if _how(own) == "pieces" else _dense(first)
    return Labelled(objects=objects, known=known, classes=_classes(objects, classes, named) if named else None)


def _raster(mask: np.ndarray, named: dict[int, str]) -> Labelled:
    names = tuple(dict.fromkeys(name for name in named.values() if name))
    table = np.zeros(int(mask.max(initial=0)) + 1, np.int32)
    for number, name in named.items():
        if name and number < len(table):
            table[number] = names.index(name) + 1
    return Labelled(raster=table[mask], raster_names=names)


def _dense(mask: np.ndarray) -> np.ndarray:
    """int32 [y, x]: the objects numbered without gaps, in their order."""
    numbers, dense = np.unique(mask, return_inverse=True)
    return (dense.reshape(mask.shape) + (numbers[0] != 0)).astype(np.int32)


def _pieces(mask: np.ndarray) -> np.ndarray:
    """int32 [y, x]: each 4-connected piece of one number is an object."""
    objects, count = np.zeros(mask.shape, np.int32), 0
    for number in np.unique(mask[mask > 0]):
        pieces, n = decoding.components(mask == number)
        objects += np.where(pieces > 0, pieces + count, 0).astype(np.int32)
        count += n
    return objects


def _classes(objects: np.ndarray, classes: np.ndarray, named: dict[int, str]) -> dict[int, str]:
    """Object -> the commonest class of its pixels; objects whose class is not told are left out."""
    most = np.zeros((int(objects.max(initial=0)) + 1, len(named)), np.int64)
    for column, number in enumerate(named):
        most[:, column] = np.bincount(objects[classes == number], minlength=len(most))
    names = list(named.values())
    best = most.argmax(axis=1)
    return {i: names[best[i]] for i in range(1, len(most)) if most[i].any() and names[best[i]]}


FORMAT = Format(
    look=look,
    reads=("images", "labels", "class_labels", "objects", "unknown"),
    teaches=("own", "join", "place"),
    is_numbered=True,
)
