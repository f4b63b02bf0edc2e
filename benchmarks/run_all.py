"""Run every benchmark, each in a process of its own, and collect their lines.

    python -m benchmarks.run_all [--only read forward ...] [--full] [--out FILE] [--compare OLD.jsonl]

Lines go to standard output, and with --out to the end of a file too; a table of all follows on standard error. One
that fails, or lacks a package or data, has a line that says why, and the others go on; the exit code is then 1 where
one failed. --full takes the sizes that figures are quoted at, and the long ones. --compare prints new / old for lines
of the same benchmark, question and size.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.machine import faults, line, missing

Line = dict[str, Any]
SHORT_LIMIT_S, FULL_LIMIT_S = 300, 3600
"""A benchmark that takes longer is stopped and says so."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A benchmark and its words on the command line: in a short run, and where `--full` asks for more.

    None: not part of such a run; `--only` runs it all the same.
    """

    short: tuple[str, ...] | None = ()
    full: tuple[str, ...] | None = ()

    def words(self, *, full: bool) -> tuple[str, ...] | None:
        """Those of this kind of run."""
        return self.full if full else self.short


PLANNED: dict[str, Planned] = {
    "import_time": Planned(),
    "read": Planned(("--rounds", "2"), ()),
    "tissue": Planned(),
    "augment": Planned(("--rounds", "3", "--steps", "8"), ()),
    "forward": Planned(),
    "encode": Planned(("--patches", "32"), ("--rounds", "5", "--dense")),
    "decode": Planned(),
    "stitch": Planned(("--mm2", "1"), ()),
    "measure": Planned(),
    "store": Planned(),
    "query": Planned(("--nuclei", "200000"), ()),
    "whole_slide": Planned(("--rounds", "2"), ("--rounds", "5")),
    "features": Planned(("--rounds", "2"), ("--side-mm", "2")),
    "scaling": Planned(("--mm2", "16"), ("--mm2", "1", "16", "64", "--rounds", "2")),
    "workers": Planned(("--rounds", "2"), ("--mm2", "4", "--rounds", "5")),
    "kept_accuracy": Planned(("--first", "2"), ()),
    "tiles": Planned(("--side-px", "2048"), ()),
    "compress": Planned(("--side-px", "0", "--rounds", "2"), ()),
    "memory": Planned(None, ()),
    "cerberus_window": Planned(("--rounds", "1"), ()),
    "training_step": Planned(("--rounds", "1"), ()),
    "frozen": Planned(("--rounds", "2"), ()),
    "encoder_training": Planned(("--batch", "16", "--rounds", "1"), ()),
    "slide_cnn": Planned(("--rounds", "1"), ()),
    "painting": Planned(("--side-mm", "0.5", "--rounds", "2"), ()),
    "accuracy": Planned(None, ()),
    "plane": Planned(None, None),
    "stain": Planned(None, ()),
    "topology": Planned(None, ("--cost",)),
    "slide_tasks": Planned(None, ("--encoder", "geryon-s")),
    "code_choice": Planned(None, ()),
    "batchnorm": Planned(None, None),
    "synthetic_cohort": Planned(None, ("--slides", "40", "--size-mm", "1.2x1.2", "--epochs", "150")),
    "digits": Planned(None, ("--seen", "0")),
    "gpu": Planned(None, None),
}
"""In the order in which they run."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PLANNED, default=None)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--out", type=Path, help="append the lines to this file too")
    parser.add_argument("--compare", type=Path, metavar="OLD.jsonl", help="lines of an earlier run")
    args = parser.parse_args()
    old = read_lines(args.compare) if args.compare else []
    lines, failed = [], []
    for name, words in chosen(args.only, full=args.full):
        for told in run(name, words, FULL_LIMIT_S if args.full else SHORT_LIMIT_S):
            write(told, args.out)
            lines.append(told)
            failed += [name] if told.get("failed") else []
    good = [told for told in lines if not faults(told)]
    sys.stderr.write("\n" + table(good))
    if args.compare:
        sys.stderr.write("\n" + comparison(good, old))
    if len(good) < len(lines):
        sys.stderr.write(f"\n{len(lines) - len(good)} lines are not of the common form and stand in no table\n")
    if failed:
        sys.stderr.write(f"\nfailed: {', '.join(failed)}\n")
    return bool(failed)


