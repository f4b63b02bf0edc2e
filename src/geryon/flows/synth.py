"""Write a synthetic slide as a file that any viewer opens, with its truth beside it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from geryon import events
from geryon.atomic import remove, reserve, whole_file
from geryon.errors import UsageError
from geryon.slides.synthetic import SyntheticSlide
from geryon.slides.synthetic.slide import truth_path
from geryon.space.boxes import Box

TILE = 512
STEP = 4
"""Each level of the pyramid is this much coarser than the one before."""
SMALLEST_PX = 1024
"""The pyramid ends with the first level whose longer side is not larger."""
NO_UUID = "00000000-0000-0000-0000-000000000000"
"""tifffile would draw one from the clock."""


def synth(
    out_path: Path | str,
    *,
    size_um: tuple[float, float],
    seed: int = 0,
    mpp: float = 0.5,
    malignant: float = 0.3,
    tissue_mm2: float | None = None,
    quality: int = 90,
    tell: events.Tell = events.nobody,
) -> Path:
    """Write a slide of width x height µm as a pyramidal OME-TIFF, and `<name>.truth.json`; return the slide's path.

    One tile is painted at a time, and the coarser levels wait in a file beside the slide, so that memory
    does not grow with the slide. `SyntheticSlide.from_file` makes the same slide again, truth and all.
    """
    path = Path(out_path)
    if path.suffix.lower() not in (".tif", ".tiff"):
        raise UsageError(what=f"{path.name!r} is no name of a TIFF", mend=f"call it {path.stem}.tiff")
    if not 1 <= quality <= 100:
        raise UsageError(what=f"no JPEG quality {quality}", mend="give 1 to 100; 90 is usual")
    slide = SyntheticSlide(
        width_um=size_um[0], height_um=size_um[1], seed=seed, mpp=mpp, malignant=malignant, tissue_mm2=tissue_mm2
    )
    started = time.monotonic()
    tiles = -(-slide.height_px // TILE) * -(-slide.width_px // TILE)
    tell(events.Started(stage="paint", total=tiles, unit="tiles"))
    remove(truth_path(path))  # a slide without truth is a slide; a truth of another slide is a lie
    with whole_file(path) as temporary, _coarse_levels(temporary, slide) as coarse:
        _write(temporary, slide, coarse, quality, tell)
    with whole_file(truth_path(path)) as temporary:
        temporary.write_text(json.dumps(slide.settings(), indent=1) + "\n", encoding="utf-8")
    tell(events.Finished(stage="paint", seconds=time.monotonic() - started))
    return path


@contextmanager
def _coarse_levels(beside: Path, slide: SyntheticSlide) -> Iterator[list[np.ndarray]]:
    """The levels below the first, uint8 [y, x, 3] in files that go when the block ends."""
    shapes, shape = [], (slide.height_px, slide.width_px)
    while max(shape) > SMALLEST_PX:
        shape = (-(-shape[0] // STEP), -(-shape[1] // STEP))
        shapes.append(shape)
    paths = [beside.with_name(f"{beside.name}.level{i + 1}") for i in range(len(shapes))]
    try:
        levels: list[np.ndarray] = []
        for each, shape in zip(paths, shapes, strict=True):
            with each.open("wb") as file:
                reserve(file, shape[0] * shape[1] * 3)
            levels.append(np.memmap(each, np.uint8, "r+", shape=(*shape, 3)))
        yield levels
    finally:
        for each in paths:
            remove(each)


def _write(path: Path, slide: SyntheticSlide, coarse: list[np.ndarray], quality: int, tell: events.Tell) -> None:
    options: dict[str, Any] = {
        "dtype": np.uint8,
        "tile": (TILE, TILE),
        "photometric": "rgb",
        "compression": "jpeg",
        "compressionargs": {"level": quality},
        "maxworkers": 1,
        "buffersize": TILE * TILE * 3,
    }
    size = {
        "PhysicalSizeX": slide.mpp,
        "PhysicalSizeY": slide.mpp,
        "PhysicalSizeXUnit": "µm",
        "PhysicalSizeYUnit": "µm",
    }
    about = {"axes": "YXS", "UUID": NO_UUID, "Creator": "geryon", **size}
    with tifffile.TiffWriter(path, bigtiff=True, ome=True) as file:
        file.write(
            _painted(slide, coarse, tell),
            shape=(slide.height_px, slide.width_px, 3),
            subifds=len(coarse),
            resolution=(1e4 / slide.mpp, 1e4 / slide.mpp),
            resolutionunit="CENTIMETER",
            metadata=about,
            **options,
        )
        for i, level in enumerate(coarse):
            if i:
                _shrink_level(coarse[i - 1], level)
            file.write(_cut(level), shape=level.shape, subfiletype=1, metadata=None, **options)


def _painted(slide: SyntheticSlide, coarse: list[np.ndarray], tell: events.Tell) -> Iterator[np.ndarray]:
    """The tiles of the first level; each leaves its mean in the next one as it passes."""
    height, width = slide.height_px, slide.width_px
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            tile = slide.render(Box(slide.frame, left, top, min(left + TILE, width), min(top + TILE, height)))
            if coarse:
                small = _shrunk(tile)
                coarse[0][top // STEP : top // STEP + len(small), left // STEP : left // STEP + small.shape[1]] = small
            tell(events.Advanced(stage="paint"))
            yield _whole(tile)


def _shrink_level(fine: np.ndarray, level: np.ndarray) -> None:
    for top in range(0, len(level), TILE):
        level[top : top + TILE] = _shrunk(np.asarray(fine[top * STEP : (top + TILE) * STEP]))


def _shrunk(image: np.ndarray) -> np.ndarray:
    """uint8: means over STEP x STEP pixels, over what there is of them at the right and bottom."""
    rows, columns = (np.arange(0, n, STEP) for n in image.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(image.astype(np.uint32), rows, axis=0), columns, axis=1)
    counts = np.diff(np.append(rows, len(image)))[:, None] * np.diff(np.append(columns, image.shape[1]))[None, :]
    return ((sums + counts[..., None] // 2) // counts[..., None]).astype(np.uint8)


def _cut(level: np.ndarray) -> Iterator[np.ndarray]:
    for top in range(0, level.shape[0], TILE):
        for left in range(0, level.shape[1], TILE):
            yield _whole(np.asarray(level[top : top + TILE, left : left + TILE]))


def _whole(tile: np.ndarray) -> np.ndarray:
    """The tile filled up to full size with its own edge, which JPEG likes better than a step."""
    missing = [(0, TILE - tile.shape[0]), (0, TILE - tile.shape[1]), (0, 0)]
    return np.ascontiguousarray(np.pad(tile, missing, mode="edge"))
