"""Options that take several names: comma-separated, given again, or both."""

from __future__ import annotations

import argparse


def names(text: str) -> list[str]:
    """The names in "nuclei, glands"; an error of the command line where there is none.

    >>> names("nuclei, glands")
    ['nuclei', 'glands']
    """
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"a name is missing in {text!r}")
    return found


def add_tasks(parser: argparse.ArgumentParser) -> None:
    """The option that chooses tasks: args.tasks is a list of names, or None for all."""
    add_names(parser, "--task", "--tasks", dest="tasks", help="only these tasks, such as nuclei,glands")


def add_names(parser: argparse.ArgumentParser, *flags: str, dest: str, help: str) -> None:
    """An option whose value is a list of names, or None where it is not given."""
    parser.add_argument(*flags, dest=dest, type=names, action="extend", metavar="NAMES", help=help)
