"""One way to give several names, in every command that takes tasks."""

from __future__ import annotations

from importlib import import_module

import pytest

from geryon.cli import COMMANDS, command_parser

REST = {
    "segment": ["a.svs", "--out", "o"],
    "evaluate": ["geryon-s", "--source", "glas", "--root", "r"],
    "export": ["o/a", "--to", "csv"],
}


def tasks_of(command: str, *words: str) -> list[str] | None:
    parser = command_parser(command, import_module(COMMANDS[command][0]))
    asked: list[str] | None = parser.parse_args([*REST[command], *words]).tasks
    return asked


@pytest.mark.parametrize("command", REST)
@pytest.mark.parametrize(
    "words",
    [
        ["--tasks", "nuclei,glands"],
        ["--task", "nuclei,glands"],
        ["--task", "nuclei", "--task", "glands"],
        ["--tasks", "nuclei", "--task=glands"],
        ["--tasks", " nuclei , glands "],
    ],
)
def test_tasks_by_commas_or_given_again(command: str, words: list[str]) -> None:
    assert tasks_of(command, *words) == ["nuclei", "glands"]
    assert tasks_of(command, *words) == ["nuclei", "glands"], "nothing is left of an earlier call"


@pytest.mark.parametrize("command", REST)
def test_without_it_all_are_asked(command: str) -> None:
    assert tasks_of(command) is None


@pytest.mark.parametrize("text", ["", ",", "nuclei,,glands", "nuclei,"])
def test_a_missing_name_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        tasks_of("segment", "--tasks", text)
    assert stop.value.code == 2
    assert "a name is missing" in capsys.readouterr().err
