"""The house keeps its own rules: sizes, tables, laziness, silence."""

from __future__ import annotations

import ast
import doctest
import importlib
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import geryon
from geryon import plugins
from tests.conftest import ROOT

SOURCE = ROOT / "src" / "geryon"
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = sorted(
    ".".join(["geryon", *p.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")
    for p in FILES
    if p.name != "__main__.py"
)
PARAMETERS = 5
STORY_PARAMETERS = 8
"""Of a public story: one subject, the rest by keyword."""
GRANTED = {"evaluate": 2, "train": 4, "ovals": 5, "predict_slides": 2}
"""Stories with more subjects than one: a model and its cases; a network and what it learns; columns of one table."""


def functions(path: Path) -> list[ast.FunctionDef]:
    return [n for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.FunctionDef)]


def lines(f: ast.FunctionDef) -> int:
    return (f.end_lineno or f.lineno) - f.lineno + 1


def test_sizes_of_functions_and_files() -> None:
    every = [(lines(f), f"{p.relative_to(ROOT)}:{f.lineno} {f.name}") for p in FILES for f in functions(p)]
    median = statistics.median(n for n, _ in every)
    ninetieth = statistics.quantiles([n for n, _ in every], n=10)[-1]
    assert [name for n, name in every if n > 60] == []
    assert median <= 12 and ninetieth <= 35, (median, ninetieth)
    assert [str(p) for p in FILES if len(p.read_text(encoding="utf-8").splitlines()) > 500] == []


def test_parameters() -> None:
    faults = []
    for path in FILES:
        for f in functions(path):
            given = [a for a in (*f.args.posonlyargs, *f.args.args) if a.arg not in ("self", "cls")]
            total = len(given) + len(f.args.kwonlyargs)
            subjects = GRANTED.get(f.name, 1)
            story = not f.name.startswith("_") and total <= STORY_PARAMETERS and len(given) <= subjects
            # Compiled functions take numbers and arrays only, so a settings value can't shorten their lists.
            compiled = any("jit" in ast.unparse(d) or "compiled" in ast.unparse(d) for d in f.decorator_list)
            if total > PARAMETERS and not story and not compiled:
                faults.append(f"{path.relative_to(ROOT)}:{f.lineno} {f.name} takes {total}")
    assert faults == []


def test_every_string_of_every_table_loads() -> None:
    found = 0
    for path in FILES:
        for text in re.findall(r'"(geryon(?:\.\w+)+:\w+)"', path.read_text(encoding="utf-8")):
            plugins.load(text)
            found += 1
    assert found > 20


def test_public_names_are_sorted_and_load() -> None:
    assert geryon.__all__ == sorted(geryon._PUBLIC)
    for name in geryon.__all__:
        assert callable(getattr(geryon, name))
    with pytest.raises(AttributeError, match="no attribute"):
        _ = geryon.nothing_of_the_kind  # type: ignore[attr-defined]


HEAVY = (
    *("torch", "pyarrow", "numpy", "cv2", "numba", "scipy", "tifffile", "rich"),
    *("pydantic", "yaml", "zarr", "openslide", "shapely", "safetensors", "pandas"),
)


@pytest.mark.parametrize("code", ["import geryon", "from geryon.cli import main; main(['--help'])"])
def test_import_and_help_load_nothing_heavy(code: str) -> None:
    script = f"""
import sys
try:
    {code}
except SystemExit:
    pass
print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def loudness(tree: ast.AST) -> list[str]:
    """What speaks to a person without being asked: print, progress bars, set-up of logging."""
    called = [ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)]
    imported = [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
    imported += [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    loud = [name for name in called if name == "print" or name.endswith("basicConfig")]
    return loud + [name for name in imported if name.split(".")[0] in ("tqdm", "rich")]


def test_only_the_command_line_speaks() -> None:
    quiet = [path for path in FILES if "cli" not in path.relative_to(SOURCE).parts]
    found = {str(path): loudness(ast.parse(path.read_text(encoding="utf-8"))) for path in quiet}
    assert {path: loud for path, loud in found.items() if loud} == {}


def test_no_path_of_one_machine_in_the_repository() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    # Written in parts, so that this file does not find itself.
    pattern = re.compile(rb"(?<![\w./-])/(?:" + b"|".join([b"work", b"root", b"home", b"Users", b"tmp"]) + rb")/\w")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    # Of a model file the document comes first; the numbers behind it are no text.
    assert [str(p) for p in paths if p.is_file() and pattern.search(p.read_bytes()[:500_000])] == []


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings(module: str) -> None:
    if importlib.util.find_spec("wsidicom") is None and module.endswith("slides.dicom"):
        pytest.skip("the extra dicom is not installed")
    result = doctest.testmod(importlib.import_module(module))
    assert result.failed == 0
