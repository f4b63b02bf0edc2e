"""The command line: one command a file, each with arguments(parser) and run(args) -> exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from geryon import __version__
from geryon.errors import MACHINE_ERRNOS, GeryonError, MachineError, from_os_error

COMMANDS = {
    "demo": ("geryon.cli.demo", "a synthetic slide through the whole of segment, with a picture"),
    "info": (
        "geryon.cli.info",
        "what a slide is: size, µm per pixel and where it came from, levels, tissue; or a model",
    ),
    "segment": ("geryon.cli.segment", "find nuclei, glands, lumina and tissue classes on slides"),
    "compress": ("geryon.cli.compress", "turn slides into small volumes of features, for models of whole slides"),
    "export": ("geryon.cli.export", "write results for other tools: geojson (QuPath), csv"),
    "fit": ("geryon.cli.fit", "train a network from a recipe"),
    "evaluate": ("geryon.cli.evaluate", "score a model on a labelled source"),
    "slides": ("geryon.cli.slides", "learn and answer about whole slides: fit, predict, explain, needles"),
    "synth": ("geryon.cli.synth", "make a synthetic slide with exact truth"),
    "import-weights": ("geryon.cli.import_weights", "turn published weights of others into a model or an encoder"),
    "export-weights": ("geryon.cli.export_weights", "write a model or an encoder for other engines: onnx"),
}
GROUPS = ("slides",)
"""Commands that only hold others (SUBCOMMANDS in their file)."""
WHAT = "Nuclei, glands, lumina and tissue from H&E slides, as files your own tools open."


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code (see errors.py)."""
    words = list(sys.argv[1:] if argv is None else argv)
    # Only the first word can be the command: an option before it would be lost without a sound.
    if not words or words[0] not in COMMANDS:
        return _overview(words)
    name, *rest = words
    try:
        module = import_module(COMMANDS[name][0])
    except KeyboardInterrupt:
        return _interrupted()
    if name in GROUPS:
        if not rest or rest[0] not in module.SUBCOMMANDS:
            return _overview(rest, group=name, commands=module.SUBCOMMANDS)
        name, rest = f"{name} {rest[0]}", rest[1:]
        module = import_module(every_command()[name][0])
    return run(module, command_parser(name, module).parse_args(rest))


def every_command() -> dict[str, tuple[str, str]]:
    """{a command as it is typed, "fit" or "slides fit": (its module, what it does)}; those that only hold others are
    replaced by what they hold."""
    found: dict[str, tuple[str, str]] = {}
    for name, (path, summary) in COMMANDS.items():
        inner = getattr(import_module(path), "SUBCOMMANDS", None) if name in GROUPS else None
        found |= {f"{name} {word}": told for word, told in inner.items()} if inner else {name: (path, summary)}
    return found


def command_parser(name: str, module: ModuleType) -> argparse.ArgumentParser:
    """The parser of one command, with the options that all have."""
    parser = argparse.ArgumentParser(prog=f"geryon {name}", description=every_command()[name][1])
    module.arguments(parser)
    parser.add_argument("--quiet", action="store_true", help="say only what went wrong")
    parser.add_argument("--log", type=Path, metavar="FILE", help="append what happens to this file")
    return parser


def run(module: ModuleType, args: argparse.Namespace) -> int:
    """Run a parsed command with its listeners; errors become one sentence and their exit code."""
    from geryon.cli.listen import listening

    try:
        with listening(quiet=args.quiet, log=args.log) as listener:
            args.tell, args.say = listener.tell, listener.say
            code = int(module.run(args))
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _interrupted()
    except GeryonError as error:
        return _fail(str(error), error.exit_code)
    except BrokenPipeError:
        return _unread()
    except MemoryError:
        return _fail(
            "out of memory; close other programs, or use smaller windows; finished work is kept", MachineError.exit_code
        )
    except OSError as error:
        if error.errno not in MACHINE_ERRNOS:
            raise
        told = from_os_error(error, where=str(error.filename or ""), doing="reading or writing")
        return _fail(str(told), told.exit_code)


def _overview(words: Sequence[str], *, group: str = "", commands: Mapping[str, tuple[str, str]] = COMMANDS) -> int:
    prog = f"geryon {group}".strip()
    parser = argparse.ArgumentParser(
        prog=prog,
        description=COMMANDS[group][1] if group else WHAT,
        epilog="commands:\n"
        + "\n".join(f"  {name:15} {summary}" for name, (_, summary) in commands.items())
        + f"\n\n{prog} COMMAND --help tells more"
        + ("" if group else "; try `geryon demo` first."),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=f"{prog} COMMAND [options]",
    )
    if not group:
        parser.add_argument("--version", action="version", version=f"geryon {__version__}")
    parser.add_argument("command", nargs="?", help="see below")
    args = parser.parse_args(words[:1] if group else words)
    if args.command is None:
        parser.print_help()
        return 0 if not words else 2
    return _fail(
        f"there is no command {' '.join(filter(None, (group, args.command)))!r}; choose one of: {', '.join(commands)}",
        2,
    )


def _interrupted() -> int:
    return _fail("interrupted: the same command resumes", 130)


def _unread() -> int:
    # The reader went away (`| head`): what is left in the buffer goes nowhere, or Python would complain at its exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _fail(sentence: str, code: int) -> int:
    sys.stderr.write(f"geryon: {sentence}\n")
    return code
