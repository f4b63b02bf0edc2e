"""The command line: help that loads nothing, exit codes, one sentence an error."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from geryon import cli
from geryon.cli import COMMANDS, command_parser, main
from geryon.errors import GeryonError, MachineError, SomeFailedError


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([name, "--help"])
    assert stop.value.code == 0
    assert "--quiet" in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_parses_and_runs(name: str) -> None:
    module = import_module(COMMANDS[name][0])
    assert callable(module.run)
    assert command_parser(name, module).prog == f"geryon {name}"


def test_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sement"]) == 2
    assert "segment" in capsys.readouterr().err


def test_overview_lists_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in COMMANDS)


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
