"""geryon evaluate: a model, or a folder of results, against a labelled source, as a table."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from geryon.atomic import whole_file
from geryon.cli.names import add_names, add_tasks

HELP = "score a model or a folder of results on a labelled source, with intervals and floors"
EPILOG = """\
examples:
  geryon evaluate geryon-s --source consep --root data/consep --groups train_1,train_2
  geryon evaluate runs/a/mine.safetensors --source glas --root data/glas --only testA --strata
  geryon evaluate results --source glas --root data/glas           (what geryon segment wrote: results/IMAGE/)
  geryon evaluate masks --source consep --root data/consep --classes other,inflammatory,epithelial,connective
  geryon evaluate geryon-s --source consep --root data/consep --calibrate mine.safetensors
  geryon evaluate runs/e/nic-64.safetensors --probe glas,kather --data data --against encoder_multitask-4.h5,mean-rgb

A folder of results holds IMAGE/ as segment writes it, or label maps IMAGE.png, IMAGE.npy or IMAGE.mat (inst_map).
docs/metrics.md has the definition of every figure. An encoder is scored by --probe: docs/encoder-training.md.
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "model", help="a model (name, .safetensors file or hub:... place) or a folder of results (see below)"
    )
    parser.add_argument("--source", help="name of the labelled source, such as glas")
    parser.add_argument("--probe", metavar="TASKS", help="of an encoder: patch tasks to ask its codes about, by commas")
    parser.add_argument("--against", default="", metavar="ENCODERS", help="with --probe: others to compare it with")
    parser.add_argument("--root", type=Path, help="folder that holds the source's files (without --recipe: needed)")
    parser.add_argument("--recipe", type=Path, help="the recipe that describes the source, such as your own files")
    parser.add_argument("--data", type=Path, default=Path(), help="folder that the roots of the recipe lie in")
    parser.add_argument("--split", type=Path, metavar="FILE", help="only images that this split.json did not train on")
    parser.add_argument("--only", default="", metavar="PREFIX", help="only images whose name begins so, such as testA")
    parser.add_argument("--groups", default="", help="only these groups (patients), comma-separated")
    add_tasks(parser)
    add_names(parser, "--classes", dest="classes", help="of label maps: names of their class numbers 1, 2, ...")
    parser.add_argument("--engine", default="auto", help="as of geryon segment (default: %(default)s)")
    parser.add_argument("--strata", action="store_true", help="also each stratum of the images (grade) apart")
    parser.add_argument(
        "--calibrate",
        type=Path,
        metavar="OUT",
        help="fit temperatures on these images, which the model must not have learnt from; write it so to OUT",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there too")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write overlays there: found in colour, truth in black")


def run(args: argparse.Namespace) -> int:
    """Evaluate, print the table, return the exit code."""
    from geryon.train.evaluate import Look, evaluate
    from geryon.train.overlays import overlays
    from geryon.train.tables import table

    if args.probe:
        return probe(args)
    _check(args)
    source, root = source_of(args)
    cases = list(source.cases(root))
    unseen = not_trained_on(cases, args.split, args.source) if args.split else cases
    chosen = choose(unseen, only=args.only, groups=args.groups, where=str(root))
    ids = {id(case) for case in chosen}
    rest = [case for case in cases if id(case) not in ids]
    look = Look(
        source=args.source,
        by_stratum=args.strata,
        seen=overlays(args.out) if args.out else None,
        unseen=args.split is not None,
    )
    tell = getattr(args, "tell", None)
    extra = {"tell": tell} if tell else {}
    result = evaluate(_answers(args, chosen), chosen, tasks=args.tasks, train_cases=rest, look=look, **extra)
    rows = result.rows + (_calibrated(args, result.pieces, look.about(chosen)) if args.calibrate else ())
    print(table(rows))
    if args.json:
        _write_json(args.json, {**result.document(), "rows": [row.document() for row in rows]})
    return 0


