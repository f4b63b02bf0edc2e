"""What the documents say can be done: commands parse and name what is there, Python compiles and finds its names, links
lead somewhere."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from geryon import plugins
from geryon.cli import GROUPS, command_parser, every_command
from geryon.cohort.models import MODELS
from geryon.cohort.targets import TARGETS
from geryon.flows.measure import MEASURES
from geryon.nets.catalogue import names_model, shipped_models
from geryon.nets.engine import ENGINES
from geryon.nets.foreign import IMPORTERS
from geryon.slides.normalise import NORMALISERS
from geryon.slides.reader import READERS
from geryon.store.bags import BAGS
from geryon.store.export import EXPORTERS
from geryon.tasks.task import TASKS
from geryon.train.recipe import parse_recipe
from geryon.train.source import SOURCES
from tests.conftest import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def commands(path: Path) -> list[str]:
    blocks = re.findall(r"```\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.S)
    lines = [line.split("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("geryon ")]


@pytest.mark.parametrize("line", [line for path in DOCUMENTS for line in commands(path)])
def test_commands_in_documents_parse(line: str) -> None:
    assert unknown_values(parsed(line)) == []


def parsed(line: str) -> argparse.Namespace:
    _, name, *words = shlex.split(line)
    if name in GROUPS:
        name, words = f"{name} {words[0]}", words[1:]
    return command_parser(name, import_module(every_command()[name][0])).parse_args(words)


def unknown_values(args: argparse.Namespace) -> list[str]:
    """Values of a command line that name what no table has."""
    tables = {
        "tasks": plugins.names(TASKS, "geryon.tasks"),
        "measures": plugins.names(MEASURES, "geryon.measures"),
        "to": plugins.names(EXPORTERS, "geryon.exporters"),
        "layouts": plugins.names(BAGS, "geryon.bags"),
        "normalise": ["", *plugins.names(NORMALISERS, "geryon.normalisers")],
        "engine": ["auto", *plugins.names(ENGINES, "geryon.engines")],
        "reader": plugins.names(READERS, "geryon.readers"),
        "source": plugins.names(SOURCES, "geryon.sources"),
        "kind": plugins.names(IMPORTERS, "geryon.importers"),
        "model": shipped_models(),
        "slide_network": plugins.names(MODELS, "geryon.slide_models"),
        "target": ["", *plugins.names(TARGETS, "geryon.slide_targets")],
    }
    if getattr(args, "recipe", None):
        del tables["source"]  # the recipe names it
    found = []
    for key, known in tables.items():
        given = getattr(args, key, None)
        values = [str(v) for v in (given if isinstance(given, list | tuple) else [given]) if v is not None]
        if key == "engine":  # several by commas, each maybe with the number of a card
            values = [part.partition(":")[0] for value in values for part in str(value).split(",")]
        # A model may also be a file of the reader's own, or lie on a hub.
        found += [f"{key} {v}" for v in values if v not in known and not (key == "model" and names_model(v))]
    return found


@pytest.mark.parametrize(
    "line",
    [
        "geryon segment a.svs --out b --tasks nuclei,bones",
        "geryon segment a.svs --out b --model geryon-xl",
        "geryon segment a.svs --out b --engine tpu",
        "geryon segment a.svs --out b --engine cuda:0,tpu:1",
        "geryon segment a.svs --out b --measures shape,weight",
        "geryon segment a.svs --out b --normalise vahadane",
        "geryon export b/a --to docx",
        "geryon compress a.svs --out b --encoder mean-rgb --to h5,docx",
        "geryon import-weights hovernet a.tar --out b.safetensors",
        "geryon evaluate geryon-s --source nowhere --root a",
        "geryon info a.svs --reader magic",
        "geryon slides fit a.csv --label b --out c --model transformer",
        "geryon slides fit a.csv --label b --out c --target guess",
    ],
)
def test_a_name_that_no_table_has_is_found(line: str) -> None:
    assert len(unknown_values(parsed(line))) == 1


PYTHON = [
    (path, block)
    for path in DOCUMENTS
    for block in re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), flags=re.S)
]


def missing_names(block: str) -> list[str]:
    """What a piece of Python takes from geryon that is not there; SyntaxError where it is no Python."""
    tree = ast.parse(block)
    asked = [
        (n.module or "", alias.name)
        for n in ast.walk(tree)
        if isinstance(n, ast.ImportFrom)
        for alias in n.names
        if (n.module or "").split(".")[0] == "geryon"
    ]
    asked += [
        ("geryon", n.attr)
        for n in ast.walk(tree)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "geryon"
    ]
    modules = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    missing = [m for m in modules if m.split(".")[0] == "geryon" and find_spec(m) is None]
    return missing + [f"{m}.{name}" for m, name in asked if not _has(m, name)]


def _has(module: str, name: str) -> bool:
    try:
        return hasattr(import_module(module), name) or find_spec(f"{module}.{name}") is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.parametrize(("path", "block"), PYTHON, ids=lambda x: x.name if isinstance(x, Path) else "python")
def test_python_in_documents_compiles_and_finds_its_names(path: Path, block: str) -> None:
    assert missing_names(block) == []


def test_there_is_python_in_the_documents_and_faults_in_it_are_found() -> None:
    assert PYTHON
    assert missing_names("import geryon\ngeryon.segmint(1)") == ["geryon.segmint"]
    assert missing_names("from geryon.nets.model import load_model, load_modle") == ["geryon.nets.model.load_modle"]
    assert missing_names("from geryon.nowhere import x") == ["geryon.nowhere.x"]
    with pytest.raises(SyntaxError):
        missing_names("geryon.segment(")


SETTINGS = [
    (path, block)
    for path in DOCUMENTS
    for block in re.findall(r"```yaml\n(train:.*?)```", path.read_text(encoding="utf-8"), flags=re.S)
]


@pytest.mark.parametrize(("path", "block"), SETTINGS, ids=lambda x: x.name if isinstance(x, Path) else "yaml")
def test_training_settings_in_documents_are_right(path: Path, block: str) -> None:
    head = "name: a\nlicence: open\ntasks: [tissue]\nsources: [{name: kather_crc}, {name: synthetic}]\n"
    assert parse_recipe(head + block).train.steps > 0


def test_the_readme_has_commands() -> None:
    assert len(commands(ROOT / "README.md")) >= 3


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(((?!https?:|#)[^)]+)\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link.split("#")[0]).exists()] == []


@pytest.mark.parametrize("name", ["geryon-s", "geryon-s-research", "geryon-s-research-signet_ring"])
def test_shipped_models_open_and_say_their_terms(name: str) -> None:
    from geryon.nets.catalogue import find_model
    from geryon.nets.weights import read_document

    path = find_model(name)
    document = read_document(path)
    assert path.stat().st_size <= 10_000_000
    assert document.name == name and (document.use == "research") == ("research" in name)
    card = path.with_suffix(".md").read_text(encoding="utf-8")
    assert all(source.name in card and source.licence in card for source in document.sources)
