"""Every registered task keeps the contract; nothing outside its file names it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from geryon.tasks.task import TASKS, get_task
from geryon.testing.tasks import TaskContract
from tests.conftest import ROOT


@pytest.mark.parametrize("name", TASKS)
class TestTasks(TaskContract):
    @pytest.fixture(autouse=True)
    def _named(self, name: str) -> None:
        self.name = name


def test_losses_of_every_task_are_finite_with_and_without_labels() -> None:
    import torch

    from geryon.train.losses import get_loss

    for name in TASKS:
        for m in get_task(name).maps:
            logits = torch.randn(2, m.channels, 8, 8, requires_grad=True)
            target = torch.zeros(2, m.channels, 8, 8)
            target[:, 0] = 1.0
            for weight in (torch.ones(2, 8, 8), torch.zeros(2, 8, 8)):
                loss = get_loss(m.loss)(logits, target, weight)
                loss.backward()
                assert torch.isfinite(loss) and logits.grad is not None and torch.isfinite(logits.grad).all()


SOURCE = ROOT / "src" / "geryon"
WORDS = {*TASKS, *(get_task(name).singular for name in TASKS)} - {""}
MAY_NAME = {
    "tasks/": "its own file, and the table of them",
    "train/sources/": "a source says which tasks it labels",
    "train/encoders/tasks/": "a patch task reads its source's labels",
    "train/evaluate.py": "protocols of evaluation are a task's own",
    "train/bright.py": "the same",
    "train/floors.py": "the same",
    "nets/topologies/cerberus.py": "the published network has these heads and no others",
    "slides/synthetic/": "it knows the truth of each task",
    "testing/exporters.py": "exporters are tried on results of nuclei",
}
MEANS_THE_MASK = {
    "--least-tissue",
    "--no-tissue",
    "--tissue-mask",
    "--tissue-mm2",
    "cli/info.py tissue",
    "nets/foreign/keras.py supervised-tissue",
    "slides/quality.py tissue",
    "store/features.py tissue",
    "tissue_mm2",
}
"""Tissue is also what stands on the glass, which no task is asked about."""


def named(path: Path) -> list[str]:
    """Strings of the file's code that hold a task's name or that of its objects; prose for people does not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    strings = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in docs]
    words = [s for s in strings if isinstance(s, str) and not re.search(r"\s", s)]
    return sorted(s for s in words if any(f"_{word}_" in f"_{re.sub(r'[^a-z]+', '_', s.lower())}_" for word in WORDS))


def test_nothing_outside_a_tasks_file_names_it() -> None:
    assert {"nuclei", "gland", "lumen", "tissue", "signet_ring"} <= WORDS
    faults = []
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE).as_posix()
        if not place.startswith(tuple(MAY_NAME)):
            faults += [f"{place} {s}" for s in named(path) if not {s, f"{place} {s}"} & MEANS_THE_MASK]
    assert faults == []


def test_what_is_excused_is_still_there() -> None:
    for place in MAY_NAME:
        files = sorted((SOURCE / place).rglob("*.py")) if place.endswith("/") else [SOURCE / place]
        assert any(named(path) for path in files), place


def test_parts_of_strings_count_but_prose_does_not(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    text = '"""glands"""\nx = f"{y}/nuclei.parquet", "gland_id", "find glands and nuclei", "England"\n'
    path.write_text(text + 'z = "signet_ring/inside", "signet"\n')
    assert named(path) == ["/nuclei.parquet", "gland_id", "signet_ring/inside"]


def test_no_code_makes_a_name_by_cutting_an_s() -> None:
    calls = [
        f"{path.name}:{n.lineno}"
        for path in sorted(SOURCE.rglob("*.py"))
        for n in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(n, ast.Call) and ast.unparse(n).endswith((".removesuffix('s')", ".rstrip('s')"))
    ]
    assert calls == []
