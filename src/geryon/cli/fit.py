"""geryon fit: train a model from a recipe."""

from __future__ import annotations

import argparse
import json
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
  geryon fit recipes/encoders/nic-64.yaml --out runs/encoder --data data
  geryon fit --show-schema

OUT gets NAME.safetensors, its card NAME.md, figures by source and task (metrics.md, .csv, .json), overlays/,
curves.html, split.json, log.csv and validation.csv. Ctrl-C keeps the state; the same command goes on from it.
An experiment (a file with a `base` recipe) gets a folder a run, table.md and plot.svg.
An encoder (a file with an `encoder`, docs/encoder-training.md) gets NAME.safetensors, its card and curves; an
experiment on encoders (a file with `encoders`) what it trains, table.md and plot.svg.
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
        from geryon.train.encoders.recipe import EncoderRecipe

        args.say(
            json.dumps(
                {"recipe": json.loads(recipe.schema()), "encoder": json.loads(recipe.schema(EncoderRecipe))},
                indent=2,
                ensure_ascii=False,
            )
        )
        return 0
    if args.recipe is None or (args.out is None and not args.check):
        raise UsageError(what="a recipe and --out are needed", mend="geryon fit RECIPE --out DIR")
    kind = KINDS.get(_key_of(args.recipe))
    if kind:
        return kind(args)
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
    from geryon.train import processes
    from geryon.train.experiment import conduct, read_experiment
    from geryon.train.experiment_check import check_experiment

    _only(args, for_what="a recipe, not for an experiment")
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


def encoder(args: argparse.Namespace) -> int:
    """Train an encoder, or look for faults in its recipe."""
    from geryon.train.encoders.checks import check_recipe
    from geryon.train.encoders.fit import Where, fit_encoder
    from geryon.train.encoders.recipe import read_encoder_recipe

    _only(args, "minutes", for_what="a model's recipe, not for an encoder's")
    recipe = read_encoder_recipe(args.recipe)
    if args.check:
        check_recipe(recipe, data=args.data, where=str(args.recipe))
        args.say("no faults")
        return 0
    with asked_to_stop() as stop:
        where = Where(data=args.data, minutes=args.minutes, stop=stop)
        fitted = fit_encoder(recipe, out=args.out, where=where, tell=args.tell)
    if not fitted.whole:
        args.say(f"stopped at step {fitted.step}; the same command goes on from there")
        return 130
    args.say(f"{fitted.encoder} after {fitted.step} steps (SHA-256 {fitted.sha256})")
    return 0


def encoders(args: argparse.Namespace) -> int:
    """Do all trainings and probes of an experiment on encoders, or look for faults in its recipes."""
    from geryon.train.encoders.conducting import conduct
    from geryon.train.encoders.experiment_check import read_encoder_experiment

    _only(args, for_what="a recipe, not for an experiment")
    asked = read_encoder_experiment(args.recipe, data=args.data)
    if args.check:
        args.say("no faults")
        return 0
    with asked_to_stop() as stop:
        folder = args.recipe.parent
        table = conduct(asked, out=args.out, data=args.data, folder=folder, tell=args.tell, stop=stop)
    if table is None:
        args.say("stopped; the same command goes on with the training that was not finished")
        return 130
    args.say(table.read_text(encoding="utf-8"))
    return 0


def _only(args: argparse.Namespace, *allowed: str, for_what: str) -> None:
    """Refuse options that this kind of document does not take."""
    from geryon.errors import UsageError

    given = [n for n in ("pack", "samples", "minutes", "images") if n not in allowed and getattr(args, n) is not None]
    if given:
        raise UsageError(what=f"--{given[0]} is for {for_what}", mend="leave it out, or write it into the document")


KINDS = {"base": experiment, "encoder": encoder, "encoders": encoders}
"""What is done with a document that has the key; one without is a model's recipe."""


def _key_of(path: Path) -> str:
    from geryon.train.recipe import read_yaml

    raw = read_yaml(path)
    return next((key for key in KINDS if isinstance(raw, dict) and key in raw), "")


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
