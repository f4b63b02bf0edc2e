"""From a model of slides and compressed slides to rasters, outlines and pictures of where the model looked."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch

from geryon import events
from geryon.cohort.agreement import Agreement, best_threshold, lesion_cells, score
from geryon.cohort.answering import HELD_BYTES, answers_of, check_cohort, cohort_for, folds_of
from geryon.cohort.document import SlideModelDocument
from geryon.cohort.evidence import METHODS, Asking, mean_map, methods_of
from geryon.cohort.evidence_files import Evidence, Explain, is_done, write_evidence
from geryon.cohort.faults import few
from geryon.cohort.models import SlideModel, load_slide_model, model_path, settings_of
from geryon.cohort.question import NOTHING_ASKED, Question
from geryon.cohort.slides import Cohort, Slide, shelf_of
from geryon.cohort.targets import get_target
from geryon.cohort.views import Slides
from geryon.errors import InputError, UsageError
from geryon.nets.weights import file_sha256
from geryon.store.features import Volume

__all__ = ["Agreement", "Evidence", "Explain", "best_threshold", "evidence", "explain_slides", "lesion_cells", "score"]


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
    loaded, sha256 = load_slide_model(model), file_sha256(model_path(model))
    method = _method(loaded, asked.method)
    cohort = cohort_for([Path(slide) for slide in slides], replace(question, grid=True), loaded.document)
    check_cohort(loaded.document, cohort)
    if bags := [slide.name for slide in cohort.slides if not isinstance(slide.cells, Volume)]:
        what = f"the cells of {few(bags)} have no places that could be shown"
        raise InputError(what=what, where=cohort.path, mend="give volumes (features.zarr) in place of bags")
    _check_names(cohort)
    folders = []
    tell(events.Started(stage="explain", total=len(cohort.slides), unit="slides"))
    for i, slide in enumerate(cohort.slides):
        folder, key = out / slide.name, {"model_sha256": sha256, **_key(loaded.document, cohort, i, asked)}
        if not is_done(folder, f"evidence_{method}", key):
            found = evidence(loaded, cohort, i, asked)
            write_evidence(folder, slide, found, asked, key)
        folders.append(folder)
        tell(events.Advanced(stage="explain"))
    tell(events.Finished(stage="explain", seconds=time.monotonic() - started))
    return folders


def _check_names(cohort: Cohort) -> None:
    """Each slide's evidence gets a folder of its own, inside of OUT."""
    names = [_name(cohort, slide) for slide in cohort.slides]
    if twins := [name for name, n in Counter(names).items() if n > 1]:
        alike = [slide for slide, name in zip(cohort.slides, names, strict=True) if name == twins[0]]
        first = few([str(slide.cells.path) for slide in alike if slide.cells is not None])
        raise UsageError(
            what=f"slides of the same name would share a folder of evidence: {first}",
            mend="explain them with different --out folders, or name them in a table",
        )
    if wrong := [name for name in names if name in ("", ".", "..") or set(name) & set("/\\\0")]:
        raise InputError(
            what=f"{few([repr(name) for name in wrong])} can't name a folder of evidence",
            where=cohort.path or "the slides given",
            mend="name slides without / and \\",
        )


def _name(cohort: Cohort, slide: Slide) -> str:
    """Of a table the name there, else the volume's own: the cohort tells twins apart by their paths."""
    return slide.name if cohort.path or not isinstance(slide.cells, Volume) else slide.cells.about.slide


def _key(document: SlideModelDocument, cohort: Cohort, i: int, asked: Explain) -> dict[str, str]:
    """What the files of slide i depend on beside the model."""
    slide = cohort.slides[i]
    assert isinstance(slide.cells, Volume), "the cohort was read with places"
    volume = {"about": asdict(slide.cells.about), "codes": slide.identity, "type": slide.cells.dtype}
    volume |= {"measures": _measures(document, cohort, i).tolist()}
    return {
        "output_asked": asked.output,
        "threshold_asked": "" if asked.threshold is None else f"{asked.threshold:g}",
        "drawn_over": "the tissue mask" if asked.pictures is None else "the slide",
        "fold": str(folds_of(document, cohort)[i] or ""),
        "volume": hashlib.sha256(json.dumps(volume, sort_keys=True, default=str).encode()).hexdigest(),
    }


def evidence(
    model: SlideModel,
    cohort: Cohort,
    i: int,
    asked: Explain | None = None,
    *,
    members: Iterable[int] | None = None,
) -> Evidence:
    """The map of slide i of a cohort; by the members asked for, else by those that never saw its patient."""
    document, slide, asked = model.document, cohort.slides[i], asked or Explain()
    method = _method(model, asked.method)
    assert slide.cells is not None, "a model that has a method sees cells"
    fold = folds_of(document, cohort)[i]
    chosen = list(members) if members is not None else _members(document, fold)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    networks = [model.networks[k].to(device) for k in chosen]
    weights, name = _outcome(document, networks, cohort, i, asked.output)
    asking = Asking(
        weights=weights,
        side=settings_of(document).cells,
        has_turns=document.has_turns and cohort.has_turns,
        measures=_measures(document, cohort, i),
        device=device,
    )
    return Evidence(
        slide=slide.name,
        method=method,
        output=name,
        values=mean_map(method, networks, slide.cells, asking),
        networks=len(networks),
        is_held_out=fold is None or all(document.members[k].fold == fold for k in chosen),
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


def _outcome(
    document: SlideModelDocument, networks: Sequence[torch.nn.Module], cohort: Cohort, i: int, asked: str
) -> tuple[torch.Tensor, str]:
    """Weights of the logits, and the name of what they make up."""
    target = get_target(document.target.kind)
    outputs = target.outputs(document.target)
    if outputs == 1 or target.is_ordered:
        if asked:
            raise UsageError(what=f"a {target.kind} question has one output", mend="leave --output out")
        return torch.full((outputs,), 1 / outputs), target.names(document.target)[0] if outputs == 1 else "grade"
    names = document.target.classes or document.target.columns
    if asked and asked not in names:
        raise UsageError(what=f"the model has no output {asked!r}", mend=f"choose one of: {', '.join(names)}")
    if not asked:
        slides = Slides(
            shelf=shelf_of([cohort.slides[i]], HELD_BYTES),
            has_turns=document.has_turns and cohort.has_turns,
            settings=settings_of(document),
            measures=_measures(document, cohort, i).numpy(),
            device=next(networks[0].parameters()).device.type,
        )
        asked = names[int(np.mean(answers_of(document, networks, slides, 0), axis=0).argmax())]
    return torch.nn.functional.one_hot(torch.tensor(names.index(asked)), outputs).float(), asked
