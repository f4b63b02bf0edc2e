"""GeoJSON as QuPath exports it: outlines or points with a class, in pixels of level 0, on slides or images.

Layout: QuPath's QuPathTypeAdapters (0.2 to 0.6): a Feature, a list of them or a FeatureCollection; a class is
properties.classification.name (or .names of a derived class); cells carry nucleusGeometry beside their own.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from geryon.tasks.task import get_task
from geryon.train.drawings import Drawing, cases_of, outlines
from geryon.train.faults import Fault, nearest
from geryon.train.own import IMAGE, OBJECTS, Format, Looked, OwnChoice
from geryon.train.pictures import Picture, pictures
from geryon.train.source import Case

UNCLASSIFIED = "Unclassified"
"""What QuPath calls an object without a class."""
PLACES = "Region*"
"""Class of the annotations around places where everything is annotated: QuPath has it from the start."""
LINES = ("LineString", "MultiLineString")
Rings = list[np.ndarray]


@dataclass(slots=True)
class Read:
    """What one file holds, sorted by what it is for."""

    shapes: list[Rings] = field(default_factory=list)
    shape_classes: list[str] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    point_classes: list[str] = field(default_factory=list)
    places: list[Rings] = field(default_factory=list)
    unknown: list[Rings] = field(default_factory=list)
    strangers: set[str] = field(default_factory=set)
    """Classes that the recipe does not name."""


def look(own: OwnChoice, root: Path, finest_mpp: float) -> Looked:
    """One file an image, called like it; a case a place, or see OwnChoice.known."""
    own = replace(own, known=own.known or PLACES)
    found = pictures(own, root, finest_mpp)
    cases: list[Case] = []
    faults = found.faults
    used: set[Path] = set()
    for picture in found.pictures:
        path = annotation_of(own, root, picture)
        place = picture.path.relative_to(root).as_posix()
        if path is None:
            what, mend = (
                "the image has no annotation",
                f"export it to {own.labels or 'annotations'}/{picture.name}.geojson",
            )
            faults.append(Fault(source=own.name, where=place, what=what, mend=mend))
            continue
        used.add(path)
        got, wrong = _drawing(own, path, path.relative_to(root).as_posix())
        if not wrong and got is not None:
            new, wrong = cases_of(own, picture, got)
            cases += new
        faults += wrong
    faults += _lonely(own, root, used)
    return Looked(cases=tuple(cases), faults=tuple(faults), notes=tuple(found.notes))


def annotation_of(own: OwnChoice, root: Path, picture: Picture) -> Path | None:
    """The file of an image: called like it, with or without the image's own ending, packed or not."""
    if "*" in own.labels:
        names = [own.labels.replace("*", picture.name)]
    else:
        folder, ending = own.labels or "annotations", picture.path.suffix
        stems = (picture.name, picture.name + ending, picture.name + ".ome" + ending)
        names = [f"{folder}/{stem}.{end}" for stem in stems for end in ("geojson", "json", "geojson.gz")]
    return next((root / name for name in names if (root / name).is_file()), None)


def _lonely(own: OwnChoice, root: Path, used: set[Path]) -> Iterator[Fault]:
    if "*" in own.labels:
        return
    for path in sorted((root / (own.labels or "annotations")).rglob("*.geojson*")):
        if path not in used:
            where, what = path.relative_to(root).as_posix(), "the annotation has no image of its name"
            yield Fault(source=own.name, where=where, what=what, mend="add the image, or remove the file")


def _drawing(own: OwnChoice, path: Path, place: str) -> tuple[Drawing | None, list[Fault]]:
    try:
        read = read_features(own, path)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        what = f"is no GeoJSON of polygons and points: {type(error).__name__} {error}"
        return None, [Fault(source=own.name, where=place, what=what, mend="export it from QuPath again")]
    faults = _strangers(own, read, place)
    if read.shapes and read.points:
        what = "holds outlines and points, and a source teaches from one of them"
        faults.append(Fault(source=own.name, where=place, what=what, mend="name one kind's classes in skip"))
    if own.known not in (IMAGE, OBJECTS) and not read.places:
        what = f"has no annotation of class {own.known}, which says where everything is annotated"
        mend = "draw one; or write known: image (all is annotated) or known: objects (the rest is unknown)"
        faults.append(Fault(source=own.name, where=place, what=what, mend=mend))
    task = get_task(own.task)
    if read.points and task.seam != "own":
        what = f"holds points, which {task.name} can't learn from"
        faults.append(Fault(source=own.name, where=place, what=what, mend="draw outlines"))
    points = np.concatenate(read.points) if read.points else None
    return Drawing(
        shapes=outlines(read.shapes),
        classes=tuple(read.point_classes if points is not None else read.shape_classes),
        points=points,
        places=outlines(read.places),
        unknown=outlines(read.unknown),
    ), faults


