"""geryon info: what a slide, a model, an encoder or a compressed slide is, before any time is spent on it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from geryon.errors import GeryonError, SomeFailedError
from geryon.nets.catalogue import find_model, names_model
from geryon.nets.encoder import encoder_weights, names_encoder
from geryon.nets.weights import file_sha256, read_document
from geryon.slides.reader import Slide, open_slide
from geryon.slides.tissue import low_power, tissue_mask
from geryon.store.features import NAME, open_volume


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "given",
        nargs="+",
        metavar="SLIDE",
        help="slide files, pictures or OME-Zarr folders; models and encoders: names, files, places on a hub; or "
        f"compressed slides: {NAME}, or the folder that holds it",
    )
    parser.add_argument("--mpp", type=float, help="µm per pixel of level 0; beats what the file says")
    parser.add_argument("--reader", help="the reader to use in place of the choice by content")
    parser.add_argument("--no-tissue", action="store_true", help="do not look for tissue (faster on large slides)")
    parser.add_argument("--json", action="store_true", help="one JSON object a slide, one a line")


def run(args: argparse.Namespace) -> int:
    """Print what each of them is; of several, those that can't be used come in a table at the end."""
    failed: list[GeryonError] = []
    for given in args.given:
        try:
            facts, lines = _told(given, args)
        except GeryonError as error:
            if len(args.given) == 1:
                raise
            failed.append(error)
            if args.json:
                print(json.dumps({"path": given, "error": str(error), "exit_code": error.exit_code}))
            continue
        print(json.dumps(facts, ensure_ascii=False) if args.json else _as_text(facts, lines), flush=True)
    if not failed:
        return 0
    for reason in failed:
        print(f"failed: {reason}", file=sys.stderr)
    raise SomeFailedError(
        what=f"{len(failed)} of {len(args.given)} slides can't be used", mend="the reasons stand above, one a slide"
    )


