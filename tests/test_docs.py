"""What the documents say can be done: commands parse, Python runs, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from geryon.cli import COMMANDS, command_parser
from tests.conftest import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def commands(path: Path) -> list[str]:
    blocks = re.findall(r"```\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.S)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("geryon ")]


@pytest.mark.parametrize("line", [line for path in DOCUMENTS for line in commands(path)])
def test_commands_in_documents_parse(line: str) -> None:
    _, name, *words = shlex.split(line)
    command_parser(name, import_module(COMMANDS[name][0])).parse_args(words)


def test_the_readme_has_commands() -> None:
    assert len(commands(ROOT / "README.md")) >= 3


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(((?!https?:|#)[^)]+)\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link.split("#")[0]).exists()] == []


@pytest.mark.parametrize("name", ["geryon-s", "geryon-s-research"])
def test_shipped_models_open_and_say_their_terms(name: str) -> None:
    from geryon.nets.model import find_model
    from geryon.nets.weights import read_document

    path = find_model(name)
    document = read_document(path)
    assert path.stat().st_size <= 10_000_000
    assert document.name == name and (document.use == "research") == name.endswith("research")
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert all(source.name in card and source.licence in card for source in document.sources)
