"""Benchmarks are listed, ask one question each, print lines of one form, and do not stop one another."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from benchmarks import machine, repeated, run_all
from tests.conftest import ROOT

FOLDER = ROOT / "benchmarks"
SHARED = {"__init__", "machine", "run_all", "repeated", "finished", "nets", "virtual"}
"""Files that others use and nobody runs."""
WRITTEN = sorted(name for name in run_all.PLANNED if find_spec(f"benchmarks.{name}"))
QUICK = {
    "import_time": ("--rounds", "1"),
    "store": ("--nuclei", "300", "--rounds", "1"),
    "query": ("--nuclei", "3000", "--rounds", "1"),
}


def lines_of(name: str, *words: str) -> list[dict]:
    command = [sys.executable, "-m", f"benchmarks.{name}", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_every_file_that_can_be_run_is_listed() -> None:
    runnable = {p.stem for p in FOLDER.glob("*.py") if "def main(" in p.read_text(encoding="utf-8")} - SHARED
    assert runnable == set(WRITTEN)


@pytest.mark.parametrize("name", WRITTEN)
def test_each_can_be_imported_asks_one_question_and_stands_in_the_documents(name: str) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    assert callable(module.main)
    question = run_all.question_of(name)
    assert question.count("?") >= 1 and len(question) <= 120, question
    assert f"| `{name}` |" in (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", QUICK)
def test_lines_are_of_the_common_form(name: str) -> None:
    lines = lines_of(name, *QUICK[name])
    assert len(lines) >= 3
    for line in lines:
        assert machine.faults(line) == []
        assert line["benchmark"] == name and line["value"] > 0 and 0 < line["peak_gib"] < 64
    assert len({run_all.key(line) for line in lines}) == len(lines), "two lines answer the same question"


def test_a_benchmark_without_its_data_says_so_and_ends_well(tmp_path: Path) -> None:
    [line] = lines_of("batchnorm", "--out", str(tmp_path))
    assert machine.faults(line) == [] and line["value"] is None and "--samples" in line["skipped"]


def test_what_is_met_follows_from_what_is_asked() -> None:
    def met(value: float | None, asked: float | None, better: str) -> bool | None:
        return machine.line("a", "b", value=value, unit="s", asked=asked, better=better)["met"]

    assert [met(1, 1, "lower"), met(2, 1, "lower"), met(2, 1, "higher"), met(1, 2, "higher")] == [
        True,
        False,
        True,
        False,
    ]
    assert met(1, None, "lower") is None and met(None, 1, "lower") is None
    assert met(float(np.float32(0.5)), 1, "lower") is True


def test_faults_of_lines_are_found() -> None:
    good = machine.line("a", "b", value=1.0, unit="s")
    assert machine.faults(good) == []
    assert machine.faults({**good, "value": "1 s"}) and machine.faults({**good, "better": "more"})
    assert machine.faults({**good, "value": None}) and machine.faults({**good, "question": "two\nlines"})
    assert machine.faults({k: v for k, v in good.items() if k != "machine"}) == ["machine is missing"]
    assert machine.faults([good])


def test_calls_are_timed_in_turn_and_the_first_round_is_not_counted() -> None:
    called: list[str] = []
    taken = machine.interleaved({name: lambda name=name: called.append(name) for name in "ab"}, 3)
    assert called == list("abababab")
    assert [len(seconds.wall) for seconds in taken.values()] == [3, 3]


def test_medians_ratios_and_rates() -> None:
    slow, fast = machine.Seconds((2.0, 4.0, 60.0), (2.0, 4.0, 6.0)), machine.Seconds((1.0, 1.0, 30.0), (1.0, 1.0, 1.0))
    assert slow.each(2) == {"value": 2.0, "low": 1.0, "high": 30.0, "core_seconds": 2.0, "rounds": 3}
    assert slow.rate(12, of="cpu") == {"value": 3.0, "low": 2.0, "high": 6.0, "rounds": 3}
    # Round by round: a round that was slow for both changes nothing.
    assert machine.ratio_of(slow, fast) == {"value": 2.0, "low": 2.0, "high": 4.0, "rounds": 3, "of_core_seconds": 4.0}


def test_the_machine_is_named_without_loading_what_is_measured() -> None:
    script = (
        "import sys, benchmarks.machine as m; m.about(); print([n for n in ('torch', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert machine.about()["cores"] >= 1 and {"geryon", "torch"} <= set(machine.about()["versions"])


def test_one_that_fails_or_takes_too_long_does_not_stop_the_others(tmp_path: Path) -> None:
    lines = [line for name in ("tissue", "import_time") for line in run_all.run(name, ("--rounds", "x"), 60)]
    assert [line["benchmark"] for line in lines] == ["tissue", "import_time"]
    assert all(line["failed"] and "invalid int value" in line["skipped"] for line in lines)
    assert lines[1]["question"] == run_all.question_of("import_time")
    [late] = run_all.run("import_time", ("--rounds", "10000"), 0.5)
    assert "longer than 0.5 s" in late["skipped"] and machine.faults(late) == []
    [absent] = run_all.run("nothing_of_the_kind", (), 1)
    assert absent["value"] is None and "failed" not in absent


def test_short_and_full_runs_leave_out_what_only_a_name_asks_for() -> None:
    short, full = (dict(run_all.chosen(None, full=full)) for full in (False, True))
    assert set(short) < set(full) and not {"gpu", "batchnorm"} & set(full)
    assert "64" in full["scaling"] and "64" not in short["scaling"]
    assert list(run_all.chosen(["gpu"], full=False)) == [("gpu", ())]


def test_table_and_comparison(tmp_path: Path) -> None:
    old = machine.line("read", "pixels", value=2.0, unit="Mpx/s", better="higher", size={"by": 1})
    new = [
        machine.line("read", "pixels", value=3.0, unit="Mpx/s", better="higher", size={"by": 1}, asked=4),
        machine.line("read", "pixels", value=3.0, unit="Mpx/s", better="higher", size={"by": 2}),
        machine.line("read", "others", **machine.missing("no such file")),
    ]
    (tmp_path / "old.jsonl").write_text(json.dumps(old) + "\nnot a line\n", encoding="utf-8")
    first, *rows = run_all.comparison(new, run_all.read_lines(tmp_path / "old.jsonl")).splitlines()
    assert len(rows) == 1 and rows[0].split()[-2:] == ["1.500", "better"]
    rows = run_all.table(new).splitlines()
    assert rows[1].endswith(">= 4   MISSED") and rows[3].endswith("skipped: no such file")


def test_a_repeated_slide_is_the_same_square_everywhere_with_glass_around() -> None:
    square = np.random.default_rng(0).integers(0, 200, (64, 64, 3), np.uint8)
    reader = repeated.Repeated(square, side_px=512, tissue_px=256)
    whole = reader.read(0, (0, 0, 512, 512))
    assert (whole[128:192, 128:192] == square).all() and (whole[320:384, 192:256] == square).all()
    outside = np.ones((512, 512), bool)
    outside[128:384, 128:384] = False
    assert (whole[outside] == repeated.GLASS).all() and (whole[~outside] < 200).all()
    assert (reader.read(0, (100, 50, 300, 400)) == whole[50:400, 100:300]).all()
    assert square.max() < 200, "reading does not write into the square"
