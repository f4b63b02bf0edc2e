"""Where labelled images come from: a source states its facts, then yields cases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from geryon import plugins
from geryon.errors import InputError
from geryon.slides.array import read_picture, read_values
from geryon.tasks.task import Labelled

SOURCES = {
    "consep": "geryon.train.sources.consep:CONSEP",
    "cpm15": "geryon.train.sources.cpm15:CPM15",
    "crchistophenotypes": "geryon.train.sources.crchistophenotypes:CRCHISTOPHENOTYPES",
    "ebhi_seg": "geryon.train.sources.ebhi_seg:EBHI_SEG",
    "glas": "geryon.train.sources.glas:GLAS",
    "kather_crc": "geryon.train.sources.kather_crc:KATHER_CRC",
    "monuseg": "geryon.train.sources.monuseg:MONUSEG",
    "pcam": "geryon.train.sources.pcam:PCAM",
    "synthetic": "geryon.train.sources.synthetic:SYNTHETIC",
    "tnbc": "geryon.train.sources.tnbc:TNBC",
}
"""Entry points of the group geryon.sources add to it."""


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
    """A public data set or a generator, and its terms."""

    name: str
    licence: str
    use: str
    """"open" (may train what anybody may use), "research" (research weights only) or "evaluate" (trains nothing)."""
    citation: str
    tasks: tuple[str, ...]
    cases: Callable[[Path], Iterator[Case]]
    """All cases under the folder of the release."""
    mpp_is_estimate: bool = False
    """True where the release is silent about µm per pixel; the file says how it was estimated."""
    traps: str = ""
    """What a user of the set must know."""


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


def values(path: Path) -> np.ndarray:
    """The numbers of a one-channel image, as int32."""
    read = read_values(path)
    return (read if read.ndim == 2 else read[..., 0]).astype(np.int32)


def present(root: Path, name: str) -> Path:
    """The folder or file of a release, or an error that says what was looked for."""
    path = root / name
    if not path.exists():
        raise InputError(
            what=f"{name} is not there", where=str(root), mend="give the folder of the release (--data, --root)"
        )
    return path