def probe(args: argparse.Namespace) -> int:
    """Ask small networks on an encoder's codes about patch tasks; print the table."""
    from geryon.train.encoders.probing import probe_all, table

    encoders = [args.model, *filter(None, args.against.split(","))]
    tell = getattr(args, "tell", None)
    extra = {"tell": tell} if tell else {}
    found = probe_all(encoders, tasks=args.probe.split(","), data=args.data, engine=args.engine, **extra)
    print("\n".join(table(found)))
    if args.json:
        _write_json(args.json, {"probes": [one.document() for one in found]})
    return 0


def _write_json(path: Path, document: Any) -> None:
    with whole_file(path) as fresh:
        fresh.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _check(args: argparse.Namespace) -> None:
    from geryon.errors import UsageError

    if not args.source:
        raise UsageError(what="--source is needed", mend="name the labelled source; for an encoder give --probe TASKS")
    if args.against:
        raise UsageError(what="--against is for --probe", mend="give the patch tasks too")
    is_folder = Path(args.model).is_dir()
    if args.calibrate and is_folder:
        raise UsageError(what="a folder of results can't be calibrated", mend="give the model that made them")
    if args.calibrate and args.calibrate.suffix != ".safetensors":
        raise UsageError(
            what="a model file ends in .safetensors", where="--calibrate", mend=f"{args.calibrate}.safetensors"
        )
    if args.classes and not is_folder:
        raise UsageError(what="--classes is for folders of label maps", mend="leave it out: a model knows its classes")


def _answers(args: argparse.Namespace, cases: Sequence[Any]) -> Any:
    """The model, or the folder of results."""
    if Path(args.model).is_dir():
        from geryon.train.results import open_results

        return open_results(Path(args.model), cases, tasks=args.tasks, classes=args.classes or ())
    from geryon.nets.model import load_model

    return load_model(args.model, engine=args.engine)


def _calibrated(args: argparse.Namespace, pieces: Sequence[Any], about: Any) -> tuple[Any, ...]:
    """Write the model with its calibration; what that is worth, by cross-fitting."""
    from geryon.errors import InputError
    from geryon.nets.catalogue import find_model
    from geryon.train import calibration

    found = calibration.fit_calibrations(pieces)
    if not found:
        raise InputError(
            what=f"no task has {calibration.LEAST} objects of which some are right and some wrong",
            where=str(args.root),
            mend="give more images",
        )
    chosen = ", ".join(filter(None, (args.source, args.only and f"{args.only}*", args.groups)))
    calibration.save_calibrated(find_model(args.model), args.calibrate, found, chosen)
    return tuple(calibration.worth(pieces, about))


def source_of(args: argparse.Namespace) -> tuple[Any, Path]:
    """The source and its folder: of the table, or as the recipe describes it."""
    from geryon import plugins
    from geryon.errors import UsageError
    from geryon.train.source import SOURCES

    if args.recipe:
        from geryon.train.recipe import read_recipe

        source, root = read_recipe(args.recipe).source(args.source)
        return source, args.root or args.data / root
    if args.root is None:
        raise UsageError(
            what="--root is needed", mend="give the folder of the source, or the --recipe that describes it"
        )
    return plugins.find(SOURCES, "geryon.sources", args.source), args.root


def not_trained_on(cases: Sequence[Any], split: Path, source: str) -> list[Any]:
    """The cases that a saved split does not put on the side of training; those that it does not name are new."""
    from geryon.train import split_file, splits

    trained = split_file.names_of(split_file.read(split), source, splits.TRAIN)
    return [case for case in cases if case.name not in trained]


def choose(cases: Sequence[Any], *, only: str, groups: str, where: str) -> list[Any]:
    """The cases whose name begins with `only` and whose group is named; an error where none is left."""
    from geryon.errors import UsageError

    wanted = {group.strip() for group in groups.split(",") if group.strip()}
    chosen = [c for c in cases if c.name.startswith(only) and (not wanted or str(c.group) in wanted)]
    if not chosen:
        asked = " and ".join(filter(None, [f"--only {only}" if only else "", f"--groups {groups}" if groups else ""]))
        raise UsageError(
            what=f"no image is left by {asked or 'this source and split'}",
            where=where,
            mend="see the names in the source's table",
        )
    return chosen