def _strangers(own: OwnChoice, read: Read, place: str) -> list[Fault]:
    known = list(own.names)
    faults = []
    for name in sorted(read.strangers):
        what = f"class {name!r} is not in classes{nearest(name, known)}"
        mend = "add it (null: an object whose class is not told), or name it in skip or unknown"
        faults.append(Fault(source=own.name, where=place, what=what, mend=mend))
    return faults


def read_features(own: OwnChoice, path: Path) -> Read:
    """All features of a file, by the class that QuPath gave them."""
    raw = path.read_bytes()
    found = json.loads(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    features = found if isinstance(found, list) else found.get("features", [found])
    nuclei = get_task(own.task).seam == "own"
    read = Read()
    for feature in features:
        geometry = (feature.get("nucleusGeometry") if nuclei else None) or feature["geometry"]
        _sort(own, read, class_of(feature), geometry)
    return read


def class_of(feature: dict[str, Any]) -> str:
    """The name of a feature's class as QuPath shows it.

    >>> class_of({"properties": {"classification": {"names": ["Tumor", "Positive"]}}})
    'Tumor: Positive'
    """
    told = (feature.get("properties") or {}).get("classification") or {}
    if isinstance(told, str):
        return told
    return str(told.get("name") or ": ".join(told.get("names") or ()) or UNCLASSIFIED)


def _sort(own: OwnChoice, read: Read, name: str, geometry: dict[str, Any]) -> None:
    if geometry["type"] == "GeometryCollection":
        for each in geometry["geometries"]:
            _sort(own, read, name, each)
        return
    if _is(name, own.skip) or geometry["type"] in LINES:  # lines measure, they outline nothing
        return
    points, rings = _points(geometry), _rings(geometry)
    if rings and own.known not in (IMAGE, OBJECTS) and fnmatchcase(name, own.known):
        # Each of its parts is a place of its own.
        read.places += rings
        return
    if rings and _is(name, own.unknown):
        read.unknown += rings
        return
    names = own.names
    if names and name not in names:
        read.strangers.add(name)
        return
    mine = names.get(name, "")
    if rings:
        read.shapes.append([ring for part in rings for ring in part])
        read.shape_classes.append(mine)
    if len(points):
        read.points.append(points)
        read.point_classes += [mine] * len(points)


def _is(name: str, patterns: tuple[str | int, ...]) -> bool:
    return any(fnmatchcase(name, str(each)) for each in patterns)


def _points(geometry: dict[str, Any]) -> np.ndarray:
    kinds = {"Point": lambda c: [c], "MultiPoint": lambda c: c}
    given = kinds.get(geometry["type"], lambda c: [])(geometry["coordinates"])
    return _finite(np.array([each[:2] for each in given], np.float64).reshape(-1, 2))


def _rings(geometry: dict[str, Any]) -> list[Rings]:
    """The rings of each part, first points not repeated; parts of fewer than three points hold nothing."""
    kinds = {"Polygon": lambda c: [c], "MultiPolygon": lambda c: c}
    parts = kinds.get(geometry["type"], lambda c: [])(geometry["coordinates"])
    if geometry["type"] not in (*kinds, "Point", "MultiPoint"):
        raise ValueError(f"a geometry of type {geometry['type']}")
    return [rings for rings in ([_ring(ring) for ring in part if len(ring) > 3] for part in parts) if rings]


def _ring(coordinates: list[list[float]]) -> np.ndarray:
    ring = _finite(np.array([each[:2] for each in coordinates], np.float64))
    return ring[:-1] if np.array_equal(ring[0], ring[-1]) else ring


def _finite(points: np.ndarray) -> np.ndarray:
    if not np.isfinite(points).all():
        raise ValueError("a coordinate that is no number")
    return points


FORMAT = Format(look=look, reads=("images", "labels", "known", "unknown", "skip"), teaches=("own", "join", "place"))
