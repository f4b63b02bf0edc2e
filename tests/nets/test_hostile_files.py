"""A model file is data: whatever it says, no code of its choosing is imported or run."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from geryon.errors import InputError
from geryon.nets import weights
from geryon.nets.model import load_model
from geryon.nets.network import filled
from geryon.nets.weights import ModelDocument, TaskDocument, read_document

DOCUMENT = ModelDocument(
    name="bad", version="1", topology="geryon-s", tasks=(TaskDocument(name="lumina"),), settings={"encoder": "plain"}
)
PATHS = ("this_attack:run", "geryon.this_attack:run", "geryon.tasks.this_attack:TASK", ":", "x:", ":y", "cProfile:run")


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Modules that leave a file when they are imported, and another when they are called."""
    hit = tmp_path / "hit"
    code = f"open({str(hit)!r}, 'w').close()\ndef run(*a): open({str(hit)!r}, 'w').close()\nTASK = run\n"
    (tmp_path / "this_attack.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("geryon.__path__", [*sys.modules["geryon"].__path__, str(tmp_path)])
    monkeypatch.setattr("geryon.tasks.__path__", [*sys.modules["geryon.tasks"].__path__, str(tmp_path)])
    return hit


def written(folder: Path, **change: Any) -> Path:
    path = folder / "m.safetensors"
    raw = json.loads(json.dumps(asdict(DOCUMENT))) | change
    save_file({"x": np.zeros(2, np.float32)}, path, metadata={weights.KEY: json.dumps(raw)})
    return path


def said(path: Path) -> str:
    """The fault, which both ways to read the file must find."""
    with pytest.raises(InputError) as caught:
        load_model(path, engine="cpu")
    with pytest.raises(InputError):
        read_document(path)
    assert caught.value.exit_code == 3
    return str(caught.value)


@pytest.mark.parametrize("name", PATHS)
def test_a_topology_named_by_a_path_is_refused_and_nothing_runs(tmp_path: Path, trap: Path, name: str) -> None:
    assert f"no topology is called {name!r}" in said(written(tmp_path, topology=name))
    assert not trap.exists()


@pytest.mark.parametrize("name", PATHS)
def test_a_task_named_by_a_path_is_refused_and_nothing_runs(tmp_path: Path, trap: Path, name: str) -> None:
    assert f"no task is called {name!r}" in said(written(tmp_path, tasks=[{"name": "lumina"}, {"name": name}]))
    assert not trap.exists()


def test_the_engine_looks_up_too_whoever_made_the_document(trap: Path) -> None:
    with pytest.raises(InputError, match="no topology is called"):
        filled(replace(DOCUMENT, topology="this_attack:run"), {}, ())
    assert not trap.exists()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000])
def test_a_document_nested_without_end_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "deep.safetensors"
    save_file({"x": np.zeros(2, np.float32)}, path, metadata={weights.KEY: text})
    assert "document" in said(path)


@pytest.mark.parametrize(("key", "name"), [("topology", "giant"), ("tasks", [{"name": "bones"}])])
def test_an_unknown_name_is_the_files_fault(tmp_path: Path, key: str, name: Any) -> None:
    assert "is called" in said(written(tmp_path, **{key: name}))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mpp": 0}, "mpp is 0"),
        ({"mpp": "0.5"}, "mpp is '0.5'"),
        ({"mpp": True}, "mpp is True"),
        ({"windows": {"default": {"window_px": 0}}}, "window_px of windows 'default' is 0"),
        ({"windows": {"default": {"window_px": 1e9}}}, "window_px of windows 'default'"),
        ({"windows": {"default": {"halo_px": -8}}}, "halo_px of windows 'default' is -8"),
        ({"windows": {"default": {"window_px": 1001}}}, "no multiple of 16"),
        ({"windows": {"default": {"window": 64}}}, "must give window_px and halo_px only"),
        ({"windows": []}, "windows is [], not an object"),
        ({"calibration": 3}, "calibration is 3, not an object"),
        ({"calibration": {"glands": {}}}, "the calibration of glands is {}"),
        ({"calibration": {"lumina": {"heat": 1}}}, "must give class_temperature, score_temperature, score_shift"),
        ({"calibration": {"lumina": {"score_temperature": 0}}}, "score_temperature of lumina is 0, must be 0.05 to 20"),
        ({"calibration": {"lumina": {"score_shift": "1"}}}, "score_shift of lumina is '1'"),
        ({"settings": 3}, "settings is 3, not an object"),
        ({"topology": ["geryon-s"]}, "topology is ['geryon-s'], not a text"),
        ({"tasks": []}, "names no task"),
        ({"tasks": [{"name": "lumina", "mpp": 0.1}]}, "must be a whole number"),
        ({"tasks": [{"name": "lumina", "mpp": 0}]}, "the mpp of lumina is 0"),
        ({"tasks": [{"name": "lumina", "classes": [["a", []]]}]}, "lumina has classes"),
        ({"tasks": [{"name": "nuclei", "classes": [["a", []], ["a", []]]}]}, "stands twice"),
        (
            {"sources": [{"name": "s", "licence": "l", "use": "research"}]},
            "it says open use, but some of its sources do not: s",
        ),
        ({"sources": [{"name": "s", "licence": "l", "use": "any"}]}, "the use of source s is 'any'"),
    ],
)
def test_values_that_can_not_be_are_told_when_the_file_is_read(tmp_path: Path, change: Any, says: str) -> None:
    assert says in said(written(tmp_path, **change))


@pytest.mark.parametrize(
    "settings",
    [{"encodr": "plain"}, {"encoder": "giant"}, {"encoder": ["plain"]}, {"decoder": [4, 4]}, {"fine": [0, 4]}],
)
def test_settings_that_a_topology_does_not_have_are_the_files_fault(tmp_path: Path, settings: Any) -> None:
    with pytest.raises(InputError, match="settings of the network") as caught:
        load_model(written(tmp_path, settings=settings), engine="cpu")
    assert next(iter(settings)) in str(caught.value)


def test_heads_that_a_topology_does_not_have_are_the_files_fault(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cerberus has no map"):
        load_model(written(tmp_path, topology="cerberus", settings={}), engine="cpu")
    with pytest.raises(InputError, match="no maps at the resolution"):
        load_model(written(tmp_path, tasks=[{"name": "lumina", "mpp": 1.5}]), engine="auto")
