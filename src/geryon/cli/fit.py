"""geryon fit: train a model from a recipe."""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

EPILOG = """\
examples:
  geryon fit recipes/geryon-s.yaml --out runs/a --data data
  geryon fit recipes/geryon-s.yaml --out runs/a --data data --minutes 90
  geryon fit recipes/own-nuclei.yaml --check --data data
  geryon fit recipes/experiments/multi_task.yaml --out runs/multi --data data
  geryon fit --show-schema

OUT gets NAME.safetensors, its card NAME.md, figures by source and task (metrics.md, .csv, .json), overlays/,
curves.html, split.json, log.csv and validation.csv. Ctrl-C keeps the state; the same command goes on from it.
An experiment (a file with a `base` recipe) gets a folder a run, table.md and plot.svg.
Several cards: torchrun --nproc-per-node N -m geryon fit ...
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.epilog = EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("recipe", nargs="?", type=Path, help="a recipe (YAML)")
    parser.add_argument("--out", type=Path, help="folder of the run")
    parser.add_argument("--data", type=Path, default=Path(), help="folder with the sources' folders (default: here)")
    parser.add_argument("--pack", type=Path, help="where packed samples are kept and found again (default: in OUT)")
    parser.add_argument("--samples", type=Path, help="learn from this pack as it is, without looking at the sources")
    parser.add_argument("--minutes", type=float, help="end the schedule after so long, instead of the recipe's limit")
    parser.add_argument("--images", type=int, help="measure on so many images of each source at the end (40; 0: none)")
    parser.add_argument("--check", action="store_true", help="only look for faults in the recipe and its sources")
    parser.add_argument("--show-schema", action="store_true", help="print what may stand in a recipe (JSON Schema)")


def run(args: argparse.Namespace) -> int:
    """Train, or look for faults, or print the schema."""
    from geryon.errors import UsageError
    from geryon.train import recipe

    if args.show_schema:
        args.say(recipe.schema())
        return 0
    if args.recipe is None or (args.out is None and not args.check):
        raise UsageError(what="a recipe and --out are needed", mend="geryon fit RECIPE --out DIR")
    from geryon.train.experiment import is_experiment

    if is_experiment(args.recipe):
        return experiment(args)
    if args.check:
        return look(args)

    from geryon.train.fit import Where, fit

    with asked_to_stop() as stop:
        where = Where(data=args.data, pack=args.pack, samples=args.samples, minutes=args.minutes, stop=stop)
        where = where if args.images is None else replace(where, images=args.images)
        fitted = fit(args.recipe, out=args.out, where=where, tell=args.tell)
    if not fitted.whole:
        args.say(f"stopped at step {fitted.step}; the same command goes on from there")
        return 130
    if fitted.added:
        args.say(fitted.added)
    if fitted.model is not None:
        args.say(f"{fitted.model} after {fitted.step} steps (SHA-256 {fitted.sha256})")
    return 0


def experiment(args: argparse.Namespace) -> int:
    """Do all runs of an experiment, or look for faults in their recipes."""
    from geryon.errors import UsageError
    from geryon.train import processes
    from geryon.train.experiment import conduct, read_experiment
    from geryon.train.experiment_check import check_experiment

    given = [name for name in ("pack", "samples", "minutes", "images") if getattr(args, name) is not None]
    if given:
        raise UsageError(what=f"--{given[0]} is for a recipe, not for an experiment", mend="write it into the base")
    asked = read_experiment(args.recipe)
    check_experiment(asked, data=args.data, tell=args.tell)
    if args.check:
        args.say("no faults")
        return 0
    with asked_to_stop() as stop:
        table = conduct(asked, out=args.out, data=args.data, tell=args.tell, stop=stop)
    if table is None:
        args.say("stopped; the same command goes on with the run that was not finished")
        return 130
    if processes.is_first():
        args.say(table.read_text(encoding="utf-8"))
    return 0


def look(args: argparse.Namespace) -> int:
    """Tell the faults, or what would be trained on."""
    from geryon.train.check import check

    for line in check(args.recipe, data=args.data, tell=args.tell).lines:
        args.say(line)
    args.say("no faults")
    return 0


@contextmanager
def asked_to_stop() -> Iterator[Callable[[], bool]]:
    """A question that Ctrl-C (or a polite kill) answers with yes; a second Ctrl-C interrupts at once."""
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