def chosen(only: Sequence[str] | None, *, full: bool) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Names and words of the benchmarks of a run."""
    for name, planned in PLANNED.items():
        words = planned.words(full=full)
        if only is None and words is not None:
            yield name, words
        elif only is not None and name in only:
            yield name, words or ()


def run(name: str, words: Sequence[str], limit_s: float) -> Iterator[Line]:
    """The lines of a benchmark as it prints them; one more where it fails."""
    if find_spec(f"benchmarks.{name}") is None:
        yield line(name, "what the benchmark asks", **missing("there is no such benchmark yet"))
        return
    command = [sys.executable, "-m", f"benchmarks.{name}", *words]
    late = threading.Event()
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, start_new_session=True)

        def stop() -> None:
            late.set()
            os.killpg(process.pid, signal.SIGKILL)  # what it has started goes too

        timer = threading.Timer(limit_s, stop)
        timer.start()
        try:
            assert process.stdout is not None
            for text in process.stdout:
                yield parsed(text)
            code = process.wait()
        finally:
            timer.cancel()
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        said.seek(0)
        last = said.read().strip().splitlines()[-1:]
    if code:
        why = f"took longer than {limit_s:g} s" if late.is_set() else f"failed ({code}): {''.join(last)}"
        yield line(name, question_of(name), **missing(why), failed=True)


def parsed(text: str) -> Line:
    """A line as it was printed; what is no JSON is kept as it stands."""
    try:
        told = json.loads(text)
    except ValueError:
        return {"printed": text.rstrip("\n")}
    return told if isinstance(told, dict) else {"printed": told}


def write(told: Line, out: Path | None) -> None:
    text = json.dumps(told, ensure_ascii=False) + "\n"
    sys.stdout.write(text)
    sys.stdout.flush()
    if out:
        with out.open("a", encoding="utf-8") as file:
            file.write(text)


def question_of(name: str) -> str:
    """What a benchmark asks: the first line of its file, which is not run."""
    spec = find_spec(f"benchmarks.{name}")
    assert spec is not None and spec.origin is not None
    return (ast.get_docstring(ast.parse(Path(spec.origin).read_text(encoding="utf-8"))) or "").partition("\n")[0]


def read_lines(path: Path) -> list[Line]:
    """The lines of an earlier run that are of the common form."""
    lines = [parsed(text) for text in path.read_text(encoding="utf-8").splitlines()]
    return [told for told in lines if not faults(told)]


def table(lines: Sequence[Line]) -> str:
    """Benchmark, question and size, value, what was asked, and whether it was met."""
    met = {True: "met", False: "MISSED", None: ""}
    rows = [("benchmark", "what", "value", "asked", "")]
    for told in lines:
        value = "" if told["value"] is None else f"{told['value']:g} {told['unit']}"
        sign = "<=" if told["better"] == "lower" else ">="
        asked = "" if told["asked"] is None else f"{sign} {told['asked']:g}"
        last = f"skipped: {told['skipped']}" if told["value"] is None else met[told["met"]]
        rows.append((told["benchmark"], what(told), value, asked, last))
    return columns(rows)


def comparison(lines: Sequence[Line], old: Sequence[Line]) -> str:
    """New / old of what was measured both times."""
    before = {key(told): told["value"] for told in old if told["value"]}
    rows = [("benchmark", "what", "old", "new", "new / old", "")]
    for told in lines:
        then, now = before.get(key(told)), told["value"]
        if then and now is not None:
            ratio = now / then
            turned = "" if ratio == 1 else "better" if (ratio < 1) == (told["better"] == "lower") else "worse"
            rows.append((told["benchmark"], what(told), f"{then:g}", f"{now:g}", f"{ratio:.3f}", turned))
    return columns(rows)


def key(told: Line) -> tuple[str, str, str]:
    """Lines of one key answer the same question."""
    return told["benchmark"], told["question"], json.dumps(told["size"], sort_keys=True)


def what(told: Line) -> str:
    sizes = ", ".join(f"{name} {value}" for name, value in told["size"].items())
    return f"{told['question']} ({sizes})" if sizes else str(told["question"])


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows as text, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join("  ".join(map(str.ljust, row, widths)).rstrip() + "\n" for row in rows)


if __name__ == "__main__":
    sys.exit(main())
