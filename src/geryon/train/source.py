"""Where labelled images come from: a source states its facts, then yields cases."""

from __future__ import annotations

import csv
import glob
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from geryon import plugins
from geryon.errors import InputError
from geryon.slides.array import read_picture, read_values
from geryon.tasks.task import Labelled

SOURCES = {
    "conic": "geryon.train.sources.conic:CONIC",
    "consep": "geryon.train.sources.consep:CONSEP",
    "cpm15": "geryon.train.sources.cpm15:CPM15",
    "cpm17": "geryon.train.sources.cpm17:CPM17",
    "crag": "geryon.train.sources.crag:CRAG",
    "crchistophenotypes": "geryon.train.sources.crchistophenotypes:CRCHISTOPHENOTYPES",
    "digestpath_signet": "geryon.train.sources.digestpath_signet:DIGESTPATH_SIGNET",
    "ebhi_seg": "geryon.train.sources.ebhi_seg:EBHI_SEG",
    "glas": "geryon.train.sources.glas:GLAS",
    "kather_crc": "geryon.train.sources.kather_crc:KATHER_CRC",
    "kumar": "geryon.train.sources.kumar:KUMAR",
    "lc25000_colon": "geryon.train.sources.lc25000_colon:LC25000_COLON",
    "lizard": "geryon.train.sources.lizard:LIZARD",
    "monuseg": "geryon.train.sources.monuseg:MONUSEG",
    "nucls": "geryon.train.sources.nucls:NUCLS",
    "nuinsseg": "geryon.train.sources.nuinsseg:NUINSSEG",
    "pannuke": "geryon.train.sources.pannuke:PANNUKE",
    "pcam": "geryon.train.sources.pcam:PCAM",
    "synthetic": "geryon.train.sources.synthetic:SYNTHETIC",
    "synthetic_signet": "geryon.train.sources.synthetic_signet:SYNTHETIC_SIGNET",
    "tnbc": "geryon.train.sources.tnbc:TNBC",
}
"""Entry points of the group geryon.sources add to it."""
PICTURES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp", ".webp")

ALLOWED = {
    "open": ("open",),
    "research": ("open", "research"),
    "experiment": ("open", "research", "evaluate"),
}
"""Licence of a recipe: uses of sources that it may learn from. What an experiment with sources to evaluate on leaves
is never shipped; recipes of models can't ask for it, those of encoders can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One labelled image; nothing is read before it is asked for."""

    name: str
    group: str
    """The patient, slide or case that must not stand on two sides of a split."""
    image: Callable[[], np.ndarray]
    """uint8 RGB [y, x, 3]"""
    mpp: float
    labels: Mapping[str, Callable[[], Labelled]]
    """Task name -> labels on the image's own grid. A task that is left out is unknown here, not negative."""
    hints: Mapping[str, Callable[[], Labelled]] = field(default_factory=dict)
    """Task name -> what follows about a task that nobody has labelled here. It teaches; nothing is scored by it."""
    stratum: str = ""
    """Grade, or the commonest class of the case: a split spreads each evenly. "" where the source gives none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A public data set, a generator or a lab's own files, and its terms."""

    name: str
    licence: str
    use: str
    """"open" (may train what anybody may use), "research" (research weights only) or "evaluate" (trains nothing)."""
    citation: str
    tasks: tuple[str, ...]
    cases: Callable[[Path], Iterator[Case]]
    """All cases under the folder of the release."""
    mpp: str = ""
    """µm per pixel of its images, in words where it is not one number."""
    mpp_is_estimate: bool = False
    """True where the release is silent about µm per pixel; the file says how it was estimated."""
    groups: str = ""
    """What one group is: the patient, or the nearest to it that the release tells."""
    verified: str = ""
    """On what the layout was tried: "real files", or "documentation" where none were at hand."""
    holds: tuple[str, ...] = ()
    """Other sources of which images stand in this one again (train.leaks)."""
    traps: str = ""
    """What a user of the set must know."""
    facts: str = ""
    """What else decides about its cases: the settings of a lab's own source. Another value makes another pack."""


def get_source(name: str) -> Source:
    """The source of that name, ours or another package's."""
    source: Source = plugins.find(SOURCES, "geryon.sources", name)
    return source


def rgb(path: Path) -> Callable[[], np.ndarray]:
    """A reader of an RGB image."""
    return lambda: np.ascontiguousarray(read_picture(path))


def nothing(where: np.ndarray) -> Labelled:
    """None of a task's objects where that is true (bool [y, x])."""
    return Labelled(objects=np.zeros(where.shape, np.int32), known=where)


def none_at_all(read: Callable[[], np.ndarray]) -> Labelled:
    """None of a task's objects in the whole image."""
    return nothing(np.ones(read().shape[:2], bool))


def values(path: Path) -> np.ndarray:
    """The numbers of a one-channel image, as int32."""
    read = read_values(path)
    return (read if read.ndim == 2 else read[..., 0]).astype(np.int32)


def outlined(path: Path) -> Labelled:
    """Objects without classes from the `inst_map` of a MATLAB file (float64 or integers)."""
    return Labelled(objects=np.ascontiguousarray(loadmat(path)["inst_map"].astype(np.int32)))


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file with a header; blanks around names and values go."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return [{k.strip(): (v or "").strip() for k, v in row.items() if k is not None} for row in csv.DictReader(file)]


def natural(path: Path) -> tuple[object, ...]:
    """A key that sorts train_2 before train_10."""
    parts = re.split(r"(\d+)", path.name)
    return (str(path.parent), *(int(part) if part.isdigit() else part for part in parts))


def picture(folder: Path, stem: str) -> Path:
    """The one picture of that name in a folder, whatever its format: copies often change it."""
    found = [p for p in folder.glob(f"{glob.escape(stem)}.*") if p.suffix.lower() in PICTURES]
    if len(found) != 1:
        what = f"{'more than one picture is' if found else 'no picture is'} called {stem}"
        raise InputError(what=what, where=str(folder), mend="unpack the release again, as a whole")
    return found[0]


def release(root: Path, *marks: str) -> Path:
    """The folder that holds one of the marks (patterns): the root, or one or two levels below it.

    Archives unpack with or without a folder of their own.
    """
    for depth in ("", "*/", "*/*/"):
        for mark in marks:
            for found in sorted(root.glob(depth + mark)):
                return found.parents[mark.count("/")]
    what, mend = f"{' or '.join(marks)} is not there", "give the folder of the release (--data, --root)"
    raise InputError(what=what, where=str(root), mend=mend)


def present(root: Path, name: str) -> Path:
    """The folder or file of a release, or an error that says what was looked for."""
    path = root / name
    if not path.exists():
        raise InputError(
            what=f"{name} is not there", where=str(root), mend="give the folder of the release (--data, --root)"
        )
    return path
