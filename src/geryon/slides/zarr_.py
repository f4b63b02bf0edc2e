"""OME-Zarr by zarr: NGFF 0.4 (Zarr v2, `.zattrs`) and 0.5 (Zarr v3, `zarr.json`), local folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from geryon.errors import InputError
from geryon.slides.reader import levels_of
from geryon.slides.resolution import LENGTHS_UM
from geryon.space.arrays import Image

FAULTS = (ValueError, RuntimeError, OSError, KeyError, TypeError, IndexError, AttributeError, zarr.errors.BaseZarrError)
"""What zarr and its codecs raise on a damaged store."""


class ZarrReader:
    """The first multiscale image of an OME-Zarr folder."""

    thread_safe = True
    origin_level0 = (0, 0)
    objective: float | None = None

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            group, image = _image(zarr.open_group(path, mode="r"))
            self._axes, self.mpp = _axes(image), _mpp(image)
            arrays: list[Any] = [group[step["path"]] for step in image["datasets"]]
        except FAULTS as error:
            what = f"not an OME-Zarr image: {error}"
            raise InputError(what=what, where=str(path), mend="give the folder that holds its multiscales") from error
        self._arrays = sorted(arrays, key=lambda a: a.shape[self._axes.index("x")], reverse=True)
        self._refuse_other_pictures()
        x, y = self._axes.index("x"), self._axes.index("y")
        self.levels = levels_of([(a.shape[x], a.shape[y]) for a in self._arrays])

    def _refuse_other_pictures(self) -> None:
        first = self._arrays[0]
        sizes = dict(zip(self._axes, first.shape, strict=True))
        extra = [n for axis, n in sizes.items() if axis not in "cyx" and n > 1]
        if extra or sizes.get("c", 1) not in (1, 3) or first.dtype not in (np.uint8, np.uint16) or 0 in first.shape:
            facts = f"axes {''.join(self._axes)}, shape {first.shape}, {first.dtype}"
            what = f"no RGB or grey picture of 8 or 16 bits ({facts})"
            raise InputError(what=what, where=str(self._path), mend="save it as 8-bit RGB")

    def read(self, level: int, box: tuple[int, int, int, int]) -> Image:
        x0, y0, x1, y1 = box
        want: dict[str, Any] = {"x": slice(x0, x1), "y": slice(y0, y1), "c": slice(None)}
        try:
            block = np.asarray(self._arrays[level][tuple(want.get(axis, 0) for axis in self._axes)])
        except FAULTS as error:
            place = f"{self._path} (level {level}, x {x0} to {x1}, y {y0} to {y1})"
            raise InputError(
                what=f"pixels can't be read: {error}", where=place, mend="copy the folder again"
            ) from error
        kept = [axis for axis in self._axes if axis in want]
        block = block.transpose([kept.index(axis) for axis in ("y", "x", "c") if axis in kept])
        if block.dtype == np.uint16:
            block = (block >> 8).astype(np.uint8)
        block = block if block.ndim == 3 else block[..., None]
        return np.ascontiguousarray(block) if block.shape[2] == 3 else np.repeat(block, 3, axis=2)

    def close(self) -> None:
        """Nothing stays open between reads."""


def open_reader(path: Path) -> ZarrReader:
    """The reader of an OME-Zarr folder; InputError for any other."""
    return ZarrReader(path)


def _image(root: zarr.Group) -> tuple[zarr.Group, Mapping[str, Any]]:
    """The group with the picture and its multiscales document; bioformats2raw puts it one folder down."""
    for group in (root, *(root[name] for name in ("0",) if name in root)):
        if not isinstance(group, zarr.Group):
            continue
        facts = group.attrs.asdict()
        found: Any = facts.get("ome", facts)
        if isinstance(found, Mapping) and found.get("multiscales"):
            return group, found["multiscales"][0]
    raise ValueError("it has no multiscales")


def _axes(image: Mapping[str, Any]) -> list[str]:
    axes = [axis["name"] if isinstance(axis, Mapping) else axis for axis in image["axes"]]
    if not {"x", "y"} <= set(axes):
        raise ValueError(f"its axes are {axes}")
    return axes


def _mpp(image: Mapping[str, Any]) -> tuple[float, float] | None:
    """µm per pixel of the finest level, when the axes have a unit: without one a scale is a mere ratio."""
    scale = _scale(image["datasets"][0]), _scale(image)
    found = []
    for name in ("x", "y"):
        place = next(i for i, axis in enumerate(image["axes"]) if isinstance(axis, Mapping) and axis["name"] == name)
        unit = LENGTHS_UM.get(image["axes"][place].get("unit") or "?")
        if unit is None or scale[0] is None:
            return None
        found.append(float(scale[0][place]) * float(scale[1][place] if scale[1] else 1.0) * unit)
    return found[0], found[1]


def _scale(holder: Mapping[str, Any]) -> Sequence[float] | None:
    steps = holder.get("coordinateTransformations") or ()
    return next((step["scale"] for step in steps if step.get("type") == "scale"), None)
