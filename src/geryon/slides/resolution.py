"""µm per pixel: which of several claims is believed, and why (the rule that every output repeats)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from xml.etree import ElementTree

from geryon.errors import InputError, UsageError
from geryon.space import units

SAME_WITHIN = 0.005
"""x and y closer than this are one number: scanners write the same pitch with rounding noise."""

DISAGREES_BEYOND = 0.10
"""A given value this far from the file's is used, and warned about."""

LENGTHS_UM = {
    "": 1.0, "um": 1.0, "µm": 1.0, "μm": 1.0, "micrometer": 1.0, "micrometre": 1.0, "micron": 1.0, "microns": 1.0,
    "nm": 1e-3, "nanometer": 1e-3, "mm": 1e3, "millimeter": 1e3, "cm": 1e4, "centimeter": 1e4, "m": 1e6, "meter": 1e6,
}  # fmt: skip
"""µm in one of each unit that OME files name; both code points of the letter mu are in use."""


class NoResolutionError(InputError):
    """The file does not say its µm per pixel, and nobody gave it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """The µm per pixel of level 0 that is used, and where it came from."""

    mpp_x: float
    mpp_y: float
    source: str
    """"given", "scanner" or "objective (estimate)"."""
    warnings: tuple[str, ...] = ()


def resolve(
    *, given: float | None, scanner: tuple[float, float] | None, objective: float | None, where: str, size: str = ""
) -> Resolution:
    """The resolution by rank: given, scanner's metadata, objective power, else a refusal.

    >>> resolve(given=None, scanner=None, objective=20.0, where="a.svs").mpp_x
    0.5
    """
    told, warnings = _believable(scanner)
    if given is not None:
        return _given(given, told, warnings)
    if told is not None:
        return Resolution(mpp_x=told[0], mpp_y=told[1], source="scanner", warnings=warnings)
    if objective is not None and objective > 0 and units.is_plausible(units.mpp_of_objective(objective)):
        mpp = units.mpp_of_objective(objective)
        note = f"µm/px is an estimate, {mpp:g} from an objective of {objective:g}x: if you know better, give --mpp"
        return Resolution(mpp_x=mpp, mpp_y=mpp, source="objective (estimate)", warnings=(*warnings, note))
    raise NoResolutionError(
        what=" ".join(filter(None, ["no µm per pixel in the file", f"({size})" if size else "", *warnings])),
        where=where,
        mend="give it: --mpp 0.25 for a usual 40x scan, --mpp 0.5 for 20x (dpi and the like do not count)",
    )


def _believable(scanner: tuple[float, float] | None) -> tuple[tuple[float, float] | None, tuple[str, ...]]:
    if scanner is None:
        return None, ()
    x, y = scanner
    if not (units.is_plausible(x) and units.is_plausible(y)):
        limits = f"{units.MPP_MIN:g} to {units.MPP_MAX:g}"
        return None, (f"the file says {x:g} x {y:g} µm/px, which no slide scanner has ({limits}): not used",)
    if abs(x / y - 1) <= SAME_WITHIN and x != y:
        mean = math.sqrt(x * y)
        return (mean, mean), ()
    return (x, y), ()


def _given(given: float, told: tuple[float, float] | None, warnings: tuple[str, ...]) -> Resolution:
    if not units.is_plausible(given):
        raise UsageError(
            what=f"--mpp {given:g} is no µm per pixel of a slide",
            mend=f"give a value between {units.MPP_MIN:g} and {units.MPP_MAX:g}; 0.25 is usual for 40x, 0.5 for 20x",
        )
    if told is not None and max(abs(given / axis - 1) for axis in told) > DISAGREES_BEYOND:
        note = f"--mpp {given:g} is used although the scanner says {told[0]:g} x {told[1]:g} µm/px"
        warnings = (*warnings, note)
    return Resolution(mpp_x=given, mpp_y=given, source="given", warnings=warnings)


def of_description(text: str) -> tuple[tuple[float, float] | None, float | None]:
    """(µm/px in x and y, objective power) told by a TIFF's ImageDescription, each None when it is silent.

    OME-XML and Aperio's `|MPP = 0.25|` are written by scanners' software; libvips passes on what OpenSlide said.
    """
    if "<OME" in text:
        return of_ome(text)
    mpp, power = of_aperio(text)
    if mpp is not None:
        return (mpp, mpp), power
    x, y = (_number(rf"<name>openslide\.mpp-{axis}</name>\s*<value[^>]*>([^<]+)<", text) for axis in "xy")
    if "<name>openslide.vendor</name>" in text and re.search(r">\s*generic-tiff\s*<", text):
        return None, power  # what OpenSlide says of a plain TIFF is its print resolution
    return ((x, y) if x and y else None), power


def of_aperio(text: str) -> tuple[float | None, float | None]:
    """(µm/px, objective power) of Aperio's `... |AppMag = 20|MPP = 0.4990`; a field that is there twice counts as last.

    >>> of_aperio("Aperio Image Library|AppMag = 20|Filename = MPP = 1|MPP = 0,4990")
    (0.499, 20.0)
    """
    pairs = (part.split("=", 1) for part in text.split("|")[1:] if "=" in part)
    told = {name.strip(): value.strip().replace(",", ".") for name, value in pairs}
    return _float(told.get("MPP")), _float(told.get("AppMag"))


def of_ome(text: str) -> tuple[tuple[float, float] | None, float | None]:
    """PhysicalSizeX and Y in µm and NominalMagnification of the first image of an OME-XML document."""
    try:
        root = ElementTree.fromstring(text.strip().encode())
    except (ElementTree.ParseError, ValueError):
        return None, None
    pixels = root.find(".//{*}Pixels")
    objective = root.find(".//{*}Objective")
    power = _float(objective.get("NominalMagnification")) if objective is not None else None
    if pixels is None:
        return None, power
    x, y = (_ome_length(pixels, f"PhysicalSize{axis}") for axis in "XY")
    return ((x, y) if x and y else None), power


def _ome_length(pixels: ElementTree.Element, key: str) -> float | None:
    value = _float(pixels.get(key))
    factor = LENGTHS_UM.get(pixels.get(f"{key}Unit", "µm").strip())  # µm is the schema's default
    return value * factor if value and factor else None


def _number(pattern: str, text: str) -> float | None:
    match = re.search(pattern, text)
    return _float(match.group(1)) if match else None


def _float(text: str | None) -> float | None:
    try:
        value = float(text) if text else None
    except ValueError:
        return None
    return value if value is not None and math.isfinite(value) and value > 0 else None
