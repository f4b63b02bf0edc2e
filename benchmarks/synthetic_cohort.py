"""How well does the whole chain learn a known lesion from one label a slide, and does it look where it lies?

    python -m benchmarks.synthetic_cohort [--slides 300] [--encoder FILE] [--out results/synthetic_cohort]

Cohort of known truth -> compress -> slides fit (the paper's CNN, regression of lesion area) -> Spearman out of fold,
and Grad-CAM of networks that did not see the patient against the true lesion: Jaccard after the stated clean-up, its
threshold chosen on other patients' slides; pointing game. What is finished under --out is not done again, so the same
command goes on after a stop. Slides are painted while they are compressed: that is most of the time.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import say, skip
from geryon.atomic import whole_file
from geryon.cli.synth import size_um
from geryon.cohort.answering import cohort_for
from geryon.cohort.document import digest
from geryon.cohort.evidence import methods_of
from geryon.cohort.explain import Agreement, Explain, best_threshold, evidence, lesion_cells, score
from geryon.cohort.fit import Course, fit_slides
from geryon.cohort.models import SlideModel, load_slide_model
from geryon.cohort.question import Question
from geryon.cohort.slides import Cohort
from geryon.flows.compress import compress
from geryon.flows.compress_options import CompressOptions
from geryon.flows.synth_cohort import synth_cohort
from geryon.nets.encoder import load_encoder
from geryon.slides.synthetic import SyntheticSlide
from geryon.tasks.intervals import drawings, span

ENCODER = "geryon-s"
LABEL = "lesion_mm2"
CHOOSING = 60
"""At most so many slides of other patients choose a threshold."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides", type=int, default=300)
    parser.add_argument("--size-mm", default="1.5x1.5")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--mpp", type=float, default=0.5, help="of the slides")
    parser.add_argument("--encoder", default=ENCODER, help="a name or a file (default: %(default)s)")
    parser.add_argument("--turns", default="one", help="one, mean or eight codes a cell")
    parser.add_argument("--stride", default="32um", help="of the cells; '' for the patch (default: %(default)s)")
    parser.add_argument("--model", default="cnn")
    parser.add_argument("--method", default="", help="of the evidence; default: the model's first")
    parser.add_argument("--cells", type=int, help="side of the CNN's crops; default: the slide's, made even")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1, help="networks a fold")
    parser.add_argument("--out", type=Path, default=Path("results/synthetic_cohort"))
    args = parser.parse_args()
    if Path(args.encoder).suffix and not Path(args.encoder).exists():
        skip("synthetic_cohort", "Spearman of lesion area, out of fold", "there is no encoder: give --encoder")
        return 0
    table = synth_cohort(args.out, slides=args.slides, size_um=size_um(args.size_mm), seed=args.seed, mpp=args.mpp)
    size = {"slides": args.slides, "mm": args.size_mm, "encoder": Path(args.encoder).stem, "model": args.model}
    features = compressed(args, table, size)
    rows = list(csv.DictReader(table.open(encoding="utf-8")))
    run = args.out / f"{args.model}-{features.name}"
    fitted(args, table, features, run, size)
    model = load_slide_model(run)
    cohort = cohort_for([table], Question(features=features, skip_empty=True, grid=True), model.document)
    paths = {row["slide"]: args.out / row["path"] for row in rows}
    write(run / "agreement.csv", cohort, explained(model, cohort, paths, Explain(method=args.method), size))
    return 0


def compressed(args: argparse.Namespace, table: Path, size: dict[str, object]) -> Path:
    """Folder of the volumes."""
    net = load_encoder(args.encoder)
    folder = args.out / "features" / f"{net.name}-{args.turns}{args.stride}"
    options = CompressOptions(use_mask=True, turns=args.turns, stride=args.stride)
    begun, busy, made, cells = time.perf_counter(), time.process_time(), 0, 0
    for row in csv.DictReader(table.open(encoding="utf-8")):
        there = (folder / row["slide"] / "features.zarr").exists()
        volume = compress(args.out / row["path"], out=folder, encoder=net, options=options)
        made += not there
        cells = max(cells, *volume.tissue.shape)
    args.cells = args.cells or cells + cells % 2
    if made:
        wide, high = (side / 1000 for side in size_um(args.size_mm))
        told = {"value": (time.perf_counter() - begun) / made / wide / high, "unit": "s/mm²"}
        core = (time.process_time() - busy) / made / wide / high
        say("synthetic_cohort", "painted and compressed, a mm² of slide", **told, core_seconds=core, size=size)
    return folder


