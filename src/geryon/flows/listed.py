"""A table of slides: what is said of each slide alone, its resolution above all."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from geryon.errors import InputError, UsageError
from geryon.space.units import is_plausible

COLUMNS = ("slide", "mpp", "mask")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One slide of many, and what holds for it alone."""

    path: Path
    mpp: float | None = None
    """µm per pixel; None: as for all."""
    mask: Path | None = None
    """Its own tissue mask; None: as for all."""


def listed(slides: Sequence[str | Path | Listed], *, mask: Path | None) -> list[Listed]:
    """The slides, each with what holds for it alone; UsageError where `mask` would be the mask of several of them."""
    found = [slide if isinstance(slide, Listed) else Listed(path=Path(slide)) for slide in slides]
    sharing = sum(slide.mask is None for slide in found)
    if mask and sharing > 1:
        raise UsageError(
            what=f"one mask can't be that of {sharing} slides",
            where=str(mask),
            mend="give each slide its own in the column mask of a --table",
        )
    return found


def read_table(path: Path) -> tuple[Listed, ...]:
    """The slides of a CSV with the columns slide, mpp and mask (the last two may be absent, or empty in a row).

    Paths count from the table's folder. InputError tells all faults of the table at once.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            header, rows = list(table.fieldnames or ()), list(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(what=f"can't be read: {error}", where=str(path), mend="give a CSV in UTF-8") from error
    faults = [f"there is no column {name!r}" for name in header if name not in COLUMNS]
    faults += [] if "slide" in header else ["the column 'slide' is missing"]
    found = []
    for number, row in enumerate(rows, start=2):
        try:
            found.append(_listed(row, path.parent))
        except ValueError as error:
            faults.append(f"line {number}: {error}")
    if faults or not found:
        raise InputError(
            what="; ".join(faults) or "lists no slide",
            where=str(path),
            mend=f"the columns are {', '.join(COLUMNS)}; only slide must be there",
        )
    return tuple(found)


def _listed(row: dict[str | None, str | list[str] | None], folder: Path) -> Listed:
    if None in row:
        raise ValueError("more cells than columns")
    slide, mpp, mask = (str(row.get(name) or "").strip() for name in COLUMNS)
    if not slide:
        raise ValueError("no slide")
    try:
        given = float(mpp) if mpp else None
    except ValueError:
        raise ValueError(f"mpp is {mpp!r}, no number") from None
    if given is not None and not is_plausible(given):
        raise ValueError(f"mpp is {mpp}, which no slide has")
    return Listed(path=folder / slide, mpp=given, mask=folder / mask if mask else None)
