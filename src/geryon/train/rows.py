"""Tables of points or boxes, one row an object: what the formats of CSV share."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from geryon.train.drawings import Drawing, cases_of
from geryon.train.faults import Fault, nearest
from geryon.train.own import IMAGE, Looked, OwnChoice
from geryon.train.pictures import Picture, pictures
from geryon.train.source import Case

Row = tuple[tuple[float, ...], str]
"""Numbers in pixels of the image, edges at integers, and a class."""


def look(
    own: OwnChoice, root: Path, finest_mpp: float, *, columns: tuple[str, ...], draw: Callable[[Sequence[Row]], Drawing]
) -> Looked:
    """A case an image; an image that holds nothing has a row with its name alone."""
    own = replace(own, known=own.known or IMAGE)
    place = own.labels or f"{'boxes' if len(columns) > 2 else 'points'}.csv"
    found = pictures(own, root, finest_mpp)
    by_name = {name: p for p in found.pictures for name in (p.path.name, p.name, _below(own, root, p))}
    try:
        rows, wrong = _read(own, root / place, columns, set(by_name) if not found.faults else None)
    except (OSError, ValueError, csv.Error) as error:
        fault = Fault(source=own.name, where=place, what=f"can't be read: {error}", mend="write its path as labels")
        return Looked(faults=(*found.faults, fault), notes=tuple(found.notes))
    faults = found.faults + [Fault(source=own.name, where=place, what=what, mend=mend) for what, mend in wrong]
    of_picture: dict[str, list[Row]] = {}
    for name, some in rows.items():
        if name in by_name:
            of_picture.setdefault(by_name[name].name, []).extend(some)
    cases: list[Case] = []
    for picture in found.pictures:
        if picture.name not in of_picture:
            where, what = picture.path.relative_to(root).as_posix(), f"no row of {place} names the image"
            mend = "if it holds nothing, add a row with its name alone"
            faults.append(Fault(source=own.name, where=where, what=what, mend=mend))
            continue
        inside, outside = _on(picture, of_picture[picture.name])
        if outside:
            what = f"{outside} rows lie outside of {picture.name} ({picture.width_px} x {picture.height_px} px)"
            faults.append(Fault(source=own.name, where=place, what=what, mend="give pixels of the image"))
        new, too_large = cases_of(own, picture, draw(inside))
        cases += new
        faults += too_large
    return Looked(cases=tuple(cases), faults=tuple(faults), notes=tuple(found.notes))


def _below(own: OwnChoice, root: Path, picture: Picture) -> str:
    return picture.path.relative_to(root / (own.images or "images")).as_posix()


def _on(picture: Picture, rows: Sequence[Row]) -> tuple[list[Row], int]:
    """The rows whose middle lies on the image, and how many do not."""
    given, there = [row for row in rows if row[0]], []
    for numbers, name in given:
        x, y = (sum(axis) / len(axis) for axis in (numbers[0::2], numbers[1::2]))
        if 0 <= x < picture.width_px and 0 <= y < picture.height_px:
            there.append((numbers, name))
    return there, len(given) - len(there)


def _read(
    own: OwnChoice, path: Path, columns: tuple[str, ...], images: set[str] | None
) -> tuple[dict[str, list[Row]], list[tuple[str, str]]]:
    """{image: its rows}, and what is wrong with others; `images` are the names that may stand there, None: any."""
    rows: dict[str, list[Row]] = {}
    wrong: dict[tuple[str, str], None] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in ("image", *columns) if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"it has no column {', '.join(missing)}")
        for line, row in enumerate(reader, start=2):
            name, kind = row["image"] or "", (row.get("class") or "").strip()
            texts = [(row[column] or "").strip() for column in columns]
            if images is not None and name not in images:
                wrong[f"names the image {name}, which is not there", "add it, or mend the name"] = None
                continue
            mine = rows.setdefault(name, [])
            if not any(texts) or any(fnmatchcase(kind, str(each)) for each in own.skip):
                continue
            numbers = _numbers(texts)
            if numbers is None or (len(numbers) > 2 and (numbers[2] <= numbers[0] or numbers[3] <= numbers[1])):
                wrong[f"line {line} has no {', '.join(columns)}", "write numbers, the smaller edge first"] = None
            elif kind and own.classes and kind not in own.names:
                wrong[f"class {kind!r} is not in classes{nearest(kind, own.names)}", "add it, or name it in skip"] = (
                    None
                )
            else:
                mine.append((numbers, own.names.get(kind, "")))
    return rows, list(wrong)


def _numbers(texts: Sequence[str]) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(text) for text in texts)
    except ValueError:
        return None
    return numbers if all(math.isfinite(number) for number in numbers) else None
