"""The command line: help that loads nothing, exit codes, one sentence an error."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from geryon import cli, events
from geryon.cli import COMMANDS, command_parser, every_command, listen, main
from geryon.errors import GeryonError, MachineError, SomeFailedError


@pytest.mark.parametrize("name", every_command())
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*name.split(), "--help"])
    assert stop.value.code == 0
    assert "--quiet" in capsys.readouterr().out


@pytest.mark.parametrize("name", every_command())
def test_every_command_parses_and_runs(name: str) -> None:
    module = import_module(every_command()[name][0])
    assert callable(module.run)
    assert command_parser(name, module).prog == f"geryon {name}"


def test_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sement"]) == 2
    assert "segment" in capsys.readouterr().err


def test_overview_lists_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


def test_a_group_lists_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["slides"]) == 0
    assert "predict" in capsys.readouterr().out
    assert main(["slides", "fti"]) == 2
    assert "'slides fti'" in capsys.readouterr().err


class Raising:
    """A command that meets this error."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def arguments(self, parser: object) -> None:
        pass

    def run(self, args: object) -> int:
        raise self.error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (KeyboardInterrupt(), 130),
        (MemoryError(), 5),
        (OSError(28, "No space left on device"), 5),
        (OSError(30, "Read-only file system"), 5),
        (PermissionError(13, "Permission denied"), 5),
        (MachineError(what="the disk is full"), 5),
        (SomeFailedError(what="1 of 2 inputs failed"), 6),
    ],
)
def test_exit_codes(error: BaseException, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    module = Raising(error)
    args = command_parser("info", module).parse_args([])  # type: ignore[arg-type]
    assert cli.run(module, args) == code  # type: ignore[arg-type]
    told = capsys.readouterr().err.strip()
    assert told.startswith("geryon: ") and "\n" not in told


def test_error_classes_have_the_codes_of_the_contract() -> None:
    codes = {kind.__name__: kind.exit_code for kind in GeryonError.__subclasses__()}
    expected = {"UsageError": 2, "InputError": 3, "MissingPartError": 4, "MachineError": 5, "SomeFailedError": 6}
    assert codes == expected


def test_a_missing_slide_and_a_missing_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tmp_path / "nothing.svs")]) == 3
    assert "nothing.svs" in capsys.readouterr().err
    image = tmp_path / "a.png"
    import cv2

    cv2.imwrite(str(image), np.full((64, 64, 3), 255, np.uint8))
    assert main(["segment", str(image), "--out", str(tmp_path / "out"), "--model", "no-such-model"]) == 2
    assert "no-such-model" in capsys.readouterr().err


def test_module_entry() -> None:
    done = subprocess.run([sys.executable, "-m", "geryon", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("geryon ")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A white picture, which `geryon info` can tell about."""
    import cv2

    path = tmp_path / "white.png"
    cv2.imwrite(str(path), np.full((64, 64, 3), 255, np.uint8))
    return path


def test_an_option_before_the_command_is_refused_not_lost(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--quiet", "info", "nothing.svs"])
    assert stop.value.code == 2
    assert "--quiet" in capsys.readouterr().err


def info_with(picture: Path, *, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
    """`geryon info` in a process of its own."""
    words = [sys.executable, "-m", "geryon", "info", str(picture), "--mpp", "0.5", "--json"]
    return subprocess.Popen(words, env={**os.environ, "TERM": "xterm"}, stdout=stdout, stderr=stderr)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_results_reach_a_file_while_bars_go_to_a_terminal(picture: Path) -> None:
    import pty

    ours, theirs = pty.openpty()
    run = info_with(picture, stdout=subprocess.PIPE, stderr=theirs)
    out, _ = run.communicate(timeout=120)
    os.close(theirs)
    os.close(ours)
    assert run.returncode == 0
    assert b'"width_px": 64' in out


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pipe that breaks")
def test_a_reader_that_goes_away_is_no_error(picture: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    run = info_with(picture, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    _, err = run.communicate(timeout=120)
    assert (run.returncode, err) == (0, b"")


def test_the_log_holds_what_stopped_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.txt"
    assert main(["info", str(tmp_path / "nothing.svs"), "--log", str(log)]) == 3
    kept = log.read_text(encoding="utf-8")
    assert "stopped: " in kept and "nothing.svs" in kept
    capsys.readouterr()
    assert main(["info", "nothing.svs", "--log", str(tmp_path / "no" / "log.txt")]) == 5
    assert "opening the log" in capsys.readouterr().err


def test_quiet_keeps_warnings_and_a_log_keeps_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log.txt"
    with listen.listening(quiet=True, log=log) as listener:
        listener.say("found 12 nuclei")
        listener.tell(events.Started(stage="segment", total=4, unit="windows"))
        listener.tell(events.Warned(text="half of it is glass"))
        listener.tell(events.Finished(stage="segment", seconds=2.0))
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "warning: half of it is glass\n")
    kept = [line.split(" ", 2)[2] for line in log.read_text(encoding="utf-8").splitlines()]
    assert kept == ["found 12 nuclei", "warning: half of it is glass", "segment: 0 windows in 2.0 s"]


def test_lines_away_from_a_terminal_tell_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 105.0, 120.0, 121.0])
    monkeypatch.setattr(listen.time, "monotonic", lambda: next(clock))
    told: list[str] = []
    hear = listen._lines(told.append)
    hear(events.Started(stage="segment", total=100, unit="windows", done=20))
    hear(events.Advanced(stage="segment", n=10))  # too soon after the start for a line
    hear(events.Advanced(stage="segment", n=30, note="1.00 mm²"))
    hear(events.Advanced(stage="segment", n=1))
    assert told == ["segment: 60 of 100 windows, 2 a second, 20 s left (1.00 mm²)"]


def test_bars_are_one_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with listen._bars() as bars:
        for done in (0, 3):  # two slides
            bars.hear(events.Started(stage="segment", total=10, unit="windows", done=done))
            bars.hear(events.Advanced(stage="segment", n=2))
        bars.hear(events.Started(stage="pack", total=0, unit="samples"))
        assert [(task.description, task.completed, task.total) for task in bars.progress.tasks] == [
            ("segment", 5, 10),
            ("pack", 0, None),
        ]
