"""COCO JSON: polygons and run lengths of objects, one file for all images (Lin et al., ECCV 2014).

Run lengths count down the columns, first what is outside; the compressed form writes them in base 32 as differences
(cocodataset.org, "data format" and maskApi). Crowds outline what nobody counted: there nothing is known.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from geryon.tasks import decoding
from geryon.train.drawings import Drawing, cases_of, outlines
from geryon.train.faults import Fault, nearest
from geryon.train.own import IMAGE, Format, Looked, OwnChoice
from geryon.train.pictures import Picture, pictures
from geryon.train.source import Case

FILE = "annotations.json"
Rings = list[np.ndarray]


@dataclass(slots=True)
class Read:
    """What the file says of one image."""

    shapes: list[Rings] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    unknown: list[Rings] = field(default_factory=list)


def look(own: OwnChoice, root: Path, finest_mpp: float) -> Looked:
    """A case an image that the file names."""
    own = replace(own, known=own.known or IMAGE)
    path = root / (own.labels or FILE)
    place = own.labels or FILE

    def fault(what: str, mend: str, where: str = place) -> Fault:
        return Fault(source=own.name, where=where, what=what, mend=mend)

    try:
        content = json.loads(path.read_bytes())
        images = {image["id"]: image for image in content["images"]}
        categories = {each["id"]: str(each["name"]) for each in content["categories"]}
        annotations = list(content["annotations"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"is no COCO file: {type(error).__name__} {error}"
        return Looked(faults=(fault(what, "write the file's path as labels"),))
    found = pictures(own, root, finest_mpp)
    faults = found.faults + [
        fault(f"class {name!r} is not in classes{nearest(name, own.names)}", "add it, or name it in skip or unknown")
        for name in sorted(set(categories.values()))
        if own.classes and name not in own.names and not _is(name, own.skip) and not _is(name, own.unknown)
    ]
    reads: dict[Any, Read] = {number: Read() for number in images}
    for each in annotations:
        try:
            _sort(own, reads, each, (images, categories))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            what = f"annotation {each.get('id') if isinstance(each, dict) else each} can't be used: {error}"
            faults.append(fault(what, "mend or remove it"))
    by_name = {p.path.relative_to(root / (own.images or "images")).as_posix(): p for p in found.pictures}
    cases: list[Case] = []
    for number, image in images.items():
        picture = by_name.pop(str(image["file_name"]), None)
        wrong = _image_fault(image, picture)
        if wrong or picture is None:
            faults += [fault(*wrong)] if wrong and not found.faults else []
            continue
        read = reads[number]
        drawing = Drawing(shapes=outlines(read.shapes), classes=tuple(read.classes), unknown=outlines(read.unknown))
        new, too_large = cases_of(own, picture, drawing)
        cases += new
        faults += too_large
    unnamed = [fault("the file does not name this image", "add it to the file, or move it", name) for name in by_name]
    return Looked(cases=tuple(cases), faults=(*faults, *unnamed), notes=tuple(found.notes))


def _image_fault(image: dict[str, Any], picture: Picture | None) -> tuple[str, str] | None:
    name = str(image["file_name"])
    if picture is None:
        return f"names the image {name}, which is not there", "add it, or write its folder as images"
    size = (image.get("width", picture.width_px), image.get("height", picture.height_px))
    if size != (picture.width_px, picture.height_px):
        own_size = f"{picture.width_px} x {picture.height_px}"
        return f"says that {name} is {size[0]} x {size[1]} px, and it is {own_size}", "annotate it at its own size"
    return None


def _is(name: str, patterns: tuple[str | int, ...]) -> bool:
    return any(fnmatchcase(name, str(each)) for each in patterns)


def _sort(own: OwnChoice, reads: dict[Any, Read], each: dict[str, Any], tables: tuple[Any, Any]) -> None:
    images, categories = tables
    name = categories[each["category_id"]]
    if each["image_id"] not in images:
        raise ValueError(f"there is no image {each['image_id']}")
    if _is(name, own.skip):
        return
    image, read = images[each["image_id"]], reads[each["image_id"]]
    rings = rings_of(each.get("segmentation"), image)
    if not rings:
        return
    if each.get("iscrowd") or _is(name, own.unknown):
        read.unknown.append(rings)
    else:
        read.shapes.append(rings)
        read.classes.append(own.names.get(name, ""))


def rings_of(segmentation: Any, image: dict[str, Any]) -> Rings:
    """The rings of one object: of its polygons, or around its run lengths."""
    if not segmentation:
        raise ValueError("it has no segmentation (for boxes alone, use boxes_csv)")
    if isinstance(segmentation, list):
        rings = [np.array(flat, np.float64).reshape(-1, 2) for flat in segmentation]
        return [ring for ring in rings if len(ring) > 2]
    height, width = (int(n) for n in segmentation["size"])
    if (height, width) != (image.get("height", height), image.get("width", width)):
        raise ValueError(f"its size {height} x {width} is not that of its image")
    counts = segmentation["counts"]
    mask = mask_of(counts_of(counts) if isinstance(counts, str) else counts, height, width)
    shapes = decoding.outlines_of(decoding.components(mask)[0])
    return [ring for i in range(len(shapes)) for ring in shapes.rings(i)]


def mask_of(counts: list[int], height: int, width: int) -> np.ndarray:
    """bool [y, x] of run lengths down the columns: outside, inside, outside, ...

    >>> mask_of([1, 2, 3], 2, 3).astype(int).tolist()
    [[0, 1, 0], [1, 0, 0]]
    """
    if sum(counts) != height * width or min(counts, default=0) < 0:
        raise ValueError("its run lengths do not fill its image")
    inside = np.arange(len(counts)) % 2 == 1
    return np.ascontiguousarray(np.repeat(inside, counts).reshape(width, height).T)


def counts_of(text: str) -> list[int]:
    """Run lengths of the compressed form: 5 bits a character from 48 on, low ones first, 32 where more follow; from
    the fourth on as the difference to the one before the last.

    >>> counts_of("52203")
    [5, 2, 2, 2, 5]
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    return counts


FORMAT = Format(look=look, reads=("images", "labels", "known", "unknown", "skip"), teaches=("own", "join", "place"))
