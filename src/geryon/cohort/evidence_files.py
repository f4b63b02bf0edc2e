"""What is left of a slide's evidence: rasters, outlines, a picture, and what all of it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from geryon import __version__
from geryon.atomic import whole_file
from geryon.cohort.agreement import otsu, region
from geryon.cohort.overlay import PICTURE_PX, coloured, overview, scale_of
from geryon.cohort.slides import Slide
from geryon.errors import InputError
from geryon.slides import formats
from geryon.slides.reader import open_slide
from geryon.space import units
from geryon.space.arrays import Mask
from geryon.space.boxes import Frame
from geryon.store.export.geojson import Label, write_regions
from geryon.store.features import Volume
from geryon.store.rasters import write_colours, write_values
from geryon.tasks.decoding import areas, outlines_of

COLOUR = (230, 120, 20)
"""Of the regions' outlines in QuPath."""
ENDS = (".ome.tif", "_colours.ome.tif", ".geojson", ".png")
"""Of a slide's files, beside the .json that says what they are."""
ROUNDED = 4
"""Corners of outlines are cut by half a cell over this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explain:
    """What to draw."""

    method: str = ""
    """In evidence.METHODS; "": the first that the model has what it takes for."""
    output: str = ""
    """Class or label to explain; "": the likeliest, or the only one."""
    threshold: float | None = None
    """Regions are where smoothed maps are above it; None: Otsu's of each slide."""
    pictures: Path | None = None
    """Folder with the slides' files, which the overviews are drawn over; None: over the tissue mask."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evidence:
    """What one slide's map says."""

    slide: str
    method: str
    output: str
    """What is explained."""
    values: np.ndarray
    """float32 [row, column] on the volume's cells, NaN without tissue."""
    networks: int
    """How many were averaged."""
    is_held_out: bool
    """Whether none of them had seen the patient."""


def is_done(folder: Path, stem: str, key: Mapping[str, str]) -> bool:
    """Whether the same was asked before, and all of it lies there."""
    try:
        told = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
        return all(told[name] == value for name, value in key.items()) and all(
            (folder / f"{stem}{end}").is_file() for end in ENDS
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_evidence(folder: Path, slide: Slide, found: Evidence, asked: Explain, key: Mapping[str, str]) -> None:
    """Everything about one slide; what all of it is comes last."""
    assert isinstance(slide.cells, Volume), "the cohort was read with places"
    about, stem = slide.cells.about, f"evidence_{found.method}"
    threshold = asked.threshold if asked.threshold is not None else otsu(found.values)
    where, scale = region(found.values, threshold), scale_of(found.values)
    write_values(folder / f"{stem}.ome.tif", found.values, name=f"{found.method} {found.output}", mpp=about.stride_um)
    write_colours(folder / f"{stem}_colours.ome.tif", coloured(found.values, scale), mpp=about.stride_um)
    _write_outlines(folder / f"{stem}.geojson", about.grid.level0, about.stride_um, where, found)
    picture = overview(_behind(slide, asked.pictures), found.values, where, slide.cells, scale)
    with whole_file(folder / f"{stem}.png") as fresh:
        fresh.write_bytes(picture)
    told = {
        "version": __version__,
        **key,
        "slide": found.slide,
        "method": found.method,
        "output": found.output,
        "networks": found.networks,
        "networks_have_not_seen_the_patient": found.is_held_out,
        "threshold": threshold,
        "threshold_of": "given" if asked.threshold is not None else "Otsu",
        "colours_from": scale[0],
        "colours_to": scale[1],
        "um_per_cell": about.stride_um,
        "region_mm2": float(where.sum()) * units.um(1.0, about.stride_um) ** 2 / 1e6,
    }
    with whole_file(folder / f"{stem}.json") as fresh:
        fresh.write_text(json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _write_outlines(path: Path, level0: Frame, stride_um: float, where: Mask, found: Evidence) -> None:
    """The regions as annotations in level0 pixels; cells that reach past the slide end with it."""
    count, labels = cv2.connectedComponents(where.astype(np.uint8), connectivity=4)
    fine = labels.astype(np.int32).repeat(ROUNDED, axis=0).repeat(ROUNDED, axis=1)
    means = [float(found.values[labels == k].mean()) for k in range(1, count)]
    step_um = stride_um / ROUNDED
    px = outlines_of(fine).scaled(step_um / level0.mpp_x, step_um / level0.mpp_y)
    inside = replace(px, points=np.minimum(px.points, [level0.width, level0.height]))
    area = areas(inside) * level0.mpp_x * level0.mpp_y
    label = Label(f"evidence: {found.output}", COLOUR)
    write_regions(
        path, inside, slide=found.slide, label=label, measures={"Area µm^2": area.tolist(), "Mean evidence": means}
    )


def _behind(slide: Slide, folder: Path | None) -> np.ndarray | None:
    """uint8 [y, x, 3]: the whole slide, its longer side PICTURE_PX; None where its file is not given."""
    if folder is None:
        return None
    files = sorted(p for p in folder.iterdir() if formats.stem(p) == slide.name) if folder.is_dir() else []
    if not files:
        mend = "give the folder of the slides' files with --pictures, or leave it out"
        raise InputError(what=f"there is no slide {slide.name}", where=str(folder), mend=mend)
    with open_slide(files[0]) as opened:
        um = opened.frame.um
        return opened.read(um.box, max(um.width, um.height) / PICTURE_PX)
