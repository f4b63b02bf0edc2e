"""From a model of slides and compressed slides to rasters, outlines and pictures of where the model looked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from geryon import __version__, events
from geryon.atomic import whole_file
from geryon.cohort.agreement import Agreement, best_threshold, lesion_cells, otsu, region, score
from geryon.cohort.answering import check_cohort, cohort_for
from geryon.cohort.document import SlideModelDocument, digest
from geryon.cohort.evidence import METHODS, Asking, mean_map, methods_of
from geryon.cohort.models import SlideModel, load_slide_model, settings_of
from geryon.cohort.overlay import coloured, overview, scale_of
from geryon.cohort.table import NOTHING_ASKED, Cohort, Question, Slide
from geryon.cohort.targets import get_target
from geryon.errors import UsageError
from geryon.slides import formats
from geryon.slides.reader import open_slide
from geryon.space import units
from geryon.store.export.geojson import Label, write_regions
from geryon.store.features import Volume
from geryon.store.rasters import write_colours, write_values
from geryon.tasks.decoding import areas, outlines_of

__all__ = ["Agreement", "Evidence", "Explain", "best_threshold", "evidence", "explain_slides", "lesion_cells", "score"]

COLOUR = (230, 120, 20)
"""Of the regions' outlines in QuPath."""


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


def explain_slides(
    model: str | Path,
    slides: Sequence[str | Path],
    *,
    out: str | Path,
    question: Question = NOTHING_ASKED,
    asked: Explain | None = None,
    tell: events.Tell = events.nobody,
) -> list[Path]:
    """Write OUT/<slide>/evidence_<method>.* for slides of a table (one file) or volumes; return the folders.

    Of a patient that the model learnt from, only the networks that did not see it are asked. For each slide: numbers
    (.ome.tif, float32), the same in colours (_colours.ome.tif), regions above the threshold (.geojson, level0), a
    picture (.png) and what all of it is (.json, written last). Slides that have all of it are left as they are.
    """
    asked, out, started = asked or Explain(), Path(out), time.monotonic()
    loaded = load_slide_model(model)
    cohort = cohort_for([Path(slide) for slide in slides], question, loaded.document)
    check_cohort(loaded.document, cohort)
    method = _method(loaded, asked.method)
    folders = []
    tell(events.Started(stage="explain", total=len(cohort.slides), unit="slides"))
    for i, slide in enumerate(cohort.slides):
        folder = out / slide.name
        if not (folder / f"evidence_{method}.json").exists():
            found = evidence(loaded, cohort, i, method=method, output=asked.output)
            _write(folder, slide, found, asked)
        folders.append(folder)
        tell(events.Advanced(stage="explain"))
    tell(events.Finished(stage="explain", seconds=time.monotonic() - started))
    return folders


def evidence(
    model: SlideModel,
    cohort: Cohort,
    i: int,
    *,
    method: str = "",
    output: str = "",
    members: Iterable[int] | None = None,
) -> Evidence:
    """The map of slide i of a cohort; by the members asked for, else by those that never saw its patient."""
    document, slide = model.document, cohort.slides[i]
    method = _method(model, method)
    fold = document.folds.get(digest(slide.patient))
    chosen = list(members) if members is not None else _members(document, fold)
    networks = [model.networks[k] for k in chosen]
    weights, name = _outcome(document, networks, cohort, i, output)
    asking = Asking(
        weights=weights,
        side=settings_of(document).cells,
        has_turns=document.has_turns and cohort.has_turns,
        measures=_measures(document, cohort, i),
        device="cuda" if torch.cuda.is_available() else "cpu",
    )
    return Evidence(
        slide=slide.name,
        method=method,
        output=name,
        values=mean_map(method, networks, slide.cells, asking),
        networks=len(networks),
        is_held_out=fold is not None and all(document.members[k].fold == fold for k in chosen),
    )


def _method(model: SlideModel, asked: str) -> str:
    can = methods_of(model.networks[0])
    if not can:
        what = f"a model of the kind {model.document.model} sees no cells: there is nothing to show"
        raise UsageError(what=what, mend="explain a cnn, attention or mean model")
    if asked and asked not in can:
        there = "" if asked in METHODS else f" (all methods: {', '.join(METHODS)})"
        mend = f"choose one of: {', '.join(can)}"
        raise UsageError(what=f"a model of the kind {model.document.model} has no {asked}{there}", mend=mend)
    return asked or can[0]


def _members(document: SlideModelDocument, fold: int | None) -> list[int]:
    every = list(range(len(document.members)))
    return [k for k in every if document.members[k].fold == fold] or every


def _measures(document: SlideModelDocument, cohort: Cohort, i: int) -> torch.Tensor:
    held = cohort.measures[[i]] if document.objects else np.zeros((1, 0))
    return torch.from_numpy(held.astype(np.float32))
