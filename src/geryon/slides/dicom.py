"""DICOM whole slides by wsidicom (extra `dicom`): those that OpenSlide refuses."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

from geryon.errors import InputError, MissingPartError
from geryon.slides.reader import levels_of
from geryon.space import units
from geryon.space.arrays import Image

FAULTS = (
    ValueError, RuntimeError, OSError, KeyError, TypeError, IndexError, AttributeError, NotImplementedError, EOFError,
    struct.error,
)  # fmt: skip
"""What wsidicom, pydicom and their codecs raise on a damaged series, beside their own errors."""
UM_A_MM = 1000.0


class DicomReader:
    """A DICOM series open in wsidicom."""

    thread_safe = False
    origin_level0 = (0, 0)

    def __init__(self, path: Path) -> None:
        self._path = path
        self._faults, self._slide = _open(path)
        try:
            own = sorted(self._slide.pyramids[0], key=lambda level: level.size.width, reverse=True)
            self._numbers = [level.level for level in own]
            self.levels = levels_of([(level.size.width, level.size.height) for level in own])
            spacing = own[0].pixel_spacing
            self.mpp = _plausible(units.um(float(spacing.width), UM_A_MM), units.um(float(spacing.height), UM_A_MM))
        except self._faults as error:
            self.close()
            raise InputError(what=f"no slide in this DICOM: {error}", where=str(path), mend="copy it again") from error
        self.objective: float | None = None

    def read(self, level: int, box: tuple[int, int, int, int]) -> Image:
        x0, y0, x1, y1 = box
        try:
            region = self._slide.read_region((x0, y0), self._numbers[level], (x1 - x0, y1 - y0))
            return np.array(region.convert("RGB"))
        except self._faults as error:
            place = f"{self._path} (level {level}, x {x0} to {x1}, y {y0} to {y1})"
            raise InputError(what=f"pixels can't be read: {error}", where=place, mend="copy the files again") from error

    def close(self) -> None:
        self._slide.close()


def open_reader(path: Path) -> DicomReader:
    """The reader of a DICOM file, with the others of its series beside it, or of a folder of one series."""
    return DicomReader(path)


def _open(path: Path) -> tuple[tuple[type[Exception], ...], Any]:
    try:
        import pydicom
        import wsidicom
        import wsidicom.errors
    except ImportError as error:
        what = "reading this DICOM needs wsidicom"
        raise MissingPartError(what=what, where=str(path), mend='pip install "geryon[dicom]"') from error
    own = (e for e in vars(wsidicom.errors).values() if isinstance(e, type) and issubclass(e, Exception))
    faults: tuple[type[Exception], ...] = (*own, *FAULTS, pydicom.errors.InvalidDicomError)
    try:
        return faults, wsidicom.WsiDicom.open(_series(path, pydicom))
    except faults as error:
        what = f"no slide in this DICOM: {error or type(error).__name__}"
        raise InputError(what=what, where=str(path), mend="give a file of the VOLUME kind, or the folder") from error


def _series(path: Path, pydicom: Any) -> list[Path]:
    """All files of the series that `path` belongs to: each level is a file of its own."""
    tags = ["SeriesInstanceUID"]
    beside = sorted((path if path.is_dir() else path.parent).glob("*.dcm"))
    first = beside[0] if path.is_dir() else path
    series = pydicom.dcmread(first, specific_tags=tags).get("SeriesInstanceUID")
    same = [p for p in beside if pydicom.dcmread(p, specific_tags=tags, force=True).get("SeriesInstanceUID") == series]
    return same if first in same else [first, *same]


def _plausible(x: float, y: float) -> tuple[float, float] | None:
    return (x, y) if x > 0 and y > 0 else None