def _told(given: str, args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    if is_volume(Path(given)):
        return _of_volume(given)
    if names_encoder(given):
        return _of_encoder(given)
    return _of_model(given) if is_model(given) else _of_slide(given, args)


def is_model(given: str) -> bool:
    """True for what names a model; a slide may be called as a model is, and is then meant where it lies at hand."""
    return names_model(given) and (given.endswith(".safetensors") or not Path(given).exists())


def is_volume(given: Path) -> bool:
    """True for a compressed slide, or the folder of results that holds it."""
    return given.name == NAME or (given / NAME).is_dir()


def model_facts(given: str) -> dict[str, Any]:
    """All that a model file says of itself, as plain values ready for JSON."""
    path = find_model(given)
    document = read_document(path)
    return {
        "path": str(path),
        "name": document.name,
        "version": document.version,
        "sha256": file_sha256(path),
        "bytes": path.stat().st_size,
        "use": document.use,
        "topology": document.topology,
        "settings": dict(document.settings),
        "mpp": document.mpp,
        "tasks": {task.name: list(task.class_names) for task in document.task_values()},
        "calibrated": sorted(document.calibration),
        "sources": [{"name": s.name, "licence": s.licence, "use": s.use} for s in document.sources],
    }


def _of_model(given: str) -> tuple[dict[str, Any], dict[str, str]]:
    facts = model_facts(given)
    classes = ((name, f": {', '.join(names)}" if names else "") for name, names in facts["tasks"].items())
    sources = [f"{source['name']} ({source['licence']})" for source in facts["sources"]]
    return facts, {
        "model": f"{facts['name']} {facts['version']}, {facts['bytes'] / 1e6:.1f} MB, SHA-256 {facts['sha256']}",
        "use": facts["use"],
        "topology": facts["topology"],
        "input": f"{facts['mpp']:g} µm/px",
        "tasks": "; ".join(name + of for name, of in classes),
        "calibrated": ", ".join(facts["calibrated"]) or "no task",
        "sources": "; ".join(sources) or "not stated",
    }


def encoder_facts(given: str) -> dict[str, Any]:
    """All that an encoder says of itself, as plain values ready for JSON."""
    document, _, sha256 = encoder_weights(given)
    return {
        "path": given,
        "name": document.name,
        "version": document.version,
        "sha256": sha256,
        "use": document.use,
        "topology": document.topology,
        "settings": dict(document.settings),
        "mpp": document.mpp,
        "patch_px": document.patch_px,
        "code": document.code,
        "training": dict(document.training),
        "sources": [{"name": s.name, "licence": s.licence, "use": s.use} for s in document.sources],
    }


def _of_encoder(given: str) -> tuple[dict[str, Any], dict[str, str]]:
    facts = encoder_facts(given)
    side, mpp = facts["patch_px"], facts["mpp"]
    sources = [f"{source['name']} ({source['licence']})" for source in facts["sources"]]
    return facts, {
        "encoder": f"{facts['name']} {facts['version']}, SHA-256 {facts['sha256']}",
        "use": facts["use"],
        "topology": facts["topology"],
        "patches": f"{side} x {side} px at {mpp:g} µm/px ({side * mpp:g} µm)",
        "code": f"{facts['code']} numbers",
        "sources": "; ".join(sources) or "none: nothing is learnt",
    }


def volume_facts(given: str) -> dict[str, Any]:
    """All that a compressed slide says of itself, as plain values ready for JSON."""
    volume = open_volume(Path(given))
    about = volume.about
    return {
        "path": given,
        "slide": about.slide,
        "encoder": about.encoder,
        "encoder_sha256": about.encoder_sha256,
        "precision": about.precision,
        "version": about.version,
        "mpp": about.mpp,
        "patch_um": about.patch_um,
        "stride_um": about.stride_um,
        "turns": about.turns,
        "is_legacy": about.is_legacy,
        "rows": volume.rows,
        "columns": volume.columns,
        "encoded_cells": int(volume.tissue.sum()),
        "code": volume.code,
        "dtype": volume.dtype,
        "warnings": list(about.warnings),
    }


def _of_volume(given: str) -> tuple[dict[str, Any], dict[str, str]]:
    facts = volume_facts(given)
    made = f"{facts['encoder']} in {facts['precision'] or 'unknown precision'}, SHA-256 {facts['encoder_sha256']}"
    turns = {"one": "as it lies", "mean": "mean of eight turns", "eight": "each of eight turns"}[facts["turns"]]
    return facts, {
        "compressed": facts["slide"],
        "encoder": made + (", by the published rules" if facts["is_legacy"] else ""),
        "patches": f"{facts['patch_um']:g} µm at {facts['mpp']:g} µm/px, every {facts['stride_um']:g} µm; {turns}",
        "cells": f"{facts['rows']} x {facts['columns']}, {facts['encoded_cells']} with tissue",
        "codes": f"{facts['code']} numbers, {facts['dtype']}",
    }


def slide_facts(path: Path, *, mpp: float | None, reader: str | None, tissue: bool) -> dict[str, Any]:
    """All that is known of a slide, as plain values ready for JSON."""
    with open_slide(path, mpp=mpp, reader=reader) as slide:
        tissue_mm2, damage = _look(slide) if tissue else (None, ())
        return {
            "path": str(path),
            "name": slide.name,
            "reader": slide.reader,
            "width_px": slide.size[0],
            "height_px": slide.size[1],
            "area_mm2": round(slide.frame.area_mm2, 6),
            "mpp_x": slide.mpp[0],
            "mpp_y": slide.mpp[1],
            "mpp_source": slide.mpp_source,
            "objective": slide.objective,
            "levels": [
                {"width_px": level.width, "height_px": level.height, "downsample": round(level.downsample_x, 4)}
                for level in slide.levels
            ],
            "tissue_mm2": tissue_mm2,
            "warnings": [*slide.warnings, *damage],
        }


def _look(slide: Slide) -> tuple[float, tuple[str, ...]]:
    seen = low_power(slide)
    lost = float(seen.unreadable.mean())
    damage = (f"{lost:.1%} of the slide can't be read: damaged file",) if lost else ()
    return round(tissue_mask(slide, seen).area_mm2, 6), damage


def _of_slide(given: str, args: argparse.Namespace) -> tuple[dict[str, Any], dict[str, str]]:
    facts = slide_facts(Path(given), mpp=args.mpp, reader=args.reader, tissue=not args.no_tissue)
    levels = ", ".join(f"{at['width_px']} x {at['height_px']} (1/{at['downsample']:g})" for at in facts["levels"])
    x, y = facts["mpp_x"], facts["mpp_y"]
    return facts, {
        "reader": facts["reader"],
        "size": f"{facts['width_px']} x {facts['height_px']} px, {facts['area_mm2']:g} mm²",
        "µm/px": f"{x:g}" + (f" x {y:g}" if x != y else "") + f" ({facts['mpp_source']})",
        "objective": f"{facts['objective']:g}x" if facts["objective"] else "not stated",
        "levels": levels,
        "tissue": "not looked for" if facts["tissue_mm2"] is None else f"{facts['tissue_mm2']:g} mm²",
    }


def _as_text(facts: dict[str, Any], lines: dict[str, str]) -> str:
    text = [facts["path"], *(f"  {name:<12}{value}" for name, value in lines.items())]
    return "\n".join([*text, *(f"  {'warning':<12}{w}" for w in facts.get("warnings", ()))])