def fitted(args: argparse.Namespace, table: Path, features: Path, run: Path, size: Mapping[str, object]) -> None:
    """Learn in the folder `run`, and say how well lesion area is told."""
    question = Question(labels=(LABEL,), kind="regression", features=features, skip_empty=True)
    settings = {"epochs": args.epochs} | ({"cells": args.cells, "test_crops": 1} if args.model == "cnn" else {})
    course = Course(model=args.model, settings=settings, folds=args.folds, seeds=args.seeds)
    begun = time.perf_counter()
    figures = fit_slides(table, out=run, question=question, course=course).figures
    found = figures["slides"]["mean"]["spearman"]
    say(
        "synthetic_cohort",
        "Spearman of lesion area, out of fold",
        **{"value": found["value"], "low": found["low"], "high": found["high"], "unit": "rho"},
        asked=0.9,
        better="higher",
        size=size,
        seconds=time.perf_counter() - begun,
    )


def explained(
    model: SlideModel, cohort: Cohort, paths: Mapping[str, Path], asked: Explain, size: Mapping[str, object]
) -> dict[int, Agreement]:
    """Say how well the evidence agrees with the lesion."""
    slides = [SyntheticSlide.from_file(paths[slide.name]) for slide in cohort.slides]
    truths = [lesion_cells(made, slide.cells.about.grid) for made, slide in zip(slides, cohort.slides, strict=True)]
    begun, found = time.perf_counter(), {}
    for fold in sorted(set(model.document.folds.values())):
        found |= of_fold(model, cohort, fold, truths, asked)
    seconds = (time.perf_counter() - begun) / max(len(found), 1)
    method = asked.method or methods_of(model.networks[0])[0]
    ill = [i for i, each in found.items() if each.hit is not None]
    healthy = [i for i in found if i not in ill]
    figures = (
        (f"{method}: Jaccard with the lesion (the paper, on rectangles: 0.612)", ill, lambda a: a.jaccard, 0.65),
        (f"{method}: pointing game", ill, lambda a: float(bool(a.hit)), None),
        ("pointing game, blind", ill, lambda a: a.true_share, None),
        (f"{method}: tissue shown on slides without a lesion", healthy, lambda a: a.found_share, None),
    )
    for name, some, value, wanted in figures:
        whose = [cohort.slides[i].patient for i in some]
        told = interval([value(found[i]) for i in some], whose)
        better = "lower" if some is healthy else "higher"
        more = {} if some else {"skipped": "there is no such slide"}
        say("synthetic_cohort", name, **told, **more, asked=wanted, better=better, size=size, seconds_a_slide=seconds)
    return found


def of_fold(
    model: SlideModel, cohort: Cohort, fold: int, truths: list[np.ndarray], asked: Explain
) -> dict[int, Agreement]:
    """The agreement of the slides of a fold, by the networks that never saw it."""
    folds = [model.document.folds[digest(slide.patient)] for slide in cohort.slides]
    members = [k for k, member in enumerate(model.document.members) if member.fold == fold]
    others = [i for i, of in enumerate(folds) if of != fold]
    others = sorted(np.random.default_rng(fold).permutation(others)[:CHOOSING].tolist())

    def map_of(i: int) -> np.ndarray:
        return evidence(model, cohort, i, asked, members=members).values

    threshold = best_threshold([map_of(i) for i in others], [truths[i] for i in others])
    return {i: score(map_of(i), truths[i], threshold) for i, of in enumerate(folds) if of == fold}


def interval(values: Sequence[float], patients: Sequence[str]) -> dict[str, Any]:
    """Mean and its 95 % when patients are drawn again, for `say`."""
    if not values:
        return {"value": None, "unit": ""}
    names = {name: k for k, name in enumerate(sorted(set(patients)))}
    rows = np.zeros((len(names), 2))
    np.add.at(rows, [names[p] for p in patients], np.stack([values, np.ones(len(values))], axis=1))
    sums = drawings(len(names), 1000, 0) @ rows
    low, high = span(sums[:, 0] / sums[:, 1])
    return {"value": float(np.mean(values)), "low": low, "high": high, "unit": "share"}


def write(path: Path, cohort: Cohort, found: Mapping[int, Agreement]) -> None:
    """A row a slide."""
    with whole_file(path) as fresh, fresh.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["slide", "patient", *(f.name for f in fields(Agreement))])
        for i, each in sorted(found.items()):
            table.writerow([cohort.slides[i].name, cohort.slides[i].patient, *astuple(each)])


if __name__ == "__main__":
    raise SystemExit(main())
